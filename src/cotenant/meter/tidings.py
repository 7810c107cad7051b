"""Births and deaths from whoever tells them here: programs, watched directories, or nobody."""

from __future__ import annotations

import time
from collections.abc import Iterable

from cotenant.kernel.cgroupfs import CgroupEvent, Hierarchies
from cotenant.meter.finals import Finals
from cotenant.meter.lives import open_lives
from cotenant.meter.programs import Programs, read_trees
from cotenant.model import Tenant


class Tidings:
    """Births and deaths, and the finals of the dead. `counting`: as in `read.Meter`.

    `watched`: numbers of the hierarchies that are told of; None where nobody tells.
    """

    def __init__(
        self, hierarchies: Hierarchies, programs: Programs | None, *, counting: bool
    ) -> None:
        self._hierarchies = hierarchies
        self._programs = programs if programs and programs.fileno() is not None else None
        trees = read_trees(hierarchies)
        watch = counting and self._programs is None
        self._lives = open_lives(trees) if watch else None
        self._blind = 0 if self._lives or not watch else len(trees)
        tells = self._programs or self._lives
        self.watched = frozenset(tree.number for tree in trees) if tells else None
        self.finals = Finals(self.watched)

    def fileno(self) -> int | None:
        """Readable when some wait; None where nobody tells."""
        teller = self._programs or self._lives
        return teller.fileno() if teller else None

    @property
    def all_told(self) -> bool:
        """False where some births and deaths are found by walks only."""
        return self.fileno() is not None and not self.unwatched

    def events(self) -> list[CgroupEvent]:
        """Those since the last call. The dead's last books are kept for their finals."""
        if self._lives:
            return self._lives.events()
        if not self._programs:
            return []
        events, deaths = self._programs.lives()
        for death in deaths:
            self.finals.add(death)
        return events

    def depart(self, tenants: Iterable[Tenant]) -> None:
        """Tenants that died: where no program tells their last books, the last look is their final.

        One whose cgroup is still there only ceased to be a tenant: it has no final.
        """
        if self._programs:
            return
        for tenant in tenants:
            if not self._hierarchies.ids(tenant.path).items() & tenant.cgroups.items():
                self.finals.end(tenant, time.monotonic_ns())

    # --- what is missing

    @property
    def missed(self) -> int:
        """How often watched directories did not tell all, so that all trees were walked."""
        return self._lives.missed if self._lives else 0

    @property
    def unwatched(self) -> int:
        """Directories that should be watched and are not, now; whole trees where none may be."""
        return len(self._lives.unwatched) if self._lives else self._blind

    @property
    def vanished(self) -> int:
        """Cgroups that were gone before anything was read of them."""
        return self.finals.unread + (self._lives.vanished if self._lives else 0)

    def close(self) -> None:
        """Ends the watches."""
        if self._lives:
            self._lives.close()
