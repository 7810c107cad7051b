"""Makes the unwind tables of binaries, from the disk cache first; large ones in a thread.

A compiler's table takes a second or more, and in that time samples must be taken in all the same.
The thread gets bytes, never a file: whoever owns the file may close it meanwhile.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from cotenant.profile.elf import BrokenElf, Elf
from cotenant.profile.symbols.naming import Cache
from cotenant.profile.unwind.cfi import MOST_BYTES, table
from cotenant.profile.unwind.rules import BrokenTable, Table

KIND = "table"
MOST_RULES_BYTES = 16 << 20
"""Unwind tables kept in memory at most, for stacks that are walked in user space."""
LARGE_BYTES = 256 << 10
"""An .eh_frame of so much takes tens of milliseconds."""
_REFUSED = b"none"


class Unwound(Protocol):
    """A binary: `identity` tells its whole content, `unwound_by` is its `fingerprint`."""

    number: int
    identity: str
    unwound_by: str
    elf: Elf | None


class Making:
    """Tables by binary. None stands for one that has none, or none that can be followed."""

    def __init__(self, cache: Cache | None) -> None:
        self._cache = cache
        self._threads: ThreadPoolExecutor | None = None
        self._rules: OrderedDict[int, Table | None] = OrderedDict()

    def begin(self, file: Unwound) -> Future[Table | None]:
        """Makes the file's table: at once, or in a thread where it takes long."""
        done: Future[Table | None] = Future()
        known, kept = self._kept(file)
        if known:
            done.set_result(kept)
            return done
        data, vaddr = _content(file)
        if data is not None and len(data) >= LARGE_BYTES:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(1, "unwind-table")
            return self._threads.submit(self._made, file.identity, data, vaddr)
        done.set_result(self._made(file.identity, data, vaddr))
        return done

    def of(self, file: Unwound) -> Table | None:
        """The file's table, made here and now."""
        known, kept = self._kept(file)
        return kept if known else self._made(file.identity, *_content(file))

    def rules(self, file: Unwound) -> Table | None:
        """The same, remembered as long as there is room: the kernel's copy cannot be read back."""
        if file.number in self._rules:
            self._rules.move_to_end(file.number)
            return self._rules[file.number]
        found = self._rules[file.number] = self.of(file)
        while len(self._rules) > 1 and self._bytes > MOST_RULES_BYTES:
            self._rules.popitem(last=False)
        return found

    def remembers(self, file: Unwound) -> bool:
        """Whether `rules` needs to read nothing."""
        return file.number in self._rules

    def forget(self, number: int) -> None:
        """The number is to be another file's."""
        self._rules.pop(number, None)

    @property
    def _bytes(self) -> int:
        return sum(len(table.rows) + len(table.rules) for table in self._rules.values() if table)

    def _kept(self, file: Unwound) -> tuple[bool, Table | None]:
        kept = self._cache.get(KIND, file.identity) if self._cache else None
        if kept == _REFUSED:
            return True, None
        try:
            return (True, Table.unpacked(kept)) if kept else (False, None)
        except BrokenTable:
            return False, None

    def _made(self, identity: str, data: memoryview | None, vaddr: int) -> Table | None:
        if data is None:
            return None
        try:
            made = table(data, vaddr)
        except BrokenTable:
            made = None
        if self._cache:
            self._cache.put(KIND, identity, made.packed() if made else _REFUSED)
        return made

    def close(self) -> None:
        """Ends the thread, when the table that it is making is done."""
        if self._threads:
            self._threads.shutdown(cancel_futures=True)


def fingerprint(elf: Elf) -> str:
    """SHA-256 of its .eh_frame, in hex; empty: it has none, or one that is too large."""
    section = elf.sections.get(".eh_frame")
    if section is None or section.size > MOST_BYTES:
        return ""
    data = elf.content(section, MOST_BYTES)
    return hashlib.sha256(data).hexdigest() if data is not None else ""


def _content(file: Unwound) -> tuple[memoryview | None, int]:
    """Its .eh_frame; None where these are not (any more) the bytes that its identity stands for.

    A tenant may write into the file while we read it, and would make a table for all who have what
    the file was before.
    """
    try:
        section = file.elf.sections.get(".eh_frame") if file.elf and file.unwound_by else None
        if file.elf is None or section is None:
            return None, 0
        data = file.elf.content(section, MOST_BYTES)
    except BrokenElf:
        return None, 0
    if data is None or hashlib.sha256(data).hexdigest() != file.unwound_by:
        return None, 0
    return data, section.vaddr
