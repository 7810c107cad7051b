"""Functions out of an ELF file's symbol tables, its procedure linkage table, and MiniDebugInfo."""

from __future__ import annotations

import lzma
import re
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby

from cotenant.profile.elf import BrokenElf, Elf, Section, SymbolTable
from cotenant.profile.symbols.functions import Row

TABLE_LIMIT = 24 << 20
"""Largest symbol table that is read, in bytes: a million symbols."""
_MINI_LIMIT = 64 << 20
_MINI_MEMORY = 96 << 20
_NOTYPE, _FUNC, _GNU_IFUNC = 0, 2, 10
_GLOBAL, _WEAK = 1, 2
_HIDDEN = 2
_RESERVED = 0xFF00
_SHF_EXECINSTR = 4
_SEARCH_TABLE_LIMIT = 16 << 20
_SEARCH_TABLE = (1, 0x03, 0x3B)  # version; count: udata4; entries: sdata4 from the section on
_ENTRY = struct.Struct("<ii")
_RELA = struct.Struct("<QQq")
_JUMP = re.compile(rb"\xff\x25(....)", re.DOTALL)
_PLTS = {".plt": 16, ".plt.sec": 16, ".plt.got": 8}


def functions(elf: Elf, table: str) -> Iterator[Row]:
    """Functions that `.symtab` or `.dynsym` names, one per address; nothing when it has none.

    Of several names of one address it is perf's choice (choose_best_symbol in its symbol.c): with
    a size, no bare label, not weak, global, fewest underscores in front, longest.
    """
    symbols = elf.symbols(table, TABLE_LIMIT)
    if symbols is None:
        return
    text = _text(elf)
    values, sizes = symbols.values, symbols.sizes
    indices = _functions(symbols, text)
    indices.sort(key=values.__getitem__)
    anywhere = (0, 1 << 64)
    for start, same in groupby(indices, values.__getitem__):
        best, *others = same
        if others:
            best = min((best, *others), key=lambda index: _rank(symbols, index))
        limit = text.get(symbols.heads[best] >> 48, anywhere)[1]
        yield Row(start, sizes[best], _name(symbols, best), limit)


def nameless(elf: Elf, named: Sequence[Row]) -> Iterator[Row]:
    """Where functions without a name begin, as the search table of `.eh_frame_hdr` tells; b"" each.

    So that all places in one of them are one. Those within functions that have names are left out:
    they are parts of these. Format: LSB Core, "Exception Frames"; only the encodings that GNU and
    LLVM linkers write are read (count udata4, entries of two sdata4 relative to the section).
    """
    section = elf.sections.get(".eh_frame_hdr")
    data = elf.content(section, _SEARCH_TABLE_LIMIT) if section else None
    if section is None or data is None or len(data) < 12:
        return
    if (data[0], data[2], data[3]) != _SEARCH_TABLE:
        return
    (count,) = struct.unpack_from("<I", data, 8)
    entries = data[12 : 12 + 8 * count]
    known = sorted((row.start, row.start + row.size) for row in named)
    starts = [start for start, _ in known]
    for begin, _ in _ENTRY.iter_unpack(entries[: len(entries) // 8 * 8]):
        start = section.vaddr + begin
        before = bisect_right(starts, start) - 1
        if before < 0 or (starts[before] != start and known[before][1] <= start):
            yield Row(start, 0, b"")


def _functions(symbols: SymbolTable, text: dict[int, tuple[int, int]]) -> list[int]:
    """Numbers of the symbols that are functions, or labels in code: all that assembler has."""
    values = symbols.values
    found = []
    for index, head in enumerate(symbols.heads):
        kind = head >> 32 & 15
        if kind in (_FUNC, _GNU_IFUNC):
            if 0 < head >> 48 < _RESERVED:
                found.append(index)
        elif kind == _NOTYPE and head & 0xFFFFFFFF and head >> 40 & 3 != _HIDDEN:
            place = text.get(head >> 48)
            if place is not None and place[0] <= values[index] < place[1]:
                found.append(index)
    return found


def _text(elf: Elf) -> dict[int, tuple[int, int]]:
    """Begin and end of each section with code, by its number."""
    return {
        number: (section.vaddr, section.vaddr + section.size)
        for number, section in enumerate(elf.section_list)
        if section.flags & _SHF_EXECINSTR
    }


def _rank(symbols: SymbolTable, index: int) -> tuple[bool, bool, bool, bool, int, int, bytes]:
    head = symbols.heads[index]
    binding = head >> 36 & 15
    name = _name(symbols, index)
    return (
        not symbols.sizes[index],
        head >> 32 & 15 == _NOTYPE,
        binding == _WEAK,
        binding != _GLOBAL,
        len(name) - len(name.lstrip(b"_")),
        -len(name),
        name,
    )


def _name(symbols: SymbolTable, index: int) -> bytes:
    at = symbols.heads[index] & 0xFFFFFFFF
    end = symbols.strings.find(b"\0", at)
    return symbols.strings[at : end if end >= 0 else None]


def linkage(elf: Elf) -> Iterator[Row]:
    """`name@plt` for each entry of the procedure linkage table whose function is known.

    An entry jumps through a slot (`jmp *offset(%rip)`), and a relocation names the slot's function.
    """
    symbols = elf.symbols(".dynsym", TABLE_LIMIT)
    if symbols is None:
        return
    slots = _slots(elf, symbols)
    for name, step in _PLTS.items():
        section = elf.sections.get(name)
        code = elf.content(section, TABLE_LIMIT) if section else None
        if section is None or code is None:
            continue
        for jump in _JUMP.finditer(code):
            (offset,) = struct.unpack("<i", jump[1])
            called = slots.get(section.vaddr + jump.end() + offset)
            if called:
                step_here = 16 if name == ".plt.got" and _is_marked(code) else step
                start = section.vaddr + jump.start() // step_here * step_here
                yield Row(start, step_here, called + b"@plt")


def _is_marked(code: memoryview) -> bool:
    """Whether entries begin with endbr64, which makes them twice as long."""
    return bytes(code[:4]) == b"\xf3\x0f\x1e\xfa"


def _slots(elf: Elf, symbols: SymbolTable) -> dict[int, bytes]:
    """Names of functions by the address of the slot that holds where they are."""
    found: dict[int, bytes] = {}
    for name in (".rela.plt", ".rela.dyn"):
        section: Section | None = elf.sections.get(name)
        data = elf.content(section, TABLE_LIMIT) if section else None
        if data is None:
            continue
        for slot, info, _addend in _RELA.iter_unpack(data[: len(data) // 24 * 24]):
            if info & 0xFFFFFFFF in (6, 7) and 0 < info >> 32 < len(symbols.heads):
                found[slot] = _name(symbols, info >> 32)  # GLOB_DAT, JUMP_SLOT
    return found


def mini_debug_info(elf: Elf) -> Elf | None:
    """The ELF file in .gnu_debugdata, xz-packed: a .symtab of what .dynsym lacks. None: none."""
    data = elf.section(".gnu_debugdata", TABLE_LIMIT)
    if data is None:
        return None
    try:
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MINI_MEMORY)
        content = unpacker.decompress(data, _MINI_LIMIT)
    except (lzma.LZMAError, MemoryError) as error:
        raise BrokenElf("Its .gnu_debugdata cannot be unpacked.") from error
    if not unpacker.eof:
        raise BrokenElf(f"Its .gnu_debugdata is cut short or unpacks to over {_MINI_LIMIT} bytes.")
    return Elf(content)
