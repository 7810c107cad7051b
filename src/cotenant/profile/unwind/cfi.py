"""The unwind table of a binary, out of its .eh_frame section (x86-64).

Whatever a binary says there is a tenant's word, so nothing takes more time or memory than its
bounds allow.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from typing import Final

from cotenant.profile.unwind.cfa import (
    ACTS,
    ADVANCE,
    DEF_CFA_OFFSET,
    OFFSET,
    QUIET,
    SAVES,
    Machine,
)
from cotenant.profile.unwind.leb import more
from cotenant.profile.unwind.rules import (
    PAGE_BITS,
    BrokenTable,
    Rule,
    RuleKind,
    Rules,
    Table,
    TooLarge,
)
from cotenant.profile.unwind.section import Function, Section

__all__ = ["BrokenTable", "Rule", "RuleKind", "Table", "TooLarge", "key", "table"]

MOST_ROWS: Final = 4_000_000
MOST_BYTES: Final = 32 << 20
"""As many rows come out of fewer: libLLVM-14 takes 5 bytes for one."""
MOST_PAGES: Final = 1 << 16
"""How far apart functions may be: 4 GiB, beyond which no relative call reaches."""

_PAGE = 1 << PAGE_BITS
_IN_PAGE = _PAGE - 1
_LAST = b"\x7f"
"""An advance, put behind a function's instructions: at an advance a row is made."""


def table(eh_frame: memoryview | bytes, vaddr: int, *, most_rows: int = MOST_ROWS) -> Table:
    """The table of a binary whose .eh_frame section is this, loaded at `vaddr` (its `sh_addr`).

    Raises TooLarge beyond `most_rows` and the other bounds, BrokenTable where it cannot be read.
    """
    if len(eh_frame) > MOST_BYTES:
        raise TooLarge(f".eh_frame has {len(eh_frame)} bytes; {MOST_BYTES} are the most.")
    try:
        return _table(eh_frame, vaddr, most_rows)
    except StopIteration:
        raise BrokenTable("An instruction of .eh_frame is cut off.") from None


def key(eh_frame: memoryview | bytes, vaddr: int) -> str:
    """What tells a section from all others: under this its table may be cached."""
    return hashlib.sha256(b"".join((vaddr.to_bytes(8, "little"), eh_frame))).hexdigest()


def _table(eh_frame: memoryview | bytes, vaddr: int, most_rows: int) -> Table:
    rules = Rules()
    section = Section(eh_frame, vaddr, rules)
    functions = section.functions()
    if not functions:
        return Table(0, bytes(4), b"", rules.packed())
    pages = (functions[-1][1] - functions[0][0]) >> PAGE_BITS
    if pages > MOST_PAGES:
        raise TooLarge(f".eh_frame tells of {pages * _PAGE} bytes of code.")
    rows = _Rows(functions[0][0], most_rows)
    limits = [function[0] for function in functions[1:]]
    limits.append(functions[-1][1])
    for function, limit in zip(functions, limits, strict=True):
        rows.add(section.data, function, limit)
    return rows.table(rules)


class _Rows:
    """Rows as they are found, by rising address."""

    def __init__(self, begin: int, most: int) -> None:
        self._first_page = begin >> PAGE_BITS
        self._most = most
        self._page_end = (self._first_page + 1) << PAGE_BITS
        self._pages = array("I", [0])
        self._rows = array("I")
        self._end = begin
        """Where the last function ends."""

    def add(self, data: bytes, function: Function, limit: int) -> None:
        """All rows of a function; nothing of it counts from `limit` on, where another begins."""
        pc, end, first, last, machine = function
        if limit <= pc:
            return
        held = self._rows[-1] & ~_IN_PAGE if pc == self._end and self._rows else self._gap()
        self._end = min(end, limit)
        self._read(iter(data[first:last] + _LAST), machine, pc, held)
        if len(self._rows) > self._most:
            raise TooLarge(f"An unwind table would have more than {self._most} rows.")

    def _read(self, rest: Iterator[int], machine: Machine, pc: int, held: int) -> None:
        """Rows of the function that begins at `pc`, where the rule numbered `held` held before.

        Nearly all of the time goes here, so the usual instructions are read in place.
        """
        numbers, offset = machine.start()
        stop = min(self._end, self._page_end) if pc < self._page_end else 0
        append, quiet, saves, acts = self._rows.append, QUIET, SAVES, ACTS
        for one in rest:
            if ADVANCE < one < OFFSET:
                skipped = one & 0x3F
            elif one == DEF_CFA_OFFSET:
                offset = next(rest)
                offset = offset if offset < 0x80 else more(offset, rest)
                continue
            elif one in quiet or (one in saves and next(rest) < 0x80):
                continue
            else:
                machine.offset = offset
                skipped = acts[one](machine, rest)
                numbers, offset = machine.numbers, machine.offset
                if not skipped:
                    continue
            rule = numbers[offset]
            if rule != held:
                held = rule
                if pc < stop:
                    append(pc & _IN_PAGE | rule)
                else:
                    stop = self._turn(pc, rule)
            pc += skipped
        if one != _LAST[0]:
            raise BrokenTable("An instruction of .eh_frame is cut off.")

    def _gap(self) -> int:
        """A row for the end of the last function: nothing holds. Gives the number of that."""
        if self._rows:
            self._open(self._end)
            self._rows.append(self._end & _IN_PAGE)
        return 0

    def _turn(self, pc: int, rule: int) -> int:
        """A row that is on a later page, or none if it is beyond its function.

        Until where the next ones need not ask.
        """
        if pc >= self._end:
            return 0
        self._open(pc)
        self._rows.append(pc & _IN_PAGE | rule)
        return min(self._end, self._page_end)

    def _open(self, pc: int) -> None:
        """Have the page of `pc` open, for a row there."""
        rows = self._rows
        while pc >= self._page_end:
            self._pages.append(len(rows))
            self._page_end += _PAGE
            if pc & ~_IN_PAGE != pc or pc >= self._page_end:
                rows.append(rows[-1] & ~_IN_PAGE)

    def table(self, rules: Rules) -> Table:
        """The table, with a row where the last function ends."""
        self._gap()
        self._pages.append(len(self._rows))
        return Table(self._first_page, self._pages.tobytes(), self._rows.tobytes(), rules.packed())
