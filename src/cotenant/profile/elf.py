"""What an ELF file says of itself: segments, sections, symbols, build id.

The file is a tenant's, so each offset in it is a claim: checked before it is followed, and nothing
but `BrokenElf` comes out of a file that lies. Parts are read when they are asked for, out of bytes
or out of a `Source`: a file of a tenant must not be mapped, because who is told to truncate it
while it is read would kill the reader (SIGBUS). Layouts: elf(5); 64 bits, little endian.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from array import array
from collections.abc import Iterator
from functools import cached_property
from mmap import mmap
from typing import NamedTuple, Protocol

PT_LOAD, PT_DYNAMIC, PT_NOTE, PT_GNU_EH_FRAME = 1, 2, 4, 0x6474E550
PF_X = 1
SHT_SYMTAB, SHT_NOBITS, SHT_DYNSYM = 2, 8, 11
EM_X86_64 = 62

SECTION_LIMIT = 256 << 20
"""Largest section that is read, in bytes, packed or not; larger ones are refused."""
_MOST_SEGMENTS = 1024
_MOST_SECTIONS = 1 << 14
_MOST_NOTES = 64
_LONGEST_CHAIN = 1 << 16
_NAMES_LIMIT = 1 << 20
_NOTES_LIMIT = 1 << 16
_PAGE = 4096

_HEADER = struct.Struct("<HHIQQQIHHHHHH")  # what follows the 16 bytes of e_ident
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_PACKED = struct.Struct("<IIQQ")
_SHF_COMPRESSED, _ELFCOMPRESS_ZLIB = 0x800, 1
_NT_GNU_BUILD_ID = 3
_GO = frozenset((".gopclntab", ".data.rel.ro.gopclntab", ".go.buildinfo", ".note.go.buildid"))


class BrokenElf(ValueError):
    """The file is no ELF file that can be read, or contradicts itself: a sentence says how."""


class Source(Protocol):
    """A file that is read in parts: `read` returns exactly `count` bytes or raises BrokenElf."""

    @property
    def size(self) -> int:
        """Its length in bytes."""

    def read(self, offset: int, count: int) -> bytes | memoryview:
        """`count` bytes from `offset` on."""


class Memory:
    """A Source over bytes; reads without copying."""

    def __init__(self, data: bytes | bytearray | memoryview | mmap) -> None:
        self._view = memoryview(data)
        self.size = self._view.nbytes

    def read(self, offset: int, count: int) -> memoryview:
        """A view of `count` bytes from `offset` on."""
        if offset < 0 or count < 0 or offset + count > self.size:
            raise BrokenElf(f"{count} bytes at {offset} lie outside of a file of {self.size}.")
        return self._view[offset : offset + count]


class Segment(NamedTuple):
    """A program header: what is mapped where, in bytes."""

    type: int
    flags: int
    offset: int
    vaddr: int
    filesz: int
    memsz: int


class Section(NamedTuple):
    """A section header. `link` is the number of a section it belongs with."""

    name: str
    type: int
    flags: int
    vaddr: int
    offset: int
    size: int
    link: int
    entsize: int


class SymbolTable(NamedTuple):
    """A symbol table as columns of one length; names are offsets into `strings`."""

    heads: array[int]
    """name offset | info << 32 | other << 40 | section number << 48"""
    values: array[int]
    sizes: array[int]
    strings: bytes


class Elf:
    """One ELF file, read as it is asked. All its members may raise BrokenElf, and nothing else."""

    def __init__(self, data: bytes | bytearray | memoryview | mmap | Source) -> None:
        if isinstance(data, bytes | bytearray | memoryview | mmap):
            data = Memory(data)
        self.source: Source = data
        if data.size < 64:
            raise BrokenElf("The file is too short for ELF.")
        head = bytes(data.read(0, 64))
        if head[:4] != b"\x7fELF":
            raise BrokenElf("The file is not ELF.")
        if head[4:6] != b"\x02\x01":
            raise BrokenElf("The file is not ELF of 64 bits, little endian.")
        (
            self.type,
            self.machine,
            _version,
            self.entry,
            self._segments_at,
            self._sections_at,
            _flags,
            _header_size,
            self._segment_size,
            self._segment_count,
            self._section_size,
            self._section_count,
            self._names_index,
        ) = _HEADER.unpack_from(head, 16)

    @cached_property
    def segments(self) -> list[Segment]:
        """Program headers in the file's order; [] when it has none."""
        count = self._segment_count
        if not count:
            return []
        if self._segment_size != _SEGMENT.size or count > _MOST_SEGMENTS:
            raise BrokenElf(f"It claims {count} program headers of {self._segment_size} bytes.")
        data = self.source.read(self._segments_at, count * _SEGMENT.size)
        return [
            Segment(kind, flags, offset, vaddr, filesz, memsz)
            for kind, flags, offset, vaddr, _paddr, filesz, memsz, _align in _SEGMENT.iter_unpack(
                data
            )
        ]

    @cached_property
    def section_list(self) -> list[Section]:
        """Section headers in the file's order, the empty number 0 included; [] when stripped."""
        if not self._sections_at:
            return []
        if self._section_size != _SECTION.size:
            raise BrokenElf(f"It claims section headers of {self._section_size} bytes.")
        count, names_index = self._section_count, self._names_index
        # More than 65,279 sections: elf(5) puts number and names into the first header.
        first = _SECTION.unpack(self.source.read(self._sections_at, _SECTION.size))
        count = count or first[5]
        names_index = first[6] if names_index == 0xFFFF else names_index
        if count > _MOST_SECTIONS:
            raise BrokenElf(f"It claims {count} sections.")
        data = self.source.read(self._sections_at, count * _SECTION.size)
        headers = list(_SECTION.iter_unpack(data))
        if names_index >= count:
            raise BrokenElf("Its section names lie in a section that it does not have.")
        names = self._names(headers[names_index]) if names_index else b""
        return [
            Section(_string(names, name), kind, flags, vaddr, offset, size, link, entsize)
            for name, kind, flags, vaddr, offset, size, link, _info, _align, entsize in headers
        ]

    def _names(self, header: tuple[int, ...]) -> bytes:
        if header[5] > _NAMES_LIMIT:
            raise BrokenElf(f"It claims {header[5]} bytes of section names.")
        return bytes(self.source.read(header[4], header[5]))

    @cached_property
    def sections(self) -> dict[str, Section]:
        """Section headers by name; of several with one name, the first. {} when stripped."""
        return {section.name: section for section in reversed(self.section_list)}

    def section(self, name: str, limit: int = SECTION_LIMIT) -> memoryview | None:
        """What is in the section, unpacked where it was packed; None: not there, or not in a file.

        BrokenElf when it is larger than `limit` bytes or packed in a way not known here (zstd).
        """
        section = self.sections.get(name)
        return self.content(section, limit) if section else None

    def content(self, section: Section, limit: int = SECTION_LIMIT) -> memoryview | None:
        """The same of a section of `section_list`."""
        if section.type == SHT_NOBITS or section.size == 0:
            return None
        if section.size > limit:
            raise BrokenElf(f"Section {section.name!r} has {section.size} bytes, {limit} are read.")
        data = memoryview(self.source.read(section.offset, section.size))
        return _unpacked(section.name, data, limit) if section.flags & _SHF_COMPRESSED else data

    def at(self, vaddr: int, count: int) -> bytes | None:
        """`count` bytes that will be mapped at `vaddr`; None: not, or not all out of the file."""
        for segment in self.segments:
            inside = vaddr - segment.vaddr
            if segment.type == PT_LOAD and inside >= 0 and inside + count <= segment.filesz:
                return bytes(self.source.read(segment.offset + inside, count))
        return None

    def executable_bias(self, file_offset: int) -> int | None:
        """vaddr - offset of the executable segment with that offset; None: there is none.

        For the start of a mapping, so whole pages count: a segment that begins in the middle of a
        page is mapped from that page's begin. ELF address = address - map start + map offset + it.
        """
        rounded = None
        for segment in self.segments:
            if segment.type != PT_LOAD or not segment.flags & PF_X:
                continue
            if segment.offset <= file_offset < segment.offset + segment.filesz:
                return segment.vaddr - segment.offset
            if segment.offset & -_PAGE <= file_offset < segment.offset + segment.filesz:
                rounded = segment.vaddr - segment.offset
        return rounded

    @cached_property
    def build_id(self) -> str:
        """The GNU build id in hex; "" when it has none. Looked for where the kernel does, first."""
        for segment in self.segments:
            if segment.type == PT_NOTE and 0 < segment.filesz <= _NOTES_LIMIT:
                try:
                    found = _build_id(self.source.read(segment.offset, segment.filesz))
                except BrokenElf:  # a separate debug file keeps headers of what it left out
                    continue
                if found:
                    return found
        section = self.sections.get(".note.gnu.build-id")
        data = self.content(section, _NOTES_LIMIT) if section else None
        return _build_id(data) if data else ""

    @cached_property
    def debuglink(self) -> tuple[str, int] | None:
        """File name and CRC-32 of the separate debug file; None: not told, or no plain name."""
        data = self.section(".gnu_debuglink", _PAGE)
        if data is None:
            return None
        raw = bytes(data)
        end = raw.find(b"\0")
        crc_at = (end + 4) & ~3
        if end <= 0 or crc_at + 4 > len(raw):
            raise BrokenElf("Its .gnu_debuglink is cut short.")
        name = os.fsdecode(raw[:end])
        if "/" in name or name in (".", ".."):
            return None
        return name, int.from_bytes(raw[crc_at : crc_at + 4], "little")

    @cached_property
    def is_go(self) -> bool:
        """Whether Go's linker made it: then it has frame pointers, and names in .gopclntab."""
        return not _GO.isdisjoint(self.sections)

    def symbols(self, name: str, limit: int = SECTION_LIMIT) -> SymbolTable | None:
        """All of the symbol table `.symtab` or `.dynsym`; None when it has none."""
        section = self.sections.get(name)
        data = self.content(section, limit) if section else None
        if section is None or data is None:
            return None
        strings = self._strings_of(section)
        words = array("Q", bytes(data[: len(data) - len(data) % _SYMBOL.size]))
        return SymbolTable(words[0::3], words[1::3], words[2::3], bytes(strings or b""))

    def _strings_of(self, section: Section) -> memoryview | None:
        if section.entsize not in (0, _SYMBOL.size):
            raise BrokenElf(f"Its symbols have {section.entsize} bytes each.")
        if section.link >= len(self.section_list):
            raise BrokenElf(f"The names of {section.name} lie in a section that it does not have.")
        return self.content(self.section_list[section.link])

    def find(self, symbol: str, table: str = ".dynsym") -> tuple[int, int] | None:
        """Value and size of the symbol that is defined under that name; None when there is none.

        Through the hash table of .dynsym it costs a few small reads; `.symtab`, and a .dynsym
        without .gnu.hash, are read whole.
        """
        if table == ".dynsym" and ".gnu.hash" in self.sections and table in self.sections:
            return self._find_hashed(symbol.encode(), self.sections[table])
        symbols = self.symbols(table)
        if symbols is None:
            return None
        wanted = set(_occurrences(symbols.strings, symbol.encode() + b"\0"))
        for head, value, size in zip(symbols.heads, symbols.values, symbols.sizes, strict=True):
            if head & 0xFFFFFFFF in wanted and head >> 48:
                return value, size
        return None

    def _find_hashed(self, symbol: bytes, table: Section) -> tuple[int, int] | None:
        """The GNU hash table: header, Bloom filter (not looked at), buckets, chains."""
        place = self.sections[".gnu.hash"]
        read = self.source.read
        buckets, first, bloom, _shift = struct.unpack("<IIII", read(place.offset, 16))
        if not buckets:
            return None
        wanted = _gnu_hash(symbol)
        buckets_at = place.offset + 16 + 8 * bloom
        (index,) = struct.unpack("<I", read(buckets_at + 4 * (wanted % buckets), 4))
        if index < first:
            return None
        for _ in range(_LONGEST_CHAIN):
            at = buckets_at + 4 * buckets + 4 * (index - first)
            (hashed,) = struct.unpack("<I", read(at, 4))
            if hashed | 1 == wanted | 1:
                found = self._named(symbol, table, index)
                if found:
                    return found
            if hashed & 1:
                return None
            index += 1
        raise BrokenElf("A chain of its symbols' hash table has no end.")

    def _named(self, symbol: bytes, table: Section, index: int) -> tuple[int, int] | None:
        if table.link >= len(self.section_list) or (index + 1) * _SYMBOL.size > table.size:
            raise BrokenElf("Its symbols' hash table points beyond the symbols.")
        strings = self.section_list[table.link]
        raw = self.source.read(table.offset + index * _SYMBOL.size, _SYMBOL.size)
        name, _info, _other, section, value, size = _SYMBOL.unpack(raw)
        length = len(symbol) + 1
        if not section or name + length > strings.size:
            return None
        same = bytes(self.source.read(strings.offset + name, length)) == symbol + b"\0"
        return (value, size) if same else None


