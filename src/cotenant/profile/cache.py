"""What was worked out of binaries, kept on disk, so that the next start need not do it again.

A key must tell the very content that something was worked out of, such as `cfi.key`. A build id
does not: a tenant writes into its binaries what it likes, and would speak for another's libc.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import struct
import tempfile
import time
import zlib
from pathlib import Path
from typing import Final

VERSION: Final = 1
"""Of all that is kept. Raise it when a form changes: what is older counts as absent."""

MOST_BYTES: Final = 256 << 20

_MAGIC = b"cotenant"
_HEAD = struct.Struct("<8sIIQ")  # magic, version, CRC-32 and length of what follows
_PLAIN = re.compile(r"[0-9a-zA-Z]{1,128}")
_NEW = ".new-"
_ABANDONED_S = 3600.0
"""After so long a file that was never finished is taken away; writing one takes no second."""


class Cache:
    """Files below one directory, at most `most_bytes` of them; what was used longest ago goes.

    Processes may share it. It never fails: what cannot be read is absent, what cannot be written
    is not kept.
    """

    def __init__(self, directory: Path, most_bytes: int = MOST_BYTES) -> None:
        self._directory = directory
        self._most_bytes = most_bytes
        self._bytes: int | None = None
        """What it holds, as far as this process knows; None: not looked yet."""

    def get(self, kind: str, key: str) -> bytes | None:
        """What was put there; None: nothing, something older, or something corrupt."""
        path = self._path(kind, key)
        try:
            if not self._is_ours():
                return None
            with open(path, "rb", opener=_no_link) as file:
                found = _opened(file.read(self._most_bytes + 1))
                if found is not None:
                    os.utime(file.fileno())
        except OSError:
            return None
        if found is None:
            _remove(path)
        return found

    def put(self, kind: str, key: str, data: bytes) -> bool:
        """Keep it; whether that was possible."""
        head = _HEAD.pack(_MAGIC, VERSION, zlib.crc32(data), len(data))
        size = len(head) + len(data)
        if size > self._most_bytes:
            return False
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._is_ours():
                return False
            self._write(self._path(kind, key), head, data)
            self._make_room(size)
        except OSError:
            return False
        return True

    def _path(self, kind: str, key: str) -> Path:
        """A file's name: the key, or its hash where it could mean something to a file system."""
        if not _PLAIN.fullmatch(key):
            key = hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()
        return self._directory / f"{key}.{kind}"

    def _is_ours(self) -> bool:
        """Nobody else may have written there."""
        found = self._directory.lstat()
        return (
            stat.S_ISDIR(found.st_mode)
            and found.st_uid == os.geteuid()
            and not found.st_mode & 0o077
        )

    def _write(self, path: Path, head: bytes, data: bytes) -> None:
        """Whole or not at all: others see the file once it has its name."""
        number, name = tempfile.mkstemp(prefix=_NEW, dir=self._directory)
        try:
            with open(number, "wb") as file:
                file.write(head)
                file.write(data)
            os.replace(name, path)
        except BaseException:
            _remove(Path(name))
            raise

    def _make_room(self, added: int) -> None:
        """Take away what was used longest ago, a tenth more than needed."""
        if self._bytes is not None:
            self._bytes += added
            if self._bytes <= self._most_bytes:
                return
        files = sorted(self._files())
        held = sum(size for _, size, _ in files)
        if held > self._most_bytes:
            for _, size, path in files:
                if held <= self._most_bytes * 0.9:
                    break
                _remove(path)
                held -= size
        self._bytes = held

    def _files(self) -> list[tuple[int, int, Path]]:
        """When each was used (ns), its size and name; those never finished are taken away."""
        files: list[tuple[int, int, Path]] = []
        with os.scandir(self._directory) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    found = entry.stat(follow_symlinks=False)
                    path = Path(entry.path)
                    if not entry.name.startswith(_NEW):
                        files.append((found.st_mtime_ns, found.st_size, path))
                    elif time.time() - found.st_mtime > _ABANDONED_S:
                        _remove(path)
        return files


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _opened(file: bytes) -> bytes | None:
    """What is in a file; None where it is not whole or of another version."""
    if len(file) < _HEAD.size:
        return None
    magic, version, crc, length = _HEAD.unpack_from(file)
    data = file[_HEAD.size :]
    if (magic, version, length) != (_MAGIC, VERSION, len(data)) or crc != zlib.crc32(data):
        return None
    return data


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
