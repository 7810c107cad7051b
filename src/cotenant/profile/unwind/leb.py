"""Numbers and blocks as DWARF writes them (DWARF 5, section 7.6), read byte by byte.

StopIteration where a number is cut off, BrokenTable where it has no end or a block is cut off.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from cotenant.profile.unwind.rules import BrokenTable


def number(rest: Iterator[int]) -> int:
    """The unsigned number (LEB128) that comes next."""
    first = next(rest)
    return first if first < 0x80 else more(first, rest)


def more(first: int, rest: Iterator[int]) -> int:
    """The unsigned number whose first byte was read already, and is not all of it."""
    return first & 0x7F | _leb(rest)[0] << 7


def signed(rest: Iterator[int]) -> int:
    """The signed number (LEB128) that comes next."""
    value, bits = _leb(rest)
    return value - (1 << bits) if value >> (bits - 1) else value


def _leb(rest: Iterator[int]) -> tuple[int, int]:
    value = bits = 0
    for byte in rest:
        value |= (byte & 0x7F) << bits
        bits += 7
        if byte < 0x80:
            return value, bits
        if bits > 63:
            break
    raise BrokenTable("A number in .eh_frame does not end.")


def block(rest: Iterator[int]) -> bytes:
    """The bytes that come next, behind their count."""
    length = number(rest)
    found = bytes(islice(rest, min(length, 1 << 16)))
    if len(found) < length:
        raise BrokenTable("An expression in .eh_frame does not end.")
    return found
