"""Disk space of each tenant's writable layer, walked slowly beside the loop."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping

_BLOCK = 512
_PAUSE_EVERY = 256
_PAUSE_S = 0.002
_GONE = (FileNotFoundError, NotADirectoryError)


def used_bytes(directory: str) -> int:
    """Bytes allocated below `directory`, hard links once, other file systems left out.

    Symbolic links are not followed. What vanishes in mid-walk is left out; OSError where a part may
    not be read, as the rest would pass for the whole. Pauses a little every
    few hundred entries: a walk must not become the noisy neighbour.
    """
    device = os.lstat(directory).st_dev
    seen: set[int] = set()
    total = visited = 0
    pending = [directory]
    while pending:
        try:
            entries = os.scandir(pending.pop())
        except _GONE:
            continue
        with entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except _GONE:
                    continue
                visited += 1
                if visited % _PAUSE_EVERY == 0:
                    time.sleep(_PAUSE_S)
                if status.st_dev != device or status.st_ino in seen:
                    continue
                if status.st_nlink > 1:
                    seen.add(status.st_ino)
                total += status.st_blocks * _BLOCK
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
    return total


class Space:
    """Walks one writable layer after the other in a thread; `of` never waits.

    `period_s` is the least time between two walks of the same layer. A walk may take no more than
    a tenth of the time: a layer that took long is walked less often.
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._wanted: dict[int, str] = {}
        self._found: dict[int, int] = {}
        self._due: dict[int, float] = {}
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def want(self, layers: Mapping[int, str]) -> None:
        """Whose layers to walk: directory by tenant key."""
        self._wanted = dict(layers)
        for known in (self._found, self._due):
            for key in known.keys() - self._wanted.keys():
                del known[key]
        if self._wanted and self._thread is None:
            self._thread = threading.Thread(target=self._walk_on, name="space", daemon=True)
            self._thread.start()
        self._wake.set()

    def of(self, key: int) -> int | None:
        """Bytes at the last walk; None while there was none."""
        return self._found.get(key)

    def close(self) -> None:
        """Ends the thread after the walk in hand."""
        self._ended.set()
        self._wake.set()

    def _walk_on(self) -> None:
        while not self._ended.is_set():
            now = time.monotonic()
            for key, directory in self._wanted.items():
                if self._due.get(key, 0.0) <= now and not self._ended.is_set():
                    self._walk(key, directory)
            self._wake.clear()
            self._wake.wait(self._period_s)

    def _walk(self, key: int, directory: str) -> None:
        began = time.monotonic()
        try:
            self._found[key] = used_bytes(directory)
        except OSError:
            self._found.pop(key, None)
        took = time.monotonic() - began
        self._due[key] = began + max(self._period_s, 10 * took)
