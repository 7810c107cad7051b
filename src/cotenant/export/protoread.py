"""Fields of a protobuf message that a stranger wrote (protobuf.dev/programming-guides/encoding).

Whatever the bytes are, what comes out is fields or `BadProfile`, in time linear in their length.
"""

from __future__ import annotations

from collections.abc import Iterator

from cotenant.errors import BadProfile

Value = int | bytes


def fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Number and value of each field, in order: an int of a varint, bytes of all that has a length.

    Fixed-size fields are passed over: no profile has one.
    """
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                value, at = _varint(data, at)
                yield tag >> 3, value
            case 2:
                length, at = _varint(data, at)
                if length > end - at:
                    raise BadProfile("A field of the profile is longer than what holds it.")
                yield tag >> 3, data[at : at + length]
                at += length
            case 1:
                at += 8
            case 5:
                at += 4
            case other:
                raise BadProfile(f"The profile has a field of an unknown form ({other}).")


def numbers(value: Value) -> list[int]:
    """Unsigned integers of a repeated field: packed, or one by one as older writers do."""
    if isinstance(value, int):
        return [value]
    if value.isascii():  # each below 0x80 is a number by itself
        return list(value)
    out, at, end = [], 0, len(value)
    while at < end:
        number, at = _varint(value, at)
        out.append(number)
    return out


def signed(value: int) -> int:
    """An int64 as it was before it was written as an unsigned integer."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    try:
        while (byte := data[at]) > 0x7F:
            value |= (byte & 0x7F) << shift
            shift += 7
            at += 1
            if shift > 63:
                raise BadProfile("A number of the profile is longer than 64 bits.")
    except IndexError:
        raise BadProfile("The profile ends in the middle of a number.") from None
    return (value | byte << shift) & (1 << 64) - 1, at + 1
