"""Functions and lines of a Go program, out of the table its own runtime unwinds with.

It stays when the binary is stripped. Four layouts, told by the first word: Go 1.2
(go.dev/s/go12symtab), 1.16 (parts of their own, files per compilation unit), 1.18 (offsets of 32
bits from the start of the text), 1.20 (each function's first line). Source: debug/gosym/pclntab.go
and runtime/symtab.go of Go.
"""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from cotenant.profile.elf import BrokenElf, Elf, Section
from cotenant.profile.symbols.functions import NAME_LIMIT, Row

TABLE_LIMIT = 128 << 20
"""Largest table that is looked at, in bytes (Kubernetes' largest binaries have 40 MB)."""
_MOST_FUNCTIONS = 1 << 20
_LONGEST_STREAM = 1 << 16
_STRINGS_LIMIT = 48 << 20
_SECTIONS = (".gopclntab", ".data.rel.ro.gopclntab")
_GO12, _GO116, _GO118, _GO120 = 0xFFFFFFFB, 0xFFFFFFFA, 0xFFFFFFF0, 0xFFFFFFF1
_MAGICS = (_GO12, _GO116, _GO118, _GO120)
_HEADER = re.compile(rb"[\xfb\xfa\xf0\xf1]\xff\xff\xff\0\0[\1\2\4]\x08", re.DOTALL)
_NO_FILE = 0xFFFFFFFF
_MODULE_DATA = (".go.module", ".noptrdata", ".data")
_TEXT_AT = 176
"""Of `text` in struct moduledata, since Go 1.16: a pointer, six slices, three pointers before."""


class Line(NamedTuple):
    """Where in the source an address is. Of inlined calls it is the innermost one's place."""

    file: str
    line: int
    first_line: int
    """Line the function begins at; 0: this version of Go does not tell."""


class _Layout(NamedTuple):
    """Where the parts of one table are, in bytes from its begin."""

    version: int
    functions: int
    text: int
    names: int
    units: int
    files: int
    streams: int
    table: int
    entry: int
    """Bytes of one word in the table of functions, which has two words a function."""