def identify(elf: Elf) -> str:
    """What a file is told apart by: its build id, else SHA-256 of its ends and its size, in hex."""
    if elf.build_id:
        return elf.build_id
    size = elf.source.size
    ends = min(size, _PAGE)
    digest = hashlib.sha256(elf.source.read(0, ends))
    digest.update(elf.source.read(size - ends, ends))
    digest.update(struct.pack("<Q", size))
    return digest.hexdigest()


def _build_id(notes: bytes | memoryview) -> str:
    for name, kind, content in _notes(notes):
        if kind == _NT_GNU_BUILD_ID and name == b"GNU\0" and 0 < len(content) <= 64:
            return content.hex()
    return ""


def _notes(data: bytes | memoryview) -> Iterator[tuple[bytes, int, bytes]]:
    """Name, type and content of each note; ends where one does not fit any more."""
    at = 0
    for _ in range(_MOST_NOTES):
        if at + 12 > len(data):
            return
        name_size, size, kind = struct.unpack_from("<III", data, at)
        content_at = at + 12 + ((name_size + 3) & ~3)
        if content_at + size > len(data):
            return
        yield bytes(data[at + 12 : at + 12 + name_size]), kind, bytes(data[content_at:][:size])
        at = content_at + ((size + 3) & ~3)


