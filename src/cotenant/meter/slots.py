"""Who holds which slot of the kernel's table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cotenant.meter.programs import Programs
from cotenant.model import Tenant


class Slots:
    """A slot for every metered tenant, and one for the whole host.

    `without` holds the keys of tenants for which the table had no room.
    """

    def __init__(self, programs: Programs, root_ids: dict[int, int]) -> None:
        self._programs = programs
        self._held: dict[int, tuple[int, dict[int, int]]] = {}
        self.root = programs.place(root_ids, None)
        self.without: set[int] = set()

    @property
    def held(self) -> int:
        """How many tenants hold a slot."""
        return len(self._held)

    def of(self, key: int) -> int | None:
        """The tenant's slot; None where there was no room."""
        held = self._held.get(key)
        return held[0] if held else None

    @property
    def used(self) -> int:
        """How many slots at the table's beginning hold all that are in use."""
        return max((slot for slot, _ in self._held.values()), default=0) + 1 if self._held else 1

    def follow(self, tenants: Sequence[Tenant]) -> None:
        """Slots for exactly these tenants."""
        self._leave(self._held.keys() - {tenant.key for tenant in tenants})
        for tenant in tenants:
            self._give(tenant)

    def _leave(self, keys: Iterable[int]) -> None:
        for key in keys:
            self._programs.remove(*self._held.pop(key))

    def _give(self, tenant: Tenant) -> None:
        held = self._held.get(tenant.key)
        if held and held[1] == tenant.cgroups:
            self._programs.set_main_pid(held[0], tenant.main_pid)
            return
        if held:
            self._leave((tenant.key,))
        slot = self._programs.place(tenant.cgroups, tenant.main_pid)
        if slot is None:
            self.without.add(tenant.key)
        else:
            self._held[tenant.key] = slot, tenant.cgroups