class GoTable:
    """The table of one ELF file. BrokenElf when it contradicts itself."""

    def __init__(self, elf: Elf, section: Section, inside: int = 0) -> None:
        self._elf = elf
        self._at = section.offset + inside
        self._size = section.size - inside
        self._vaddr = section.vaddr + inside
        if self._size > TABLE_LIMIT:
            raise BrokenElf(f"Its table of Go functions has {self._size} bytes.")
        self._layout = self._read_layout()

    @classmethod
    def of(cls, elf: Elf) -> GoTable | None:
        """The table of that file; None when it is no Go program."""
        for name in _SECTIONS:
            if name in elf.sections:
                return cls(elf, elf.sections[name])
        # Up to Go 1.25 the system's linker puts it among other data, if position independent.
        section = elf.sections.get(".data.rel.ro")
        data = elf.content(section, TABLE_LIMIT) if section and elf.is_go else None
        for found in _HEADER.finditer(data or b""):
            if section and found.start() % 8 == 0:
                with suppress(BrokenElf):
                    return cls(elf, section, found.start())
        return None

    def _read_layout(self) -> _Layout:
        magic, zero, quantum, pointer = struct.unpack("<IHBB", self._read(0, 8))
        if magic not in _MAGICS or zero or quantum not in (1, 2, 4) or pointer != 8:
            raise BrokenElf("Its table of Go functions has a form not known here.")
        words = struct.unpack("<8Q", self._read(8, 64))
        if magic == _GO12:
            layout = _Layout(magic, words[0], 0, 0, 0, 0, 0, 16, 8)
        elif magic == _GO116:
            functions, _files, names, units, files, streams, table, _ = words
            layout = _Layout(magic, functions, 0, names, units, files, streams, table, 8)
        else:
            functions, _files, text, names, units, files, streams, table = words
            text = text or self._text()
            layout = _Layout(magic, functions, text, names, units, files, streams, table, 4)
        if layout.functions > _MOST_FUNCTIONS or layout.table > self._size:
            raise BrokenElf(f"It claims {layout.functions} Go functions.")
        return layout

    def _text(self) -> int:
        """Begin of Go's text where the table leaves it out (Go 1.26, position independent ones).

        The runtime has it in its moduledata, which begins with the table's address. That is data
        of the file, or what its relocations will put there.
        """
        for name in _MODULE_DATA:
            data = self._elf.section(name, TABLE_LIMIT)
            if data is not None:
                words = array("Q", bytes(data[: len(data) // 8 * 8]))
                at = _index(words, self._vaddr)
                if at is not None and at + _TEXT_AT // 8 < len(words):
                    return words[at + _TEXT_AT // 8]
        data = self._elf.section(".rela.dyn", TABLE_LIMIT)
        if data is not None:
            words = array("Q", bytes(data[: len(data) // 24 * 24]))
            places, addends = words[0::3], words[2::3]
            at = _index(addends, self._vaddr)
            text_at = _index(places, places[at] + _TEXT_AT) if at is not None else None
            if text_at is not None:
                return addends[text_at]
        section = self._elf.sections.get(".text")
        return section.vaddr if section else 0

    def functions(self) -> Iterator[Row]:
        """Every function, in order of address."""
        layout = self._layout
        words = self._words(0, layout.functions)
        starts = words[0::2]
        offsets = words[1::2]
        names = self._names()
        for index in range(layout.functions):
            start, end = starts[index], starts[index + 1]
            name = self._name_of(offsets[index], names)
            if start < end and name:
                yield Row(layout.text + start, end - start, name)

    def _words(self, first: int, count: int) -> array[int]:
        """Begin and offset of `count` functions and the begin of the next: 2 * count + 1 words."""
        entry = self._layout.entry
        at = self._layout.table + 2 * entry * first
        data = self._read(at, (2 * count + 1) * entry)
        return array("Q" if entry == 8 else "I", bytes(data))

    def _names(self) -> tuple[int, bytes | memoryview, bytes | memoryview]:
        """Base of offsets to functions, and the parts with functions and with names."""
        layout = self._layout
        whole = self._read(layout.table, self._size - layout.table)
        base = layout.table if layout.version == _GO12 else 0
        if layout.version == _GO12:
            return base, whole, self._read(0, self._size)
        end = min(layout.names + _STRINGS_LIMIT, self._size)
        return base, whole, self._read(layout.names, end - layout.names)

    def _name_of(
        self, offset: int, parts: tuple[int, bytes | memoryview, bytes | memoryview]
    ) -> bytes:
        base, functions, names = parts
        at = offset - base + self._layout.entry
        if at < 0 or at + 4 > len(functions):
            return b""
        (name_at,) = struct.unpack_from("<i", functions, at)
        return _string(names, name_at)

    def line(self, vaddr: int) -> Line | None:
        """File and line of an address; None where no function is, or none is told.

        Reads a few hundred bytes: ask for what is shown.
        """
        found = self._find(vaddr - self._layout.text)
        if found is None:
            return None
        start, offset = found
        layout = self._layout
        at = offset if layout.version == _GO12 else layout.table + offset
        # From the name on: name, args, frame or deferreturn, pcsp, pcfile, pcln, npcdata, unit...
        fields = struct.unpack("<9i", self._read(at + layout.entry, 36))
        into = vaddr - layout.text - start
        number = self._value(fields[4], into)
        line = self._value(fields[5], into)
        if number is None or line is None:
            return None
        file = self._file(number, fields[7])
        return Line(file, line, fields[8] if layout.version == _GO120 else 0) if file else None

    def _find(self, pc: int) -> tuple[int, int] | None:
        """Begin and offset of the function with that address: bisected in the file."""
        low, high = 0, self._layout.functions
        while low < high:
            middle = (low + high) // 2
            if self._words(middle, 0)[0] <= pc:
                low = middle + 1
            else:
                high = middle
        if not low:
            return None
        start, offset, end = self._words(low - 1, 1)
        return (start, offset) if start <= pc < end else None

    def _value(self, stream: int, into: int) -> int | None:
        """What a table of values says `into` bytes from the function's begin.

        Pairs of variable-length numbers: a value's change (zigzag), and how many bytes it holds.
        """
        if stream <= 0:
            return None
        at = self._layout.streams + stream
        data = bytes(self._read(at, max(0, min(_LONGEST_STREAM, self._size - at))))
        value, pc, at = -1, 0, 0
        while at < len(data):
            change, at = _varint(data, at)
            if not change and pc:
                return None
            value += -(change + 1 >> 1) if change & 1 else change >> 1
            step, at = _varint(data, at)
            pc += step
            if into < pc:
                return value
        return None

    def _file(self, number: int, unit: int) -> str:
        layout = self._layout
        if layout.version == _GO12:
            table = struct.unpack("<I", self._read(16 + 16 * layout.functions + 8, 4))[0]
            (at,) = struct.unpack("<I", self._read(table + 4 * number, 4))
        else:
            (at,) = struct.unpack("<I", self._read(layout.units + 4 * (unit + number), 4))
            if at == _NO_FILE:
                return ""
            at += layout.files
        data = self._read(at, max(0, min(NAME_LIMIT, self._size - at)))
        return _string(data, 0).decode("utf-8", "replace")

    def _read(self, at: int, count: int) -> bytes | memoryview:
        if at < 0 or count < 0 or at + count > self._size:
            raise BrokenElf("Its table of Go functions points out of itself.")
        return self._elf.source.read(self._at + at, count)


def _string(data: bytes | memoryview, at: int) -> bytes:
    if at < 0:
        return b""
    part = bytes(data[at : at + 128])
    end = part.find(b"\0")
    if end < 0:
        part = bytes(data[at : at + NAME_LIMIT])
        end = part.find(b"\0")
    return part[:end] if end >= 0 else part


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, lowest first, at most five bytes; and where the next begins."""
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            break
    return value & 0xFFFFFFFF, at


def _index(words: array[int], wanted: int) -> int | None:
    try:
        return words.index(wanted)
    except ValueError:
        return None
