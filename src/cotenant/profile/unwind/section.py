"""The entries of an .eh_frame section: its functions, and where the instructions of each are.

The section is a list of CIEs, what many functions have in common, and FDEs, one per function
(Linux Standard Base, ".eh_frame"; DWARF 5, section 6.4.1). Whatever a binary says here is a
tenant's word: every length is checked.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from operator import itemgetter, length_hint
from typing import Final, NamedTuple

from cotenant.profile.unwind.cfa import Code, Machine
from cotenant.profile.unwind.leb import number, signed
from cotenant.profile.unwind.rules import BrokenTable, Rules, TooLarge

MOST_FUNCTIONS: Final = 500_000
"""CIEs and FDEs together; libLLVM-14 has 95,000."""

_MOST_MACHINES = 1024
_MOST_ADDRESS = 1 << 44

_ENTRY = struct.Struct("<IIiI")  # length, CIE, and of the usual form: begin and length of the code
_WORD = re.compile(rb"[^\x00]")
_USUAL = 0x1B  # from its own place, 4 bytes, signed
_FORMS: Final = {0x0: "q", 0x2: "H", 0x3: "I", 0x4: "Q", 0xA: "h", 0xB: "i", 0xC: "q"}
"""By the lower four bits of a pointer's encoding (`DW_EH_PE_*`, Linux Standard Base)."""

Function = tuple[int, int, int, int, Machine]
"""An FDE: begin and end of the code, begin and end of its instructions in the section."""


class _Cie(NamedTuple):
    encoding: int
    augmented: bool
    machine: Machine


class Section:
    """Reads one section: its entries, in the order of what they tell of."""

    def __init__(self, eh_frame: memoryview | bytes, vaddr: int, rules: Rules) -> None:
        self.data = b"".join((eh_frame, bytes(_ENTRY.size)))
        self._size = len(eh_frame)
        self._vaddr = vaddr
        self._rules = rules
        self._cies: dict[int, _Cie] = {}
        self._machines: dict[tuple[Code, bytes], Machine] = {}

    def functions(self) -> list[Function]:
        """Every function, by its first address."""
        found: list[Function] = []
        data, size, entry, vaddr = self.data, self._size, _ENTRY.unpack_from, self._vaddr
        cies, at, entries = self._cies, 0, 0
        while at + 8 <= size:
            length, pointer, begin, long = entry(data, at)
            if not length:
                at = self._after_zeros(at)
                continue
            end = at + 4 + length
            entries += 1
            if length < 4 or end > size or entries > MOST_FUNCTIONS:
                raise self._refused(at, end, entries)
            if pointer:
                cie = cies.get(at + 4 - pointer)
                if cie is None:
                    raise BrokenTable(f"An FDE of .eh_frame has no CIE, at byte {at}.")
                if cie.encoding == _USUAL and cie.augmented and data[at + 16] < 0x80:
                    begin += vaddr + at + 8
                    first = at + 17 + data[at + 16]
                else:
                    begin, long, first = self._extent(cie, at + 8, end)
                if first > end or begin < 0 or not 0 <= long < _MOST_ADDRESS - begin:
                    raise BrokenTable(f"An FDE of .eh_frame makes no sense, at byte {at}.")
                if long:
                    found.append((begin, begin + long, first, end, cie.machine))
            else:
                cies[at] = self._cie(at + 8, end)
            at = end
        found.sort(key=itemgetter(0))
        return found

    def _after_zeros(self, at: int) -> int:
        """Past an end mark: some linkers leave such in the middle, so it is not believed."""
        found = _WORD.search(self.data, at, self._size)
        return found.start() & ~3 if found else self._size

    def _refused(self, at: int, end: int, entries: int) -> BrokenTable:
        if entries > MOST_FUNCTIONS:
            return TooLarge(f".eh_frame has more than {MOST_FUNCTIONS} entries.")
        return BrokenTable(f"An entry of .eh_frame, at byte {at}, would end at byte {end}.")

    def _extent(self, cie: _Cie, at: int, end: int) -> tuple[int, int, int]:
        """Begin and length of an FDE's code, and where its instructions begin."""
        begin, after = self._pointer(cie.encoding, at, end)
        long, after = self._pointer(cie.encoding & 0x07, after, end)
        if cie.augmented:
            skipped, after = self._number(after, end)
            after += skipped
        return begin, long, after

    def _pointer(self, encoding: int, at: int, end: int) -> tuple[int, int]:
        """An encoded pointer, and where it ends."""
        form = _FORMS.get(encoding & 0x0F)
        if form is None or encoding & 0xF0 not in (0x00, 0x10):
            raise BrokenTable(f"A pointer of .eh_frame is encoded as {encoding:#x}.")
        after = at + struct.calcsize(form)
        if after > end:
            raise BrokenTable("A pointer of .eh_frame is cut off.")
        (value,) = struct.unpack_from("<" + form, self.data, at)
        return value + (self._vaddr + at if encoding & 0x10 else 0), after

    def _number(
        self, at: int, end: int, read: Callable[[Iterator[int]], int] = number
    ) -> tuple[int, int]:
        """A number (LEB128), and where it ends."""
        rest = iter(self.data[at : min(end, at + 10)])
        value = read(rest)
        return value, min(end, at + 10) - length_hint(rest)

    def _cie(self, at: int, end: int) -> _Cie:
        data = self.data
        version = data[at]
        mark = data.find(b"\x00", at + 1, end)
        if version not in (1, 3) or not 0 < mark - at <= 16:
            raise BrokenTable(f"A CIE of .eh_frame is of version {version}, or cut off.")
        letters = data[at + 1 : mark]
        code_align, at = self._number(mark + 1, end)
        data_align, at = self._number(at, end, signed)
        returns_at, at = (data[at], at + 1) if version == 1 else self._number(at, end)
        encoding = 0x00
        if letters:
            length, at = self._number(at, end)
            encoding = self._augmentation(letters, at, at + length)
            at += length
        if at > end or code_align != 1:
            raise BrokenTable("A CIE of .eh_frame is cut off, or is of another machine.")
        machine = self._machine(Code(data_align, b"S" in letters, returns_at), data[at:end])
        return _Cie(encoding, bool(letters), machine)

    def _augmentation(self, letters: bytes, at: int, end: int) -> int:
        """How the FDEs' pointers are encoded."""
        if letters[0] != ord("z") or end > self._size:
            raise BrokenTable(f"A CIE of .eh_frame is augmented by {letters!r}.")
        encoding = 0x00
        for letter in letters[1:].decode("latin-1"):
            if letter == "R":
                encoding, at = self.data[at], at + 1
            elif letter == "P":
                at = self._pointer(self.data[at] & 0x0F, at + 1, end)[1]
            elif letter == "L":
                at += 1
            elif letter != "S":
                raise BrokenTable(f"A CIE of .eh_frame is augmented by {letters!r}.")
            if at > end:
                raise BrokenTable("A CIE of .eh_frame is cut off.")
        return encoding

    def _machine(self, code: Code, initial: bytes) -> Machine:
        machine = self._machines.get((code, initial))
        if machine is None:
            if len(self._machines) >= _MOST_MACHINES:
                raise TooLarge(f".eh_frame has more than {_MOST_MACHINES} different CIEs.")
            machine = self._machines[code, initial] = Machine(code, self._rules, initial)
        return machine
