"""Whose a cgroup is: the innermost tenant around it, else the host.

Tenants are told of after their first processes run, and their names later still: what was answered
before may be another's, or have another name.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.model import HOST, Tenant

MOST_REMEMBERED = 1 << 14


class Owners:
    """Answers for the cgroups of one tree. The dead stay known: their samples come late.

    A cgroup's number is never given again.
    """

    def __init__(self, hierarchies: Hierarchies, tree: int, proc: Path = Path("/proc")) -> None:
        self._mount = next((h.mount for h in hierarchies.trees if h.number == tree), None)
        self._tree = tree
        self._proc = proc
        self._tenants: Sequence[Tenant] = ()
        self._by_cgroup: dict[int, Tenant] = {}
        self._inside: dict[int, Tenant] = {}
        """Of cgroups that are no tenant's own."""
        self._before: dict[int, Tenant] = {}
        """The same, before others were told of: for processes that can be asked no more."""
        self.doubted = False
        """Whether a cgroup was looked at since this was reset, and no tenant was around it."""

    def follow(self, tenants: Sequence[Tenant]) -> bool:
        """Takes over who is here, and who was since last told; whether some are new or changed."""
        if tenants is self._tenants:
            return False
        self._tenants = tenants
        told = {t.cgroups[self._tree]: t for t in tenants if self._tree in t.cgroups}
        if all(self._by_cgroup.get(cgroup) is tenant for cgroup, tenant in told.items()):
            return False
        if len(self._by_cgroup) > MOST_REMEMBERED:
            self._by_cgroup.clear()
        self._by_cgroup |= told
        now = {tenant.key: tenant for tenant in told.values()}
        before = self._before | self._inside if len(self._before) < MOST_REMEMBERED else {}
        self._before = {cgroup: now.get(one.key, one) for cgroup, one in before.items()}
        self._inside = {}
        return True

    def owner(self, cgroup: int, tgid: int) -> Tenant:
        """The tenant of a cgroup; asked of a process in it where no tenant has that very one."""
        found = self._by_cgroup.get(cgroup) or self._inside.get(cgroup)
        if found is None:
            found = self._around(cgroup, tgid)
            self.doubted |= found is None or found is HOST
            if found is None:
                return self._before.get(cgroup, HOST)
            if len(self._inside) > MOST_REMEMBERED:
                self._inside.clear()
            self._inside[cgroup] = found
        return found

    def _around(self, cgroup: int, tgid: int) -> Tenant | None:
        """By where the process is; None: it is in that cgroup no more."""
        path = self._path(tgid)
        if path is None or self._number(path) != cgroup:
            return None
        while path != path.parent:
            found = self._by_cgroup.get(self._number(path))
            if found is not None:
                return found
            path = path.parent
        return HOST

    def _number(self, path: PurePosixPath) -> int:
        """The id of the cgroup there; 0: there is none."""
        try:
            return os.stat(self._mount / path.relative_to("/")).st_ino if self._mount else 0
        except (OSError, ValueError):
            return 0

    def _path(self, tgid: int) -> PurePosixPath | None:
        try:
            lines = (self._proc / str(tgid) / "cgroup").read_text(errors="replace").splitlines()
        except OSError:
            return None
        for line in lines:
            number, _, rest = line.partition(":")
            if number == str(self._tree):
                return PurePosixPath(rest.partition(":")[2])
        return None
