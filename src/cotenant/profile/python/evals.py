"""Where the eval function lies in a binary: in one piece, or in a hot and some cold ones.

Compilers move blocks that seem unlikely away from their function, and link-time optimisers more
than that: in Debian's python3.14 the whole interpreter loop is such a cold part. Its symbol
(`_PyEval_EvalFrameDefault.cold`) is gone from a stripped file, but it has an unwind table of its
own, it is jumped to, and it jumps back. No other function jumps into the middle of this one; a tail
call goes one way only.

The tail-calling interpreter (3.14, --with-tail-call-interp) has a function per instruction. These
need no range: the eval function calls the first of them and stays on the stack, because the entry
frame is a variable of its own (Python/ceval.c).
"""

from __future__ import annotations

import re
import struct
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator

from cotenant.profile.elf import PT_GNU_EH_FRAME, BrokenElf, Elf

EVAL = "_PyEval_EvalFrameDefault"
MOST_RANGES = 4
"""As many as the kernel side takes."""
Range = tuple[int, int]
"""Begin and end as ELF addresses."""

_JUMPS = re.compile(rb"\xe9|\x0f[\x80-\x8f]")  # jmp rel32, jcc rel32
_LARGEST = 1 << 20
"""Bytes of one piece that are looked through; the largest eval function seen has 75,000."""
_MOST_CANDIDATES = 64
_MOST_FDES = 1 << 20
_HEADER = bytes((1, 0x1B, 0x03, 0x3B))
"""Version, then how the table is encoded: what every linker writes (LSB, .eh_frame_hdr)."""


def eval_ranges(elf: Elf, table: str) -> tuple[Range, ...]:
    """All pieces of the eval function, its symbol's first; () when there is none.

    `table` is where symbols are looked up: .dynsym or .symtab. May raise BrokenElf.
    """
    found = elf.find(EVAL, table)
    if not found or not 0 < found[1] <= _LARGEST or elf.at(*found) is None:
        return ()
    main = found[0], found[0] + found[1]
    fdes = _Fdes(elf)
    pieces = [main]
    for piece in pieces:  # grows: a cold part may have one further on
        for other in _parts(elf, fdes, piece, main):
            if other not in pieces and len(pieces) < MOST_RANGES:
                pieces.append(other)
    return tuple(pieces)


def _parts(elf: Elf, fdes: _Fdes, piece: Range, main: Range) -> list[Range]:
    """What `piece` jumps to and what jumps back into `main`, not to its start; largest first."""
    counted: Counter[Range] = Counter()
    for target in _targets(elf, piece):
        function = fdes.around(target)
        if function and not (function[0] < main[1] and main[0] < function[1]):
            counted[function] += 1
    parts = [
        function
        for function, _ in counted.most_common(_MOST_CANDIDATES)
        if any(main[0] < target < main[1] for target in _targets(elf, function))
    ]
    return sorted(parts, key=lambda part: part[0] - part[1])


def _targets(elf: Elf, piece: Range) -> Iterator[int]:
    """Addresses outside that it seems to jump to: bytes are not told apart from instructions."""
    begin, end = piece
    code = elf.at(begin, end - begin) if end - begin <= _LARGEST else None
    for match in _JUMPS.finditer(code or b""):
        at = match.end()
        if at + 4 <= end - begin:
            (distance,) = struct.unpack_from("<i", code or b"", at)
            target = begin + at + 4 + distance
            if not begin <= target < end:
                yield target


class _Fdes:
    """The functions that unwind tables know, from the sorted table in .eh_frame_hdr."""

    def __init__(self, elf: Elf) -> None:
        self._elf = elf
        self._starts: list[int] = []
        self._records: array[int] = array("i")
        self._base = 0
        for segment in elf.segments:
            if segment.type == PT_GNU_EH_FRAME:
                self._base = segment.vaddr
                self._read(elf.at(segment.vaddr, 12))

    def _read(self, head: bytes | None) -> None:
        if head is None or head[:4] != _HEADER:
            return
        (count,) = struct.unpack_from("<I", head, 8)
        if count > _MOST_FDES:
            raise BrokenElf(f"It claims unwind tables of {count} functions.")
        table = array("i", self._elf.at(self._base + 12, 8 * count) or b"")
        self._starts = [self._base + start for start in table[::2]]
        self._records = table[1::2]

    def around(self, address: int) -> Range | None:
        """The function that an address lies in; None: no table tells."""
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        start = self._starts[index]
        # Length, CIE, then begin and length of the function; its begin proves the encoding.
        at = self._base + self._records[index]
        record = self._elf.at(at, 16)
        if record is None:
            return None
        begin, size = struct.unpack_from("<iI", record, 8)
        if at + 8 + begin != start or not address < start + size:
            return None
        return start, start + size