def _unpacked(name: str, data: memoryview, limit: int) -> memoryview:
    if len(data) < _PACKED.size:
        raise BrokenElf(f"Section {name!r} is cut short.")
    kind, _reserved, size, _align = _PACKED.unpack_from(data)
    if kind != _ELFCOMPRESS_ZLIB:
        raise BrokenElf(f"Section {name!r} is packed in a way not known here ({kind}).")
    if size > limit:
        raise BrokenElf(f"Section {name!r} unpacks to {size} bytes, {limit} are read.")
    try:
        content = zlib.decompressobj().decompress(data[_PACKED.size :], size + 1)
    except zlib.error as error:
        raise BrokenElf(f"Section {name!r} cannot be unpacked.") from error
    if len(content) != size:
        raise BrokenElf(f"Section {name!r} does not unpack to the {size} bytes it claims.")
    return memoryview(content)


def _string(names: bytes, at: int) -> str:
    end = names.find(b"\0", at, at + 256)
    return names[at : end if end >= 0 else at + 256].decode("utf-8", "replace")


def _occurrences(strings: bytes, wanted: bytes) -> Iterator[int]:
    at = strings.find(wanted)
    while at >= 0:
        yield at
        at = strings.find(wanted, at + 1)


def _gnu_hash(symbol: bytes) -> int:
    value = 5381
    for byte in symbol:
        value = (value * 33 + byte) & 0xFFFFFFFF
    return value
