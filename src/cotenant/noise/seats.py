"""Which tenant sits on which seat; seats of the dead are kept a while and then freed."""

from __future__ import annotations

import time
from collections.abc import Sequence

from cotenant.kernel import records
from cotenant.model import HOST, KERNEL, UNSEATED, Tenant
from cotenant.noise.programs import Holder, Programs

REST_S = 60.0
"""A dead group's seat stays its own so long: a CPU may still remember a slice of it."""


class Seats:
    """Follows who sits where. `tree` is the number of the hierarchy that groups are cgroups of."""

    def __init__(self, programs: Programs, tree: int) -> None:
        self._programs = programs
        self._tree = tree
        self._by_cgroup: dict[int, Tenant] = {}
        self._tenants: Sequence[Tenant] = ()
        self._holders: dict[int, Holder] = {}
        self._sitting: dict[int, Tenant] = {
            records.NOISE_UNSEATED: UNSEATED,
            records.NOISE_KERNEL: KERNEL,
        }
        self._dead: dict[int, float] = {}

    def follow(self, tenants: Sequence[Tenant]) -> None:
        """Takes over who lives here now."""
        if tenants is self._tenants:
            return
        self._tenants = tenants
        gone = self._by_cgroup.keys() - {t.cgroups.get(self._tree) for t in tenants}
        seated = {holder.cgroup for holder in self._holders.values()} if gone else ()
        for cgroup in gone.difference(seated):  # those with a seat still have books to come
            del self._by_cgroup[cgroup]
        self._by_cgroup |= {t.cgroups[self._tree]: t for t in tenants if self._tree in t.cgroups}
        for seat, holder in self._holders.items():
            self._sitting[seat] = self._tenant_of(holder)

    def tenant(self, seat: int) -> Tenant:
        """The tenant of its cgroup, or of the nearest one around it, or the host."""
        found = self._sitting.get(seat)
        if found is None:
            holder = self._programs.holder(seat)
            found = self._tenant_of(holder)
            if holder.cgroup:
                self._holders[seat] = holder
                self._sitting[seat] = found
        return found

    def _tenant_of(self, holder: Holder) -> Tenant:
        for cgroup in (holder.cgroup, *holder.above):
            tenant = self._by_cgroup.get(cgroup)
            if tenant is not None:
                return tenant
        return HOST

    def bury(self) -> list[int]:
        """Frees the seats of the long dead, whose books were read; tells which."""
        now = time.monotonic()
        for seat in self._holders:
            if seat not in self._dead and self._programs.holder(seat).dead:
                self._dead[seat] = now
        freed = [seat for seat, since in self._dead.items() if now - since >= REST_S]
        for seat in freed:
            self._programs.release(seat)
            del self._dead[seat], self._sitting[seat]
            self._by_cgroup.pop(self._holders.pop(seat).cgroup, None)
        return freed
