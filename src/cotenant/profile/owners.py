"""Whose a cgroup is: the innermost tenant around it, else the host."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.model import HOST, Tenant

MOST_REMEMBERED = 1 << 14


class Owners:
    """Answers for the cgroups of one tree. The dead stay known: their samples come late."""

    def __init__(self, hierarchies: Hierarchies, tree: int, proc: Path = Path("/proc")) -> None:
        self._mount = next((h.mount for h in hierarchies.trees if h.number == tree), None)
        self._tree = tree
        self._proc = proc
        self._tenants: Sequence[Tenant] = ()
        self._by_cgroup: dict[int, Tenant] = {}
        self._inside: dict[int, Tenant] = {}

    def follow(self, tenants: Sequence[Tenant]) -> None:
        """Takes over who lives here now."""
        if tenants is self._tenants:
            return
        self._tenants = tenants
        if len(self._by_cgroup) > MOST_REMEMBERED:
            self._by_cgroup.clear()
        self._by_cgroup |= {t.cgroups[self._tree]: t for t in tenants if self._tree in t.cgroups}
        self._inside.clear()

    def owner(self, cgroup: int, tgid: int) -> Tenant:
        """The tenant of a cgroup; asked of a process in it where no tenant has that very one."""
        found = self._by_cgroup.get(cgroup) or self._inside.get(cgroup)
        if found is None:
            found = self._around(tgid)
            if len(self._inside) > MOST_REMEMBERED:
                self._inside.clear()
            self._inside[cgroup] = found
        return found

    def _around(self, tgid: int) -> Tenant:
        path = self._path(tgid)
        while self._mount and path is not None and path != PurePosixPath("/"):
            try:
                number = os.stat(self._mount / path.relative_to("/")).st_ino
            except (OSError, ValueError):
                return HOST
            if number in self._by_cgroup:
                return self._by_cgroup[number]
            path = path.parent
        return HOST

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
