"""Names of one file's functions by address: sorted, compact, and a form of it for the disk."""

from __future__ import annotations

import struct
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

NAME_LIMIT = 4096
"""Longest name that is kept, in bytes; a longer one is cut."""
_NESTED = 8
_HEADER = struct.Struct("<8sIIII")  # magic, CRC of the rest, functions, bytes of names, of source
_MAGIC = b"cotsym1\n"


class Row(NamedTuple):
    """One function: where it begins, its bytes, its name, and where it must end at the latest.

    A size of 0 says: not told; it then goes on to the next function, or to `limit`.
    """

    start: int
    size: int
    name: bytes
    limit: int = 1 << 64


class Symbols:
    """Functions of one file by address; 16 bytes and a name each."""

    def __init__(
        self,
        starts: array[int],
        sizes: array[int],
        names_at: array[int],
        names: bytes,
        source: str,
    ) -> None:
        self._starts = starts
        self._sizes = sizes
        self._names_at = names_at
        self._names = names
        self.source = source
        """Where the names come from, such as `.dynsym`; several are joined by a plus."""

    @classmethod
    def of(cls, rows: Iterable[Row], source: str = "", ordered: bool = False) -> Symbols:
        """A table of these; of those that begin at one address, the first is taken.

        `ordered`: they come in order of address, so that they need not all be there at once.
        """
        starts, sizes, names_at = array("Q"), array("I"), array("I")
        names: list[bytes] = []
        at = 0
        before, is_open = -1, False
        for start, size, name, limit in rows if ordered else sorted(rows, key=_start):
            if start == before or not 0 <= start < 1 << 64:
                continue
            if is_open:
                sizes[-1] = min(start - starts[-1], sizes[-1])
                is_open = False
            if not size:
                size = limit - start
                is_open = size > 0
            if size <= 0:
                continue
            before = start
            starts.append(start)
            sizes.append(min(size, 0xFFFFFFFF))
            names_at.append(at)
            names.append(name[:NAME_LIMIT])
            at += len(names[-1]) + 1
        names.append(b"")
        return cls(starts, sizes, names_at, b"\0".join(names), source)

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def memory_bytes(self) -> int:
        """About what it takes in memory."""
        return 16 * len(self._starts) + len(self._names)

    def index(self, vaddr: int) -> int | None:
        """Which function has that address, counted by where they begin; None: none has.

        Where functions overlap, as labels within one written in assembler do, it is the one that
        begins last, of the nearest eight.
        """
        starts, sizes = self._starts, self._sizes
        last = bisect_right(starts, vaddr) - 1
        for index in range(last, max(last - _NESTED, -1), -1):
            if vaddr - starts[index] < sizes[index]:
                return index
        return None

    def function(self, index: int) -> tuple[str, int]:
        """Name (not demangled) and begin of a function."""
        at = self._names_at[index]
        name = self._names[at : self._names.find(b"\0", at)].decode("utf-8", "replace")
        return name, self._starts[index]

    def lookup(self, vaddr: int) -> tuple[str, int] | None:
        """Name (not demangled) and begin of the function with that address; None: in none."""
        index = self.index(vaddr)
        return None if index is None else self.function(index)

    def to_bytes(self) -> bytes:
        """Its form for the disk cache: little endian, checked by a CRC."""
        source = self.source.encode()
        body = b"".join(
            (
                self._starts.tobytes(),
                self._sizes.tobytes(),
                self._names_at.tobytes(),
                self._names,
                source,
            )
        )
        counts = (len(self._starts), len(self._names), len(source))
        return _HEADER.pack(_MAGIC, zlib.crc32(body), *counts) + body

    @classmethod
    def from_bytes(cls, data: bytes) -> Symbols | None:
        """What `to_bytes` wrote; None when it is of another form or damaged."""
        if len(data) < _HEADER.size:
            return None
        magic, crc, count, names_size, source_size = _HEADER.unpack_from(data)
        body = memoryview(data)[_HEADER.size :]
        if magic != _MAGIC or len(body) != 16 * count + names_size + source_size:
            return None
        if zlib.crc32(body) != crc:
            return None
        starts, sizes = array("Q", bytes(body[: 8 * count])), array("I")
        names_at = array("I")
        sizes.frombytes(body[8 * count : 12 * count])
        names_at.frombytes(body[12 * count : 16 * count])
        names = bytes(body[16 * count : 16 * count + names_size])
        if (not names.endswith(b"\0") and count) or max(names_at, default=0) > len(names):
            return None
        source = bytes(body[16 * count + names_size :]).decode("utf-8", "replace")
        return cls(starts, sizes, names_at, names, source)


def _start(row: Row) -> int:
    return row.start
