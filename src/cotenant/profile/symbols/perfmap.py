"""Names of code that a process compiled while it runs, out of the perf map it writes itself.

Node (--perf-basic-prof), Java (jcmd Compiler.perfmap) and others write /tmp/perf-PID.map, a line a
function: `START SIZE name`, numbers in hex (tools/perf/Documentation/jit-interface.txt of Linux).
It lies in the tenant's root and may be anything: a link, a pipe, a gigabyte.
"""

from __future__ import annotations

import os
import re
import time
from array import array
from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path

from cotenant.tenants.files import open_below

READ_LIMIT = 64 << 20
"""Most that is read of one map, in bytes."""
MOST_NAMES = 100_000
NAMES_LIMIT = 8 << 20
"""Most names that are kept of one process, and bytes of them; a part read last may pass both."""
_NAME_LIMIT = 512
_PART = 1 << 20
_NESTED = 8
# Java writes sizes with all their zeros.
_LINE = re.compile(
    rb"(?:0[xX])?([0-9a-fA-F]{1,16}) (?:0[xX])?0{0,15}([0-9a-fA-F]{1,8}) ([^\n]{1,4096})"
)
_LATER_S = 1.0
_BYTES_A_SECOND = 1 << 20
_NAMES_A_SECOND = 20_000
_AWAY_S = 60.0


class PerfMaps:
    """Perf maps of all processes within one budget of memory.

    Beyond it the largest is dropped and not read again for a minute: who writes too much loses his
    own names, not his neighbours'. `dropped` counts that.
    """

    def __init__(self, budget_bytes: int = 32 << 20, proc: Path = Path("/proc")) -> None:
        self._budget = budget_bytes
        self._proc = proc
        self._maps: dict[int, PerfMap] = {}
        self._away: dict[int, float] = {}
        self.dropped = 0

    def lookup(self, pid: int, address: int) -> tuple[str, int] | None:
        """Name and begin of the function of that process with that address; None: not told."""
        perf_map = self._maps.get(pid)
        if perf_map is None:
            if self._away.get(pid, 0) > time.monotonic():
                return None
            perf_map = self._maps[pid] = PerfMap(pid, self._proc)
        before = perf_map.memory_bytes
        found = perf_map.lookup(address)
        if perf_map.memory_bytes > before:
            self._shrink()
        return found

    def has(self, pid: int) -> bool:
        """Whether that process told of any function."""
        return pid in self._maps and len(self._maps[pid]) > 0

    def keep(self, pids: Iterable[int]) -> None:
        """Forgets every process but these."""
        alive = set(pids)
        self._maps = {pid: kept for pid, kept in self._maps.items() if pid in alive}
        self._away = {pid: until for pid, until in self._away.items() if pid in alive}

    @property
    def memory_bytes(self) -> int:
        """About what all of them take in memory."""
        return sum(perf_map.memory_bytes for perf_map in self._maps.values())

    @property
    def malformed(self) -> int:
        """Lines that said nothing, of all processes kept."""
        return sum(perf_map.malformed for perf_map in self._maps.values())

    @property
    def unread(self) -> int:
        """Bytes beyond the limits, of all processes kept."""
        return sum(perf_map.unread for perf_map in self._maps.values())

    def _shrink(self) -> None:
        while self.memory_bytes > self._budget:
            largest = max(self._maps, key=lambda pid: self._maps[pid].memory_bytes)
            del self._maps[largest]
            self._away[largest] = time.monotonic() + _AWAY_S
            self.dropped += 1


