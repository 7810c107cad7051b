"""Who allocates memory: breakpoints on the allocators of chosen processes.

Each call then costs a trap into the kernel (measured on 6.18: malloc and free take 1,020 ns instead
of 20), so this is only ever done to tenants that were named. Blocks are counted with the size that
was asked for, once: malloc and its kin in whatever file has them (operator new and Rust's allocator
end there), and CPython's own allocator up to 512 bytes, beyond which it asks malloc. Where that one
has no symbol, or was built into its callers (as in the stripped Pythons of distributions), small
objects are not seen: a note says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import NamedTuple

from cotenant.errors import CotenantError
from cotenant.profile.binaries import CodeFile
from cotenant.profile.binary import Binary, open_mapped
from cotenant.profile.elf import PT_LOAD, BrokenElf, Elf
from cotenant.profile.follow import Living
from cotenant.profile.processes import mappings as spans
from cotenant.profile.processes.mappings import Mapping as Span
from cotenant.profile.programs import Programs

COST = "While allocations are watched, each takes about 1 us longer."
LOOK_S = 0.1
"""Processes of the chosen tenants are looked for so often."""
MOST_PLACES = 4096
"""Breakpoints at a time: each takes a descriptor of ours."""
_NATIVE = {
    "malloc": "allocated_first",
    "calloc": "allocated_product",
    "realloc": "reallocated",
    "memalign": "allocated_second",
    "aligned_alloc": "allocated_second",
    "posix_memalign": "allocated_third",
}
_PYTHON = {
    "_PyObject_Malloc": "allocated_python_second",
    "_PyObject_Calloc": "allocated_python_product",
    "_PyObject_Realloc": "reallocated_python",
}


class Place(NamedTuple):
    """A function of a file: the program that counts it, and its begin in bytes of the file."""

    program: str
    offset: int


class Allocations:
    """Breakpoints on allocators. `refused` counts those that could not be set."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._places: dict[int, tuple[Place, ...]] = {}
        self._set: dict[int, dict[tuple[int, Place], Callable[[], None]]] = {}
        self._next_s = 0.0
        self.refused = 0
        self.notes: dict[str, None] = {COST: None}

    @property
    def count(self) -> int:
        """Breakpoints that are set."""
        return sum(map(len, self._set.values()))

    def follow(self, chosen: Callable[[], Iterable[int]], living: Mapping[int, Living]) -> None:
        """Sets breakpoints in those of the `chosen` processes that live, removes all others."""
        now = monotonic()
        if now < self._next_s:
            return
        self._next_s = now + LOOK_S
        wanted = {tgid for tgid in chosen() if tgid in living}
        for tgid in self._set.keys() - wanted:
            self._leave(tgid, self._set[tgid])
            del self._set[tgid]
        for tgid in wanted:
            self._visit(tgid, living[tgid])

    def _visit(self, tgid: int, living: Living) -> None:
        """Sets what lacks; after an exec the process has other files than before."""
        here = self._set.setdefault(tgid, {})
        mapped = {
            file.number: (file, span)
            for span, file in zip(living.mappings, living.files, strict=True)
            if file.number and span.kind == spans.FILE
        }
        self._leave(tgid, {key: end for key, end in here.items() if key[0] not in mapped})
        for number, (file, span) in mapped.items():
            places = self._places.get(number)
            if places is None or any((number, place) not in here for place in places):
                self._attach(tgid, file, span, here)

    def _leave(self, tgid: int, ended: dict[tuple[int, Place], Callable[[], None]]) -> None:
        for key, end in list(ended.items()):
            end()
            self._set[tgid].pop(key, None)

    def _attach(
        self,
        tgid: int,
        file: CodeFile,
        span: Span,
        here: dict[tuple[int, Place], Callable[[], None]],
    ) -> None:
        opened = open_mapped(tgid, span.start, span.end, span.path, span.inode)
        if opened is None:
            return
        with opened:
            if file.number not in self._places:
                self._places[file.number] = self._find(file, opened)
            for place in self._places[file.number]:
                key = (file.number, place)
                if key in here:
                    continue
                if self.count >= MOST_PLACES:
                    self.refused += 1
                    continue
                try:
                    here[key] = self._programs.attach_uprobe(
                        place.program, tgid, opened.link, place.offset
                    )
                except CotenantError:  # it ended meanwhile, or the place is no instruction
                    self.refused += 1

    def _find(self, file: CodeFile, opened: Binary) -> tuple[Place, ...]:
        try:
            found = places(Elf(opened), bool(file.python))
        except BrokenElf:
            return ()
        if file.python and not any(place.program in _PYTHON.values() for place in found):
            self.notes[
                f"Python {file.python.release}: objects up to 512 bytes are not seen, "
                "its allocator has no symbol."
            ] = None
        return found

    def forget(self, numbers: Iterable[int]) -> None:
        """These numbers are to be other files'."""
        for number in numbers:
            self._places.pop(number, None)

    def close(self) -> None:
        """Removes all breakpoints."""
        for tgid, here in self._set.items():
            self._leave(tgid, dict(here))
        self._set.clear()


def places(elf: Elf, python: bool) -> tuple[Place, ...]:
    """The allocators in a file: those that it exports, or has at all where nothing is exported."""
    found: dict[int, str] = {}
    tables = (".dynsym",) if ".dynsym" in elf.sections else (".symtab",)
    for names, where in ((_NATIVE, tables), (_PYTHON, (".symtab",) if python else ())):
        for name, program in names.items():
            for table in where:
                symbol = elf.find(name, table)
                offset = _offset(elf, symbol[0]) if symbol else None
                if offset is not None:  # several names of one function count once
                    found.setdefault(offset, program)
    return tuple(Place(program, offset) for offset, program in found.items())


def _offset(elf: Elf, vaddr: int) -> int | None:
    for segment in elf.segments:
        inside = vaddr - segment.vaddr
        if segment.type == PT_LOAD and 0 <= inside < segment.filesz:
            return inside + segment.offset
    return None
