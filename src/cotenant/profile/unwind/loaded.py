"""The files whose code may stand in a stack: their numbers, and their unwind tables in the kernel.

A table is one row of words, the same wherever it lies: pages, rows, rules. It takes whole chunks of
the kernel's room; when there is none left, tables of files that no process maps give theirs.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterable

from cotenant.kernel import records
from cotenant.profile.programs import FILE, TABLE_WORDS, Programs
from cotenant.profile.unwind.cfi import Table

_CHUNKS = TABLE_WORDS // records.PROFILE_CHUNK
_NOBODY = 0


class Room:
    """Chunks that are free, as runs; first fit."""

    def __init__(self, chunks: int) -> None:
        self._free = [(0, chunks)]

    def take(self, count: int) -> int | None:
        """First chunk of a run of `count`; None: there is no such run."""
        for i, (first, length) in enumerate(self._free):
            if length >= count:
                rest = (first + count, length - count)
                self._free[i : i + 1] = [rest] if rest[1] else []
                return first
        return None

    def give(self, first: int, count: int) -> None:
        """Takes a run back, joined with its neighbours."""
        runs = sorted([*self._free, (first, count)])
        joined = runs[:1]
        for begin, length in runs[1:]:
            last, before = joined[-1]
            if last + before == begin:
                joined[-1] = (last, before + length)
            else:
                joined.append((begin, length))
        self._free = joined


class Tables:
    """Gives files their numbers, and puts their tables where the programs find them.

    `refused` counts tables for which there was no room; `evicted` are files that had one, and gave
    its room to others.
    """

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._room = Room(_CHUNKS)
        self._runs: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self._numbers = list(range(records.PROFILE_FILES - 1, _NOBODY, -1))
        self._pythons = list(range(records.PROFILE_PYTHONS - 1, _NOBODY, -1))
        self.refused = 0
        self.evicted: set[int] = set()
        self.words = 0

    def number(self) -> int:
        """A number for a file that has none; 0 when all are taken."""
        return self._numbers.pop() if self._numbers else _NOBODY

    @property
    def numbers_left(self) -> int:
        """Files that could still be given a number."""
        return len(self._numbers)

    def release(self, number: int, python: int) -> None:
        """Takes back the number of a file that nobody maps, with its table and its interpreter's.

        No sample may tell of it any more: the number is soon another file's.
        """
        self._programs.write_file(number, FILE.pack(0, 0, 0, 0, 0, 0))
        run = self._runs.pop(number, None)
        if run:
            self._room.give(*run)
        self.evicted.discard(number)
        self._numbers.insert(0, number)
        if python:
            self._pythons.insert(0, python)

    def put(self, number: int, table: Table | None, python: int, mapped: Iterable[int]) -> bool:
        """Tells the programs of a file; `mapped` are the numbers that processes map now.

        False: there is no room for its table.
        """
        if table is None:
            self._programs.write_file(number, FILE.pack(0, 0, 0, 0, 0, python))
            return True
        words = table.pages + table.rows + table.rules
        count = -(-len(words) // (records.PROFILE_CHUNK * 4))
        chunk = self._room.take(count)
        while chunk is None:
            if not self._evict(set(mapped)):
                self.refused += 1
                return False
            chunk = self._room.take(count)
        self._programs.write_words(chunk, words)
        self._runs[number] = (chunk, count)
        self.words += len(words) // 4
        pages = chunk * records.PROFILE_CHUNK
        rows = pages + len(table.pages) // 4
        entry = FILE.pack(
            pages,
            table.first_page,
            len(table.pages) // 4 - 1,
            rows,
            rows + len(table.rows) // 4,
            python,
        )
        self._programs.write_file(number, entry)
        return True

    def _evict(self, mapped: set[int]) -> bool:
        """Frees the oldest table of a file that nobody maps; False: there is none."""
        for number, (chunk, count) in self._runs.items():
            if number not in mapped:
                self._programs.write_file(number, FILE.pack(0, 0, 0, 0, 0, 0))
                self._room.give(chunk, count)
                del self._runs[number]
                self.evicted.add(number)
                return True
        return False

    def put_python(self, entry: bytes) -> int:
        """A number for an interpreter (a packed profile_python); 0: all are taken."""
        number = self._pythons.pop() if self._pythons else _NOBODY
        if number:
            self._programs.write_python(number, entry)
        return number

    def change_python(self, number: int, entry: bytes) -> None:
        """Tells what became known of an interpreter since."""
        self._programs.write_python(number, entry)


def word_file(word: int) -> tuple[int, int]:
    """File number and address in it, of a word of a native frame."""
    bits = records.PROFILE_ADDRESS_BITS
    return (word & ~(1 << 62)) >> bits, word & ((1 << bits) - 1)


def words_of(raw: bytes, at: int, count: int) -> tuple[int, ...]:
    """`count` words of a sample, from byte `at` on."""
    return struct.unpack_from(f"={count}Q", raw, at)
