"""What is made and removed in watched directories, as inotify(7) tells it.

On a cgroup tree every mkdir and rmdir is told (fs/namei.c, fsnotify_mkdir and d_delete_notify), but
a watch does not end with its directory: kernfs leaves the link count of a removed one as it was, so
it must be taken back by hand.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from ctypes import c_char_p, c_int, c_uint32
from functools import cache
from pathlib import Path
from typing import NamedTuple

from cotenant.errors import KernelRefused

# include/uapi/linux/inotify.h
MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x40, 0x80, 0x100, 0x200
OVERFLOW, IGNORED = 0x4000, 0x8000
_ONLY_DIRECTORIES, _FOLLOW_NO_LINK, IS_DIRECTORY = 0x01000000, 0x02000000, 0x40000000
_WANTED = MOVED_FROM | MOVED_TO | CREATE | DELETE | _ONLY_DIRECTORIES | _FOLLOW_NO_LINK
_HEADER = struct.Struct("=iIII")  # wd, mask, cookie, length of the name with its padding
_BUFFER = 1 << 16
_READS = 256
_MOST = Path("/proc/sys/fs/inotify/max_user_watches")
_FEW = 4096


class Seen(NamedTuple):
    """One event: `name` in the directory of `watch`; -1 where events were dropped (OVERFLOW)."""

    watch: int
    mask: int
    name: str


class Inotify:
    """Watches on directories. `most` of them; by default half of what this user may have.

    Raises KernelRefused where the user may open no further inotify.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = allowed() // 2 if most is None else most
        self._held: set[int] = set()
        self._fd = _libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise KernelRefused(
                f"No directory can be watched: {os.strerror(ctypes.get_errno())}.",
                "sysctl fs.inotify.max_user_instances",
            )

    @property
    def held(self) -> int:
        """How many watches there are."""
        return len(self._held)

    def add(self, directory: str) -> int | None:
        """Number of the watch on `directory`, the same one when asked again; None: none is left.

        Raises OSError where there is no such directory, or it may not be read.
        """
        if len(self._held) >= self._most:
            return None
        watch = int(_libc().inotify_add_watch(self._fd, os.fsencode(directory), _WANTED))
        if watch < 0:
            code = ctypes.get_errno()
            if code in (errno.ENOSPC, errno.ENOMEM):  # others of this user hold the rest
                return None
            raise OSError(code, os.strerror(code), directory)
        self._held.add(watch)
        return watch

    def remove(self, watch: int) -> None:
        """Takes a watch back; fine when it ended by itself."""
        if watch in self._held:
            self._held.discard(watch)
            _libc().inotify_rm_watch(self._fd, watch)

    def read(self) -> Iterator[Seen]:
        """What happened since the last call, oldest first; never waits.

        Ends after some 300,000 events, so that whoever makes them faster than they are read does
        not hold up the reader for ever.
        """
        for _ in range(_READS):
            try:
                data = os.read(self._fd, _BUFFER)
            except BlockingIOError:
                return
            for seen in decode(data):
                if seen.mask & IGNORED:
                    self._held.discard(seen.watch)
                yield seen

    def fileno(self) -> int:
        """Readable when events wait."""
        return int(self._fd)

    def close(self) -> None:
        """Ends every watch."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._held.clear()


def decode(data: bytes) -> Iterator[Seen]:
    """The events in what was read from an inotify descriptor."""
    at = 0
    while at + _HEADER.size <= len(data):
        watch, mask, _cookie, length = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        name = data[at : at + length].partition(b"\0")[0]
        at += length
        yield Seen(watch, mask, os.fsdecode(name))


def allowed() -> int:
    """How many watches a user may have."""
    try:
        return int(_MOST.read_text())
    except (OSError, ValueError):
        return 2 * _FEW


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    for function, arguments in (
        ("inotify_init1", (c_int,)),
        ("inotify_add_watch", (c_int, c_char_p, c_uint32)),
        ("inotify_rm_watch", (c_int, c_int)),
    ):
        getattr(libc, function).restype = c_int
        getattr(libc, function).argtypes = arguments
    return libc