class PerfMap:
    """The functions that one process told. Reads what is new when asked, once a second at most.

    After it read much it waits longer: a second for each MiB, and for each 20,000 names to sort.
    `malformed` counts lines that say nothing, `unread` bytes beyond the limits: shown, not read.
    """

    def __init__(self, pid: int, proc: Path = Path("/proc")) -> None:
        self._pid = pid
        self._proc = proc
        self._next_look = float("-inf")
        self._file: tuple[int, int] | None = None
        self._forget()

    def _forget(self) -> None:
        self._read_to = 0
        self._part = b""  # a line whose end is not written yet
        self._starts, self._sizes, self._names_at = array("Q"), array("I"), array("I")
        self._names = bytearray()
        self._order: array[int] | None = None
        self._sorted = array("Q")
        self.malformed = 0
        self.unread = 0

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def memory_bytes(self) -> int:
        """About what it takes in memory."""
        return 32 * len(self._starts) + len(self._names)

    def lookup(self, address: int) -> tuple[str, int] | None:
        """Name and begin of the function with that address, the latest told; None: none there."""
        if time.monotonic() >= self._next_look:
            self.refresh()
        return self._find(address)

    def refresh(self) -> None:
        """Takes in what was written since; all of it when the file is another or was cut."""
        self._next_look = time.monotonic() + _LATER_S
        fd = self._open()
        if fd is None:
            return
        try:
            about = os.fstat(fd)
            file = about.st_dev, about.st_ino
            if file != self._file or about.st_size < self._read_to:
                self._forget()
                self._file = file
            self._take(fd)
            self.unread = max(0, about.st_size - self._read_to)
        except OSError:
            pass
        finally:
            os.close(fd)

    def _open(self) -> int | None:
        """The map, when it is a regular file of the process's own user, or of root."""
        number, user = self._identity()
        if number is None:
            return None
        home = self._proc / str(self._pid) / "root"
        try:
            fd = open_below(home, "tmp", f"perf-{number}.map")
        except (OSError, ValueError):
            return None
        if os.fstat(fd).st_uid not in (user, 0):
            os.close(fd)
            return None
        return fd

    def _identity(self) -> tuple[int | None, int]:
        """Its number in its own pid namespace, and its user as the host counts; None: gone."""
        try:
            status = (self._proc / str(self._pid) / "status").read_bytes()
            fields = dict(line.split(b":", 1) for line in status.splitlines() if b":" in line)
            return int(fields[b"NSpid"].split()[-1]), int(fields[b"Uid"].split()[1])
        except (OSError, KeyError, ValueError, IndexError):
            return None, -1

    def _take(self, fd: int) -> None:
        begin = self._read_to
        self._take_parts(fd)
        if self._read_to > begin:
            wait = max((self._read_to - begin) / _BYTES_A_SECOND, len(self) / _NAMES_A_SECOND)
            self._next_look = time.monotonic() + max(wait, _LATER_S)

    def _take_parts(self, fd: int) -> None:
        while (
            self._read_to < READ_LIMIT
            and len(self._starts) < MOST_NAMES
            and len(self._names) < NAMES_LIMIT
        ):
            part = os.pread(fd, min(_PART, READ_LIMIT - self._read_to), self._read_to)
            if not part:
                return
            self._read_to += len(part)
            lines = (self._part + part).split(b"\n")
            self._part = lines.pop()
            if len(self._part) > _PART:  # no line at all
                self._part = b""
                self.malformed += 1
            self._parse(lines)

    def _parse(self, lines: list[bytes]) -> None:
        self._order = None
        for line in lines:
            match = _LINE.fullmatch(line)
            size = int(match[2], 16) if match else 0
            if match is None or not size:
                self.malformed += 1
                continue
            self._starts.append(int(match[1], 16))
            self._sizes.append(size)
            self._names_at.append(len(self._names))
            self._names += match[3][:_NAME_LIMIT].replace(b"\0", b"?") + b"\0"

    def _find(self, address: int) -> tuple[str, int] | None:
        """Of the nearest eight that begin before the address, the last told that covers it."""
        if self._order is None:
            # Stable: of one begin, what was told last comes last.
            self._order = array("I", sorted(range(len(self)), key=self._starts.__getitem__))
            self._sorted = array("Q", [self._starts[index] for index in self._order])
        last = bisect_right(self._sorted, address)
        covering = [
            index
            for index in self._order[max(0, last - _NESTED) : last]
            if address - self._starts[index] < self._sizes[index]
        ]
        if not covering:
            return None
        index = max(covering)
        at = self._names_at[index]
        name = bytes(self._names[at : self._names.find(b"\0", at)])
        return name.decode("utf-8", "replace"), self._starts[index]
