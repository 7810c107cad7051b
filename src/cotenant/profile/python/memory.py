"""Reading a process that may lie: every read is bounded, and a failed one is None."""

from __future__ import annotations

import struct
from collections.abc import Callable

from cotenant.profile.python.offsets import Layout

Read = Callable[[int, int], bytes]
"""`read(address, count)`: that many bytes of the process, fewer, or OSError."""

LOWEST = 0x1000
HIGHEST = (1 << 47) - 1
"""User addresses of x86-64 (those of five page levels have to be asked for: nobody does)."""
_KINDS = {1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}


def get(read: Read, address: int, count: int) -> bytes | None:
    """Exactly `count` bytes; None when they cannot be had."""
    if not LOWEST <= address <= HIGHEST - count:
        return None
    try:
        data = read(address, count)
    except (OSError, ValueError, OverflowError):  # ValueError: the file was closed meanwhile
        return None
    return data if len(data) == count else None


def word(read: Read, address: int) -> int | None:
    """A pointer or another number of 64 bits."""
    data = get(read, address, 8)
    return int.from_bytes(data, "little") if data else None


def text(read: Read, layout: Layout, address: int, limit: int) -> str | None:
    """A str object's characters, `limit` at most and then an ellipsis; None: it is no str."""
    head = get(read, address, layout.str_state + 4)
    if head is None:
        return None
    (length,) = struct.unpack_from("<q", head, layout.str_length)
    (state,) = struct.unpack_from("<I", head, layout.str_state)
    width, compact, is_ascii = state >> 2 & 7, state >> 5 & 1, state >> 6 & 1
    if not compact or width not in _KINDS or length < 0 or (is_ascii and width != 1):
        return None
    kept = min(length, limit)
    start = layout.str_ascii if is_ascii else layout.str_compact
    data = get(read, address + start, kept * width) if kept else b""
    if data is None:
        return None
    # Lone surrogates (file names that are no UTF-8) have no place in what is written out.
    found = data.decode("ascii" if is_ascii else _KINDS[width], "replace")
    return found if length == kept else f"{found}…"


def blob(read: Read, layout: Layout, address: int, limit: int) -> bytes | None:
    """A bytes object's content, cut at `limit`; None: it is no bytes object."""
    head = get(read, address, layout.bytes_size + 8)
    if head is None:
        return None
    (size,) = struct.unpack_from("<q", head, layout.bytes_size)
    if size < 0:
        return None
    kept = min(size, limit)
    return get(read, address + layout.bytes_data, kept) if kept else b""
