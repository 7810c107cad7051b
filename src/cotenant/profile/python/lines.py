"""Line tables of code objects, decoded once into arrays: which line an instruction belongs to.

Formats: Objects/lnotab_notes.txt of 3.9 (co_lnotab), PEP 626 (3.10, co_linetable) and
Objects/locations.md of 3.11 (PEP 657, until today). Tables come from a tenant's memory: any bytes
are decoded, one step per byte at most, and what makes no sense has no line.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right

TABLE_LIMIT = 1 << 20
"""As many bytes of a table are looked at; what lies beyond has no line."""
_NO_LINE = -1
_MOST_LINE = (1 << 31) - 1
_LONGEST_VARINT = 6  # six bits each: enough for any int


class Lines:
    """Lines of one code object, by offset into its bytecode in bytes."""

    def __init__(self, version: tuple[int, int], table: bytes, first_line: int) -> None:
        self._starts = array("I")
        self._lines = array("i")
        self._first = first_line
        table = table[:TABLE_LIMIT]
        if version >= (3, 11):
            self._decode_locations(table)
        elif version == (3, 10):
            self._decode_ranges(table)
        else:
            self._decode_lnotab(table)

    @property
    def size(self) -> int:
        """Bytes it takes up."""
        return 8 * len(self._starts)

    def line(self, offset: int) -> int:
        """Line of the instruction there; 0: it has none.

        An offset below 0 is a frame that runs no instruction yet: its function's first line.
        """
        if offset < 0:
            return self._first
        index = bisect_right(self._starts, offset) - 1
        if index < 0:
            return 0
        return max(0, self._lines[index])

    def _add(self, start: int, line: int) -> None:
        """From `start` on; of several at one place the last counts."""
        if not 0 <= line <= _MOST_LINE:
            line = _NO_LINE
        if self._starts and self._starts[-1] == start:
            self._lines[-1] = line
        elif not self._lines or self._lines[-1] != line:
            self._starts.append(start)
            self._lines.append(line)

    def _decode_lnotab(self, table: bytes) -> None:
        """3.9: pairs of (bytes further, signed lines further); the last line has no end."""
        start, line = 0, self._first
        self._add(start, line)
        for at in range(0, len(table) - 1, 2):
            start += table[at]
            line += _signed(table[at + 1])
            self._add(start, line)

    def _decode_ranges(self, table: bytes) -> None:
        """3.10: pairs of (length in bytes, signed lines further before it; -128: no line)."""
        start, line = 0, self._first
        for at in range(0, len(table) - 1, 2):
            further = _signed(table[at + 1])
            if further == -128:
                self._add(start, _NO_LINE)
            else:
                line += further
                self._add(start, line)
            start += table[at]
        self._add(start, _NO_LINE)

    def _decode_locations(self, table: bytes) -> None:
        """3.11 and later: entries of a first byte (1, code:4, units - 1:3) and its columns."""
        at, start, line = 0, 0, self._first
        while at < len(table):
            code, units = table[at] >> 3 & 15, (table[at] & 7) + 1
            at += 1
            if code == 15:
                self._add(start, _NO_LINE)
            else:
                if code >= 13:
                    further, at = _varint(table, at)
                    line += -(further >> 1) if further & 1 else further >> 1
                elif code >= 10:
                    line += code - 10
                self._add(start, line)
                at = _after_columns(table, at, code)
            start += 2 * units
        self._add(start, _NO_LINE)


def _signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


def _after_columns(table: bytes, at: int, code: int) -> int:
    """Where an entry ends whose line is read."""
    if code == 14:  # end line, column, end column
        for _ in range(3):
            _, at = _varint(table, at)
        return at
    if code == 13:
        return at
    return at + 2 if code >= 10 else at + 1


def _varint(table: bytes, at: int) -> tuple[int, int]:
    """A number of six bits per byte, lowest first, and where it ends."""
    number = 0
    for index in range(_LONGEST_VARINT):
        if at >= len(table):
            break
        byte = table[at]
        at += 1
        number |= (byte & 63) << 6 * index
        if not byte & 64:
            break
    return number, at
