"""Looking at tenants' processes now and then: who came to life, whose first process changed.

Nothing tells when a process joins a cgroup, so it is looked up: all on a walk (one pass over
/proc), a few in every second between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.model import Kind
from cotenant.tenants.build import Look
from cotenant.tenants.claim import Claim, Role
from cotenant.tenants.procs import Processes, first_pid, pids_in
from cotenant.tenants.roll import Entry
from cotenant.tenants.vm import is_monitor

TENANTS_AT_ONCE = 64
EMPTY_AT_ONCE = 24
"""So many tenants' processes, and so many empty cgroups, are looked at again between two walks'
calls: on v1 an empty cgroup costs 50 us, since it may be filled in any of ten trees."""
YOUNG_SECONDS = 5.0
"""So long a new tenant is looked at every time: its first process is still arranging itself (runc
joins the cgroup before it makes the network namespace)."""


class Looker:
    """Which cgroups hold processes, and which process is a tenant's first."""

    def __init__(self, hierarchies: Hierarchies, processes: Processes) -> None:
        self._hierarchies = hierarchies
        self._mounts = [str(tree.mount) for tree in hierarchies.trees]
        self._processes = processes
        self._waiting: dict[str, float] = {}
        self._turn: Iterator[str] = iter(())
        self._round: Iterator[Entry] = iter(())
        self._homes: dict[int, list[str]] | None = None
        self._first: dict[str, int] = {}
        self._lower: dict[str, int] = {}

    def take_census(self, claim: Callable[[str], Claim]) -> None:
        """Note where every process is, for the looks of one walk."""
        self._homes = self._processes.census()
        inside: dict[str, int] = {}
        for pid, paths in self._homes.items():
            for path in paths:
                if path in self._first:
                    continue
                said = claim(path)
                if said.boundary == path:
                    self._first[path] = pid
                elif said.boundary:
                    inside.setdefault(said.boundary, pid)
                if said.role in (Role.PLAIN, Role.GROUP):
                    self._note_above(path, pid, claim)
                while said.outer:  # a kind node may have no process but those of its units
                    self._lower.setdefault(said.outer, pid)
                    said = claim(said.outer)
        self._first = {**inside, **self._first}

    def _note_above(self, path: str, pid: int, claim: Callable[[str], Claim]) -> None:
        """A plain tenant may have no process but those in directories of its own."""
        while (path := path.rpartition("/")[0]) and path not in self._lower:
            self._lower[path] = pid
            if claim(path).role is Role.TENANT:
                return

    def end_census(self) -> None:
        """The walk is over: processes move on."""
        self._homes, self._first, self._lower = None, {}, {}

    def holds(self, path: str) -> bool:
        """Whether the census found a process in it; in a plain cgroup: straight in it."""
        return path in self._first

    def occupied(self, path: str) -> bool:
        """Whether there is a process straight in the cgroup now, in any hierarchy."""
        return any(pids_in(f"{mount}{path}") for mount in self._mounts)

    def wait(self, path: str) -> None:
        """Look whether the cgroup holds a process, until it does or is gone."""
        self._waiting[path] = time.monotonic()

    def leave(self, path: str) -> bool:
        """The cgroup is gone: True when no process was found in it up to now."""
        return self._waiting.pop(path, None) is not None

    def filled(self, live: Mapping[str, Entry]) -> list[str]:
        """Cgroups that turned out to hold processes; looks at young ones and some others."""
        found = []
        for path in self._some_waiting():
            if path in live:
                del self._waiting[path]
            elif self.occupied(path):
                del self._waiting[path]
                found.append(path)
        return found

    def due(self, live: dict[str, Entry]) -> list[Entry]:
        """Tenants whose turn it is to be looked at."""
        young = time.monotonic() - YOUNG_SECONDS
        latest = islice(reversed(live.values()), TENANTS_AT_ONCE)
        chosen = {entry.key: entry for entry in latest if entry.since > young}
        turn = list(islice(self._round, TENANTS_AT_ONCE - len(chosen)))
        if not turn:
            self._round = iter(list(live.values()))
            turn = list(islice(self._round, TENANTS_AT_ONCE - len(chosen)))
        chosen.update((e.key, e) for e in turn if live.get(e.claim.path) is e)
        return list(chosen.values())

    def look(self, entry: Entry, pid: int | None = None) -> bool:
        """See a tenant's first process, its network and its start; True when that is news.

        `pid` is who its runtime says it is; else the one known before, else the lowest.
        """
        old = entry.look
        if pid and not self._processes.is_in(pid, entry.claim.path):
            pid = None  # what a runtime says may be old, or a lie
        pid = pid or (old.pid if self._still(entry) else None)
        network = self._processes.netns(pid) if pid else None
        if pid and network is None and not self._processes.comm(pid):
            pid = None
        if pid is None:
            pid = self._lowest(entry.claim.path)
            network = self._processes.netns(pid) if pid else None
        if network == self._processes.host_netns:
            network = None
        started = old.started_at or (self._processes.started_at(pid) if pid else None)
        entry.look = Look(pid, network, started)
        return entry.look != old

    def new_monitor(self, entry: Entry) -> int | None:
        """The first process of a service or plain cgroup, when it is new and a VM's monitor."""
        pid = entry.look.pid
        if pid is None or pid == entry.judged or entry.claim.kind not in _MAY_BE_VM:
            return None
        entry.judged = pid
        return pid if is_monitor(self._processes.comm(pid)) else None

    def _still(self, entry: Entry) -> bool:
        """Whether its first process is still in it, as far as the census tells: numbers recur."""
        if self._homes is None or entry.look.pid is None:
            return True
        path = entry.claim.path
        homes = self._homes.get(entry.look.pid, ())
        return any(home == path or home.startswith(path + "/") for home in homes)

    def _lowest(self, path: str) -> int | None:
        if self._homes is not None:
            return self._first.get(path) or self._lower.get(path)
        return first_pid(self._hierarchies, path)

    def _some_waiting(self) -> list[str]:
        young = time.monotonic() - YOUNG_SECONDS
        latest = islice(reversed(self._waiting.items()), EMPTY_AT_ONCE)
        chosen = dict.fromkeys(path for path, since in latest if since > young)
        turn = list(islice(self._turn, EMPTY_AT_ONCE - len(chosen)))
        if not turn:
            self._turn = iter(list(self._waiting))
            turn = list(islice(self._turn, EMPTY_AT_ONCE - len(chosen)))
        chosen.update((path, None) for path in turn if path in self._waiting)
        return list(chosen)


_MAY_BE_VM = (Kind.SERVICE, Kind.CGROUP)
