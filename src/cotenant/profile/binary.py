"""A file that a process has mapped, opened so that nothing in its tenant's hands can trick us.

Read with pread and never mapped: who truncates a mapped file while it is read kills the reader.
"""

from __future__ import annotations

import os
from pathlib import Path

from cotenant.profile.elf import BrokenElf
from cotenant.tenants.files import open_below, regular

SIZE_LIMIT = 4 << 30
"""Largest binary that is opened, in bytes; of it, only parts are read."""


class Binary:
    """An open regular file, as a Source of `elf.Elf`. Close it, or use it as a context."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._file = os.fstat(fd)
        self.size = self._file.st_size
        if self.size > SIZE_LIMIT:
            os.close(fd)
            raise BrokenElf(f"The file has {self.size} bytes, up to {SIZE_LIMIT} are looked at.")

    @classmethod
    def at(cls, path: Path | str) -> Binary:
        """The host's own file of that path; OSError or BrokenElf when it cannot be read."""
        found = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            return cls(regular(found))
        except ValueError as error:
            raise BrokenElf(str(error)) from error

    @property
    def device(self) -> int:
        """st_dev of the file."""
        return self._file.st_dev

    @property
    def inode(self) -> int:
        """st_ino of the file."""
        return self._file.st_ino

    @property
    def link(self) -> str:
        """A path by which this process, or the kernel for it, opens the very same file again."""
        return f"/proc/self/fd/{self._fd}"

    def read(self, offset: int, count: int) -> bytes:
        """Exactly `count` bytes from `offset` on; BrokenElf when they are not (any more) there."""
        if offset < 0 or count < 0 or offset + count > self.size:
            raise BrokenElf(f"{count} bytes at {offset} lie outside of a file of {self.size}.")
        parts = []
        while count:
            try:
                part = os.pread(self._fd, min(count, 1 << 30), offset)
            except OSError as error:
                raise BrokenElf(f"The file cannot be read: {error.strerror}.") from error
            if not part:
                raise BrokenElf("The file became shorter while it was read.")
            parts.append(part)
            offset += len(part)
            count -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Gives the descriptor back; nothing can be read any more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Binary:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_mapped(
    pid: int, start: int, end: int, path: str, inode: int, proc: Path = Path("/proc")
) -> Binary | None:
    """The file that process `pid` has mapped at [start, end); None: gone, or out of reach.

    Through map_files where the kernel lets us (CAP_CHECKPOINT_RESTORE): that is the very file, be
    it deleted or covered since. Else below the process's root by `path` as /proc/PID/maps tells
    it, no link followed; what is there now must have the `inode` that is mapped. Devices are not
    compared: maps tells overlayfs and btrfs files with another one than stat(2) does.
    """
    try:
        return Binary(_through_mapping(proc / str(pid) / "map_files" / f"{start:x}-{end:x}"))
    except (OSError, ValueError):
        pass
    found = open_named(pid, path, proc)
    if found is not None and found.inode != inode:
        found.close()
        return None
    return found


def open_named(pid: int, path: str, proc: Path = Path("/proc")) -> Binary | None:
    """What stands now under that name below the root of process `pid`, no link followed.

    None: nothing that can be opened. Whether it is what was meant is for the caller to find out.
    """
    try:
        return Binary(open_below(proc / str(pid) / "root", *path.strip("/").split("/")))
    except (OSError, ValueError):
        return None


def _through_mapping(link: Path) -> int:
    return regular(os.open(link, os.O_PATH | os.O_CLOEXEC))
