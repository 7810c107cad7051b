"""Keeps the programs' picture of all processes true: which code is where, how it is unwound.

Mappings of a process lie in one run of the kernel's table. Processes with the same mappings, such
as forks of one another, share a run; a run that nobody uses any more rests before it is used
again, since a program may be reading it.
"""

from __future__ import annotations

from collections import deque
from time import monotonic

from msgspec import Struct

from cotenant.kernel import records
from cotenant.profile.binaries import NOTHING, Binaries, CodeFile
from cotenant.profile.processes.known import Processes
from cotenant.profile.processes.mappings import Mapping
from cotenant.profile.processes.maps import View
from cotenant.profile.programs import MAPPING, MAPPINGS, PROCESS, Programs
from cotenant.profile.python.interpreters import find_threads, thread_key
from cotenant.profile.python.threads import ByThread, Slot
from cotenant.profile.unwind.loaded import Room

REST_S = 2.0
"""So long a run of mappings that is no longer used is left alone."""
FIRST_LOOK_S, LAST_LOOK_S = 0.05, 30.0
"""Waits between looks for where an interpreter's threads keep their state; each doubles."""


class Run(Struct, eq=False):
    """Mappings of one or more processes, as the programs see them."""

    first: int
    entries: tuple[bytes, ...]
    users: int = 0


class Living(Struct, eq=False):
    """A process as the programs know it. `files` goes with `mappings`."""

    started: int
    mappings: tuple[Mapping, ...]
    files: tuple[CodeFile, ...]
    run: Run
    slot: int = 0
    threads: tuple[int, ...] = ()
    look_at_s: float = 0.0
    wait_s: float = FIRST_LOOK_S


class Follower:
    """Tells the programs what `Processes` found out. `unmapped` counts what found no room.

    came_s    when a process came whose names must be asked for while it lives, by `monotonic`
    """

    def __init__(self, programs: Programs, binaries: Binaries, processes: Processes) -> None:
        self._programs = programs
        self._binaries = binaries
        self._processes = processes
        self._room = Room(MAPPINGS)
        self._runs: dict[tuple[bytes, ...], Run] = {}
        self._resting: deque[tuple[float, Run]] = deque()
        self.living: dict[int, Living] = {}
        self._looking: set[int] = set()
        self.unmapped = 0
        self.came_s = 0.0

    def publish(self) -> None:
        """Takes over who came, went, and mapped something else."""
        self._wake_rested()
        for tgid in self._processes.gone():
            self._bury(tgid)
        for tgid, started, mappings in self._processes.changed():
            self._tell(tgid, started, mappings)
        self._look_for_threads()

    def mapped(self) -> set[int]:
        """Numbers of the files that processes map now."""
        return {file.number for living in self.living.values() for file in living.files}

    # --- mappings

    def _tell(self, tgid: int, started: int, mappings: tuple[Mapping, ...]) -> None:
        view = self._binaries.view(tgid) or self._processes.view(tgid)
        files = tuple(self._file(tgid, mapping, view) for mapping in mappings)
        entries = tuple(map(_entry, mappings, files))
        run = self._runs.get(entries) or self._make_run(entries)
        if run is None:
            self.unmapped += 1
            self._bury(tgid)
            return
        before = self.living.get(tgid)
        living = Living(started, mappings, files, run)
        if before and before.started == started:
            living.slot, living.threads = before.slot, before.threads
        run.users += 1
        if self._write(tgid, living):
            self.living[tgid] = living
        else:
            self.unmapped += 1
            self._leave(run)
        if before:
            self._leave(before.run)
        if any(file.python for file in files):
            self._looking.add(tgid)
        is_new = before is None or before.started != started
        if is_new and any(file.python or file is NOTHING for file in files):
            self.came_s = monotonic()

    def file(self, tgid: int, mapping: Mapping) -> CodeFile:
        """The file of one mapping of a process that may be gone."""
        view = self._binaries.view(tgid) or self._processes.view(tgid)
        return self._file(tgid, mapping, view)

    def _file(self, tgid: int, mapping: Mapping, view: View | None) -> CodeFile:
        if mapping.kind == "anonymous":
            return NOTHING
        return self._binaries.of(tgid, mapping, view)

    def _make_run(self, entries: tuple[bytes, ...]) -> Run | None:
        first = self._room.take(max(1, len(entries)))
        if first is None:
            return None
        for index, entry in enumerate(entries, first):
            self._programs.write_mapping(index, entry)
        run = self._runs[entries] = Run(first, entries)
        return run

    def _write(self, tgid: int, living: Living) -> bool:
        run = living.run
        by_thread = int(bool(living.threads))
        entry = PROCESS.pack(living.started, run.first, len(run.entries), living.slot, by_thread)
        return self._programs.write_process(tgid, entry)

    def _bury(self, tgid: int) -> None:
        living = self.living.pop(tgid, None)
        self._looking.discard(tgid)
        if living is None:
            return
        self._programs.drop_process(tgid)
        for key in living.threads:
            self._programs.drop_thread(key)
        self._leave(living.run)

    def _leave(self, run: Run) -> None:
        run.users -= 1
        if not run.users:
            self._runs.pop(run.entries, None)
            self._resting.append((monotonic() + REST_S, run))

    def _wake_rested(self) -> None:
        now = monotonic()
        rested = False
        while self._resting and self._resting[0][0] <= now:
            _, run = self._resting.popleft()
            self._room.give(run.first, max(1, len(run.entries)))
            rested = True
        if rested:
            self._programs.forget_places()

    # --- interpreters

    def missed(self, tgid: int) -> None:
        """A sample of that process lacked its Python frames: its threads are looked for again."""
        if tgid in self.living:
            self._looking.add(tgid)

    def _look_for_threads(self) -> None:
        now = monotonic()
        for tgid in tuple(self._looking):
            living = self.living.get(tgid)
            if living is None:
                self._looking.discard(tgid)
            elif living.look_at_s <= now:
                living.look_at_s = now + living.wait_s
                living.wait_s = min(living.wait_s * 2, LAST_LOOK_S)
                if self._look(tgid, living):
                    self._looking.discard(tgid)

    def _look(self, tgid: int, living: Living) -> bool:
        """Finds where that process's threads keep their state, and tells the programs."""
        for mapping, file in zip(living.mappings, living.files, strict=True):
            if not file.python:
                continue
            found = find_threads(tgid, file.python, file.bias(mapping))
            if isinstance(found, Slot):
                living.slot = found.offset
                self._binaries.learn_slot(file, found.offset)
                self._tell_threads(tgid, living, {})
                return True
            if isinstance(found, ByThread):
                keys = {thread_key(tgid, fs): state for fs, state in found.by_fsbase.items()}
                self._tell_threads(tgid, living, keys)
                return True
        return False

    def _tell_threads(self, tgid: int, living: Living, states: dict[int, int]) -> None:
        """States of threads by their key; none: all have theirs at `living.slot`."""
        for key, state in states.items():
            self._programs.write_thread(key, state)
        over = [key for key in living.threads if key not in states]
        living.threads = tuple(states)
        self._write(tgid, living)
        for key in over:
            self._programs.drop_thread(key)


def _entry(mapping: Mapping, file: CodeFile) -> bytes:
    if mapping.kind == "anonymous":
        return MAPPING.pack(mapping.start, mapping.end, 0, 0, records.PROFILE_MAPPING_JIT)
    return MAPPING.pack(mapping.start, mapping.end, file.bias(mapping), file.number, file.kind)
