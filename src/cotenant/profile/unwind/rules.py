"""How to step from a frame to its caller: rules, and the table that says which holds where.

A table is made for the kernel side (`bpf/profile.h`), so it is kept as plain arrays: 4 bytes per
row, and each rule once. `lookup` is what the kernel side does, in Python.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from enum import IntEnum
from typing import NamedTuple

from cotenant.errors import CotenantError

PAGE_BITS = 16
"""A page is 64 KiB of a file's addresses, so that 16 bits tell where in it a row begins."""

LOST = 1
"""`Rule.rbp` where the caller's rbp is not to be had. (No real place of it is odd.)"""

MOST_RULES = 65_535
"""Of one binary; libLLVM-14 has 586."""

_MOST_STATES = 2 * MOST_RULES
_PACKED = struct.Struct("<ihBx")
_HEAD = struct.Struct("<QII")


class BrokenTable(CotenantError):
    """A binary's .eh_frame is corrupt, or is none."""


class TooLarge(BrokenTable):
    """It is beyond a bound: more rows, more functions or a wider span than are taken."""


class RuleKind(IntEnum):
    """Where a frame's CFA is, the value rsp had before the call. The return address is below it."""

    NONE = 0
    """Nothing is known here: no function of .eh_frame has it."""
    RSP = 1
    """rsp + cfa."""
    RBP = 2
    """rbp + cfa."""
    PLT = 3
    """rsp + 8, and 8 more where (ip & 15) >= cfa: the code of a PLT's entry pushes one word."""
    START = 4
    """There is no caller: the thread starts here."""
    SIGNAL = 5
    """A signal's frame. Registers lie at rsp + 40 as `struct sigcontext` has them: rbp at
    rsp + 120, rsp at rsp + 160, ip at rsp + 168. ip is exact there, no return address."""
    RSP_DEREF = 6
    """*(rsp + cfa) + 8: hand-written code that aligned its stack, such as OpenSSL's."""
    UNSUPPORTED = 7
    """Anything else."""
    RBP_DEREF = 8
    """*(rbp + cfa), and the caller's rbp at *rbp: compiled code that aligned its stack for AVX."""


class Rule(NamedTuple):
    """One rule; `rbp` is where the caller's rbp was saved, from the CFA; 0: still in rbp."""

    kind: int
    cfa: int = 0
    rbp: int = 0


NOTHING = Rule(RuleKind.NONE)
UNSUPPORTED = Rule(RuleKind.UNSUPPORTED)


class Table(NamedTuple):
    """All rules of one binary. Addresses are as its sections count them.

    `rows`: u32 each, (address & 0xffff) | rule << 16, ascending in a page; a row holds until the
    next one. `pages`: u32 each, the first row of page `first_page` + i, and one more for the end.
    A page but the first begins with a row at 0. `rules`: 8 bytes each, {s32 cfa, s16 rbp, u8 kind,
    u8 zero}. All little-endian.
    """

    first_page: int
    pages: bytes
    rows: bytes
    rules: bytes

    def lookup(self, pc: int) -> Rule:
        """The rule at an address; of a return address, ask for the byte before it."""
        pages, rows = memoryview(self.pages).cast("I"), memoryview(self.rows).cast("I")
        page = (pc >> PAGE_BITS) - self.first_page
        if not 0 <= page < len(pages) - 1:
            return NOTHING
        first, end = pages[page], pages[page + 1]
        at = bisect_right(rows, pc & 0xFFFF, first, end, key=lambda row: row & 0xFFFF)
        return self.rule(rows[at - 1] >> 16) if at > first else NOTHING

    def rule(self, index: int) -> Rule:
        """The rule of that number."""
        cfa, rbp, kind = _PACKED.unpack_from(self.rules, index * _PACKED.size)
        return Rule(kind, cfa, rbp)

    def packed(self) -> bytes:
        """The whole table, to be kept in a file."""
        head = _HEAD.pack(self.first_page, len(self.pages), len(self.rows))
        return b"".join((head, self.pages, self.rows, self.rules))

    @classmethod
    def unpacked(cls, data: bytes) -> Table:
        """What `packed` made; BrokenTable if it cannot be that."""
        if len(data) < _HEAD.size:
            raise BrokenTable("This is no packed unwind table.")
        first_page, pages, rows = _HEAD.unpack_from(data)
        end_pages = _HEAD.size + pages
        end_rows = end_pages + rows
        if end_rows > len(data) or (pages | rows) % 4 or (len(data) - end_rows) % _PACKED.size:
            raise BrokenTable("This is no packed unwind table.")
        return cls(
            first_page, data[_HEAD.size : end_pages], data[end_pages:end_rows], data[end_rows:]
        )


class Rules(dict[Rule, int]):
    """Numbers of rules, already where a row has them (shifted by 16); a new rule gets the next.

    One that does not fit is UNSUPPORTED. TooLarge when all numbers are given.
    """

    def __init__(self) -> None:
        super().__init__({NOTHING: 0, UNSUPPORTED: 1 << 16})
        self._counted = 0

    def __missing__(self, rule: Rule) -> int:
        if not -(1 << 31) <= rule.cfa < 1 << 31:
            return self[UNSUPPORTED]
        if len(self) >= MOST_RULES:
            raise TooLarge(f".eh_frame has more than {MOST_RULES} rules.")
        number = self[rule] = len(self) << 16
        return number

    def count(self) -> None:
        """Once per state that leads to a rule, so that hostile ones take no memory."""
        self._counted += 1
        if self._counted > _MOST_STATES:
            raise TooLarge(f".eh_frame makes more than {_MOST_STATES} states.")

    def packed(self) -> bytes:
        """As `Table.rules` has them."""
        return b"".join(_PACKED.pack(rule.cfa, rule.rbp, rule.kind) for rule in self)
