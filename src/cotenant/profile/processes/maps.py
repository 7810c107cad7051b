"""What /proc tells of processes and the code they map: those that were there before we looked.

Processes come and go meanwhile, and names in there are their own choice.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from cotenant.profile.processes.mappings import ANONYMOUS, FILE, Mapping, joined, kind_of

TICK_NS = 10_000_000
"""In which /proc/PID/stat tells starts: USER_HZ is 100 on every machine we know."""
_MOST_BYTES = 4 << 20  # of /proc/PID/maps: some 40,000 mappings
_READ = 1 << 16
_KERNEL_THREAD = 0x00200000  # PF_KTHREAD
_ENDED = (b"Z", b"X")
_USER_END = 1 << 63  # [vsyscall] lies above, and nobody's code does
# start-end, rights with x, offset, device, inode, path
_EXECUTABLE = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) ..x. ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+) *(.*)$", re.M
)


class Seen(NamedTuple):
    """A process as /proc shows it. `mappings` is None where they may not be read."""

    started: int
    """Ticks since boot: field 22 of /proc/PID/stat. With the number it tells one process."""
    comm: str
    mappings: list[Mapping] | None
    whole: bool = True
    """Whether there were no more mappings than are read."""
    view: View | None = None


View = tuple[int, int, int]
"""Tells one view of the files from another: device and inode of the root, and mount namespace.

The root alone does not: in a user namespace anyone may put other files below the same one.
"""


class _Stat(NamedTuple):
    comm: str
    state: bytes
    flags: int
    threads: int
    started: int


class Proc:
    """The host's processes, seen through its /proc below `host_root`."""

    def __init__(self, host_root: Path = Path("/")) -> None:
        self._proc = str(host_root / "proc")

    def pids(self) -> list[int]:
        """Every process, kernel threads too; [] when /proc cannot be read."""
        try:
            return [int(name) for name in os.listdir(self._proc) if name.isdigit()]
        except OSError:
            return []

    def look(self, tgid: int) -> Seen | None:
        """A process and its executable mappings, lowest first; None: gone, or the kernel's."""
        stat = self._stat(tgid)
        if stat is None or stat.flags & _KERNEL_THREAD or stat.state in _ENDED:
            return None
        data = self._read(f"{tgid}/maps", _MOST_BYTES)
        if data is None:
            return Seen(stat.started, stat.comm, None, view=self.view(tgid))
        whole = len(data) < _MOST_BYTES
        mappings = self._mappings(tgid, data)
        return Seen(stat.started, stat.comm, mappings, whole, self.view(tgid))

    def view(self, tgid: int) -> View | None:
        """How that process sees the files; None: it is gone."""
        try:
            root = os.stat(f"{self._proc}/{tgid}/root")
            return root.st_dev, root.st_ino, os.stat(f"{self._proc}/{tgid}/ns/mnt").st_ino
        except OSError:
            return None

    def started(self, tgid: int) -> int | None:
        """When it was started, in ticks since boot; None when it is gone."""
        stat = self._stat(tgid)
        return stat.started if stat else None

    def is_over(self, tgid: int, started: int) -> bool:
        """Whether the process of that number and start (0: not known) runs no more.

        One whose first thread ended is a zombie to look at while others go on.
        """
        stat = self._stat(tgid)
        if stat is None or (started and abs(stat.started - started) > 1):
            return True
        return stat.state in _ENDED and stat.threads <= 1

    def _stat(self, tgid: int) -> _Stat | None:
        data = self._read(f"{tgid}/stat", _READ)
        # The second field may hold blanks and brackets: count from the last bracket (proc(5)).
        head, bracket, tail = (data or b"").rpartition(b")")
        words = tail.split()
        if not bracket or len(words) < 20:
            return None
        comm = os.fsdecode(head.partition(b"(")[2])
        return _Stat(comm, words[0], int(words[6]), int(words[17]), int(words[19]))

    def _mappings(self, tgid: int, data: bytes) -> list[Mapping]:
        if len(data) >= _MOST_BYTES:
            data = data[: data.rfind(b"\n") + 1]
        found = []
        for words in _EXECUTABLE.findall(data):
            start, end, pgoff, major, minor = (int(word, 16) for word in words[:5])
            if start >= _USER_END:
                continue
            path = self._path(words[6], f"{tgid}/map_files/{start:x}-{end:x}")
            kind = kind_of(path)
            if kind == ANONYMOUS:
                found.append(Mapping(start, end, pgoff, "", kind=kind))
            else:
                device = os.makedev(major, minor) if kind == FILE else 0
                found.append(Mapping(start, end, pgoff, path, "", device, int(words[5]), kind))
        return joined(found)

    def _path(self, told: bytes, link: str) -> str:
        r"""The name as it is. In maps a newline stands as \012, and so does that very text."""
        if rb"\012" in told:
            try:
                return os.readlink(f"{self._proc}/{link}")
            except OSError:
                told = told.replace(rb"\012", b"\n")
        return os.fsdecode(told)

    def _read(self, name: str, most: int) -> bytes | None:
        """The file, as far as `most` bytes; None: gone or not to be read."""
        try:
            fd = os.open(f"{self._proc}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            parts, size = [], 0
            while size < most and (part := os.read(fd, min(_READ, most - size))):
                parts.append(part)  # a page at a time, whatever is asked for (seq_file)
                size += len(part)
            return b"".join(parts)
        except OSError:
            return None
        finally:
            os.close(fd)
