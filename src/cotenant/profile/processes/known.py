"""Which process has which code where: perf's records applied one after the other, and /proc.

Records tell what happens, /proc tells what was there before, and again what was missed. Each look
into /proc is dated: what records say of an earlier time is in it already. Nothing tells of
munmap(2) and mremap(2); what is mapped there later takes the place, and a sample at an address that
is not known asks for a new look (`rescan`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from cotenant.kernel.maprecords import Exec, Exited, Forked, Lost, Mapped, Record, Renamed
from cotenant.kernel.perf import clock_ns
from cotenant.profile.processes import mappings as spans
from cotenant.profile.processes.holdings import Holdings, Table
from cotenant.profile.processes.mappings import ANONYMOUS, Mapping
from cotenant.profile.processes.maps import TICK_NS, Proc, Seen, View

__all__ = ["Mapping", "Processes"]

MOST_PROCESSES = 16_384
MOST_MAPPINGS = 2_048
"""Of one process."""
MOST_IN_ALL = 262_144
"""Of all of them, those that forks share with their parent counted once: 64 MB at worst."""
FIRST_WAIT_NS = 100_000_000
_MOST_DOUBLINGS = 10
_UNSURE_NS = 200_000  # a process was started so long before its fork is told, or less


class Looks(Protocol):
    """Who tells of processes as they are now: `maps.Proc`."""

    def pids(self) -> list[int]: ...
    def look(self, tgid: int) -> Seen | None: ...
    def started(self, tgid: int) -> int | None: ...
    def is_over(self, tgid: int, started: int) -> bool: ...


class _Process:
    """One process: `started` 0 is not known; what records say up to `as_of_ns` is old."""

    __slots__ = ("as_of_ns", "comm", "over_ns", "started", "table", "view")

    def __init__(
        self, started: int, comm: str, table: Table, as_of_ns: int, view: View | None = None
    ) -> None:
        self.started = started
        self.comm = comm
        self.table = table
        self.view = view
        self.as_of_ns = as_of_ns
        self.over_ns = 0


class Processes:
    """All processes with their executable mappings; first `seed`, then `apply` what is drained.

    Whoever ended is remembered until `bury`. Times are of the monotonic clock; starts are ticks
    since boot, as /proc/PID/stat has them, and of a process just forked they may be one too late.

    lost      records that the kernel could not tell
    doubtful  records were lost since the last `seed`: another one would find what they said
    """

    def __init__(
        self,
        proc: Looks | None = None,
        now_ns: Callable[[], int] = clock_ns,
        most: int = MOST_PROCESSES,
        most_mappings: int = MOST_MAPPINGS,
        most_in_all: int = MOST_IN_ALL,
    ) -> None:
        self.lost = 0
        self.doubtful = False
        self._proc: Looks = Proc() if proc is None else proc
        self._now_ns = now_ns
        self._most = most
        self._holdings = Holdings(most_mappings, most_in_all)
        self._all: dict[int, _Process] = {}
        self._over: dict[int, None] = {}  # whose first thread ended, earliest first
        self._changed: dict[int, None] = {}
        self._gone: dict[int, None] = {}
        self._waits: dict[int, tuple[int, int]] = {}  # looks that found nothing new, not before
        self._refused = 0  # processes

    def __len__(self) -> int:
        return len(self._all)

    @property
    def held(self) -> int:
        """Mappings that are kept, those that processes share counted once."""
        return self._holdings.held

    @property
    def unmapped(self) -> int:
        """Processes and mappings that found no room here."""
        return self._refused + self._holdings.left_out

    def comm(self, tgid: int) -> str:
        """Name of the process; empty: it is not known."""
        process = self._all.get(tgid)
        return process.comm if process else ""

    def mapping(self, tgid: int, address: int) -> Mapping | None:
        """What that process has at this address."""
        process = self._all.get(tgid)
        return spans.at(process.table.mappings, address) if process else None

    def mappings(self, tgid: int, started: int) -> tuple[Mapping, ...] | None:
        """What the process of that number and start has now; None: it is not known."""
        process = self._all.get(tgid)
        if process is None or (process.started and abs(process.started - started) > 1):
            return None
        return tuple(process.table.mappings)

    def view(self, tgid: int) -> View | None:
        """How that process saw the files when it was looked at last, or was forked; None: unknown.

        Its child saw them the same way when it began, and may be gone before it is looked at.
        """
        process = self._all.get(tgid)
        return process.view if process else None

    def changed(self) -> Iterator[tuple[int, int, tuple[Mapping, ...]]]:
        """Number, start and mappings of each process that is not as it was told last."""
        changed, self._changed = self._changed, {}
        for tgid in changed:
            process = self._all.get(tgid)
            if process and process.started:
                yield tgid, process.started, tuple(process.table.mappings)

    def gone(self) -> Iterator[int]:
        """Processes that were forgotten since; their number may be another's by now.

        So take them before `changed`.
        """
        gone, self._gone = self._gone, {}
        yield from gone

    # --- what is told

    def apply(self, records: Iterable[Record]) -> None:
        """Takes over what happened, in the order in which it did."""
        for record in records:
            match record:
                case Mapped():
                    self._map(record)
                case Forked():
                    self._fork(record)
                case Exec():
                    self._exec(record)
                case Renamed():
                    self._rename(record)
                case Exited():
                    self._exit(record)
                case Lost():
                    self.lost += record.records
                    self.doubtful = True

    def _map(self, record: Mapped) -> None:
        process = self._all.get(record.tgid) or self._meet(record.tgid)
        if process is None:
            return
        new = _mapping(record)
        if record.time_ns <= process.as_of_ns:
            self._identify(record.tgid, process, new)
            return
        process.table = self._holdings.own(process.table)
        if self._holdings.put(process.table, new):
            self._changed[record.tgid] = None

    def _identify(self, tgid: int, process: _Process, told: Mapping) -> None:
        """/proc showed that mapping, but not its build id."""
        known = spans.at(process.table.mappings, told.start)
        if known and told.build_id and not known.build_id and _alike(known, told):
            process.table = self._holdings.own(process.table)
            self._holdings.put(process.table, known._replace(build_id=told.build_id))
            self._changed[tgid] = None

    def _fork(self, record: Forked) -> None:
        tgid, time_ns = record.tgid, record.time_ns
        if tgid == record.parent_tgid:
            return  # a thread
        known = self._all.get(tgid)
        if known and known.as_of_ns >= time_ns:
            return
        parent = self._all.get(record.parent_tgid)
        if known:
            self._forget(tgid)
        started = self._started(tgid, time_ns)
        if parent is None or parent.as_of_ns >= time_ns:
            # What the parent has now may come from a program that it became only then.
            self._meet(tgid, started, parent.view if parent else None)
        else:
            table = self._holdings.share(parent.table)
            self._add(tgid, _Process(started, parent.comm, table, time_ns, parent.view))

    def _exec(self, record: Exec) -> None:
        process = self._all.get(record.tgid) or self._meet(record.tgid)
        if process is None or record.time_ns <= process.as_of_ns:
            return
        process.comm = record.comm
        process.over_ns = 0  # another thread's exec ends the first one, and takes its number
        self._over.pop(record.tgid, None)
        self._waits.pop(record.tgid, None)
        self._replace(process, [])
        self._changed[record.tgid] = None

    def _rename(self, record: Renamed) -> None:
        process = self._all.get(record.tgid)
        if process and record.tid == record.tgid:
            process.comm = record.comm

    def _exit(self, record: Exited) -> None:
        process = self._all.get(record.tgid)
        if process and record.tid == record.tgid and record.time_ns > process.as_of_ns:
            process.over_ns = record.time_ns
            self._over.setdefault(record.tgid)

    def bury(self, before_ns: int) -> None:
        """Forgets who ended before: call it when their samples are drained."""
        for tgid in list(self._over):
            process = self._all[tgid]
            if process.over_ns >= before_ns:
                return
            del self._over[tgid]
            if self._proc.is_over(tgid, process.started):
                self._forget(tgid)
            else:  # its other threads go on
                process.over_ns = self._now_ns()
                self._over[tgid] = None

    # --- what /proc shows

    def seed(self) -> None:
        """Looks at every process there is: at the start, and when records were lost."""
        begun_ns = self._now_ns()
        self.doubtful = False
        for tgid in self._proc.pids():
            self._scan(tgid)
        for tgid, process in self._all.items():
            if process.as_of_ns < begun_ns and not process.over_ns:  # its end was lost
                process.over_ns = begun_ns
                self._over[tgid] = None

    def rescan(self, tgid: int) -> bool:
        """Looks at one process again, since a sample lies outside of all it has; whether it helps.

        At most every 100 ms, and each time that it does not help, only after twice as long.
        """
        now_ns = self._now_ns()
        doublings, not_before_ns = self._waits.get(tgid, (0, 0))
        if now_ns < not_before_ns:
            return False
        helps = self._scan(tgid)
        doublings = 0 if helps else min(doublings + 1, _MOST_DOUBLINGS)
        if len(self._waits) >= self._most:
            self._waits.clear()
        self._waits[tgid] = doublings, now_ns + (FIRST_WAIT_NS << doublings)
        return helps

    def sighted(self, tgid: int, started: int) -> bool:
        """A sample tells when its process was started; whether something was put right by that."""
        process = self._all.get(tgid)
        if process and (not process.started or abs(process.started - started) == 1):
            process.started = started
            self._changed[tgid] = None
            return True
        if process is None or started > process.started:
            return self.rescan(tgid)
        return False

    def _scan(self, tgid: int) -> bool:
        """Takes over what /proc shows of a process; whether it was not known so."""
        as_of_ns = self._now_ns()
        seen = self._proc.look(tgid)
        return seen is not None and self._take(tgid, seen, as_of_ns)

    def _meet(self, tgid: int, started: int = 0, view: View | None = None) -> _Process | None:
        """A process that is told of for the first time: as /proc shows it. None: no room."""
        if len(self._all) >= self._most and not self._over:
            self._refused += 1
            return None
        as_of_ns = self._now_ns()
        seen = self._proc.look(tgid)
        if seen is not None:
            self._take(tgid, seen, as_of_ns)
        else:
            self._add(tgid, _Process(started, "", self._holdings.make([]), 0, view))
        return self._all.get(tgid)

    def _take(self, tgid: int, seen: Seen, as_of_ns: int) -> bool:
        process = self._all.get(tgid)
        if process and process.started and abs(process.started - seen.started) > 1:
            self._forget(tgid)
            process = None
        if process is None:
            process = _Process(seen.started, seen.comm, self._holdings.make([]), as_of_ns)
            if not self._add(tgid, process):
                return False
        elif process.over_ns:
            return False  # it has no memory any more, and its samples may still come
        process.view = seen.view or process.view
        news = process.started != seen.started
        process.started, process.comm, process.as_of_ns = seen.started, seen.comm, as_of_ns
        self._refused += not seen.whole
        if seen.mappings is not None:
            known = process.table.mappings
            news |= self._replace(process, _identified(seen.mappings, known))
        if news:
            self._changed[tgid] = None
        return news

    # --- room

    def _add(self, tgid: int, process: _Process) -> bool:
        """Keeps one process more, if need be at the cost of the one that ended first."""
        if len(self._all) >= self._most:
            self._refused += 1
            if not self._over:
                self._holdings.leave(process.table)
                return False
            self._forget(next(iter(self._over)))
        self._all[tgid] = process
        self._changed[tgid] = None
        return True

    def _replace(self, process: _Process, mappings: list[Mapping]) -> bool:
        """Gives it these; whether they are others than before."""
        before = process.table.mappings
        if mappings == before:
            return False
        self._holdings.leave(process.table)
        process.table = self._holdings.make(mappings)
        return process.table.mappings != before

    def _forget(self, tgid: int) -> None:
        self._holdings.leave(self._all.pop(tgid).table)
        self._over.pop(tgid, None)
        self._changed.pop(tgid, None)
        self._waits.pop(tgid, None)
        self._gone[tgid] = None

    def _started(self, tgid: int, forked_ns: int) -> int:
        """When it was started, in ticks: by the time of its fork, which is told a little later."""
        tick, past_ns = divmod(forked_ns + _asleep_ns(), TICK_NS)
        return (past_ns < _UNSURE_NS and self._proc.started(tgid)) or tick


def _mapping(told: Mapped) -> Mapping:
    kind = spans.kind_of(told.path)
    end = told.start + told.length
    if kind == ANONYMOUS:
        return Mapping(told.start, end, told.pgoff, "", kind=kind)
    return Mapping(
        told.start, end, told.pgoff, told.path, told.build_id, told.device, told.inode, kind
    )


def _alike(one: Mapping, other: Mapping) -> bool:
    return one[:4] == other[:4]  # all but who the file is


def _identified(shown: list[Mapping], known: list[Mapping]) -> list[Mapping]:
    """What /proc shows, with the build ids that records told."""
    by_start = {each.start: each for each in known if each.build_id}
    found = []
    for each in shown:
        before = by_start.get(each.start)
        if before and _alike(before, each):
            each = each._replace(build_id=before.build_id)
        found.append(each)
    return found


def _asleep_ns() -> int:
    """How long the host was suspended since boot: starts count that, CLOCK_MONOTONIC does not."""
    boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return max(0, boot_ns - time.clock_gettime_ns(time.CLOCK_MONOTONIC))
