"""Names and lines of Python frames, read from code objects in the memory of the process.

A sample tells where the code object was, its first line, and the instruction. The object may be
gone when it is read, or another may lie there: its first line has to be the sample's, and between
two rounds it is looked at again. All of it is a tenant's memory, so reads may fail, and names are
data.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from enum import Enum

from cotenant.model import Frame, FrameKind
from cotenant.profile.python.lines import TABLE_LIMIT, Lines
from cotenant.profile.python.memory import Read, blob, get, text
from cotenant.profile.python.offsets import CODE_MASK, Lasti, Layout

NAME_LIMIT = 1 << 10
FILE_LIMIT = 4 << 10
"""Characters; longer ones are cut."""
MOST_CODES = 1 << 13
MOST_BYTES = 16 << 20
"""Code objects remembered per process, and what they may take up, about; the one not asked for
longest is forgotten first."""
MOST_LOOKS = 1 << 9
"""Code objects that are looked at between two rounds, some 2 ms; more are read again when met."""
TABLES_PER_ROUND = 1 << 20
"""Bytes of line tables decoded per round (0.3 s at worst); what is not decoded has no lines yet."""


class NoFrame(Enum):
    """Why a Python frame has no name."""

    STALE = "stale"
    """Its code object is gone, or cannot be read: counted in `Codes.stale`."""
    SHIM = "shim"
    """No function: the interpreter's own frame below an __init__ (3.12 and later)."""


class _Code:
    """A code object as it was read last."""

    __slots__ = ("file", "first_line", "head", "lines", "name", "round")

    def __init__(self, head: bytes, name: str, file: str, first_line: int) -> None:
        self.head = head
        self.name = name
        self.file = file
        self.first_line = first_line
        self.lines: Lines | None = None
        self.round = 0

    @property
    def size(self) -> int:
        """About as many bytes as it takes up."""
        tables = self.lines.size if self.lines else 0
        return 512 + len(self.head) + 4 * (len(self.name) + len(self.file)) + tables


class Codes:
    """Frames of one process; remembers what it read."""

    def __init__(self, layout: Layout, read: Read, most: int = MOST_CODES) -> None:
        self.stale = 0
        """Frames that found no code object any more."""
        self._layout = layout
        self._read = read
        self._most = most
        self._round = 0
        self._tables_left = TABLES_PER_ROUND
        self._bytes = 0
        self._known: OrderedDict[tuple[int, int], _Code] = OrderedDict()
        self._met: set[tuple[int, int]] = set()
        self._lineless = False
        # Where the pointers and numbers lie that tell one code object from another.
        self._head_size = max(layout.code_linetable, layout.code_qualname or 0) + 8

    def next_round(self) -> bool:
        """Whether all frames told so far would be told so again; lines that were 0 may be known.

        If not, whoever kept some has to ask anew: every code object is then looked at again before
        it is believed.
        """
        self._round += 1
        self._tables_left = TABLES_PER_ROUND
        same = not self._lineless and len(self._met) <= MOST_LOOKS
        if not (same and all(map(self._is_still, self._met))):
            same = False
            self._met.clear()
            self._lineless = False
        return same

    def _is_still(self, key: tuple[int, int]) -> bool:
        known = self._known.get(key)
        return known is not None and self._unchanged(known, key[0])

    def frame(self, code: int, first_line: int, instruction: int) -> Frame | NoFrame:
        """The frame that a sample told of: `instruction` is its offset in bytes, 32 bits.

        Below zero (so 2**31 or more): the frame runs no instruction yet.
        """
        found = self._find(code & CODE_MASK, first_line)
        if isinstance(found, NoFrame):
            self.stale += found is NoFrame.STALE
            return found
        offset = instruction - (1 << 32) if instruction >= 1 << 31 else instruction
        return Frame(
            name=found.name,
            kind=FrameKind.PYTHON,
            file=found.file,
            line=self._line(found, offset),
            first_line=found.first_line,
        )

    def _find(self, code: int, first_line: int) -> _Code | NoFrame:
        key = code, first_line
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            if known.round == self._round or self._unchanged(known, code):
                self._met.add(key)
                return known
            self._forget(key)
        found = self._look(code, first_line)
        if isinstance(found, _Code):
            found.round = self._round
            self._known[key] = found
            self._met.add(key)
            self._bytes += found.size
            self._make_room()
        return found

    def _make_room(self) -> None:
        while len(self._known) > 1 and (len(self._known) > self._most or self._bytes > MOST_BYTES):
            self._forget(next(iter(self._known)))

    def _forget(self, key: tuple[int, int]) -> None:
        self._bytes -= self._known.pop(key).size

    def _unchanged(self, known: _Code, code: int) -> bool:
        """Whether the same object lies there still; what cannot be read any more was true once."""
        head = get(self._read, code, self._head_size)
        if head is not None and self._identity(head) != self._identity(known.head):
            return False
        known.round = self._round
        return True

    def _identity(self, head: bytes) -> tuple[bytes, ...]:
        """What does not change in the life of a code object: its reference count and caches do."""
        layout = self._layout
        places = [
            (layout.code_firstlineno, 4),
            (layout.code_argcount, 4),
            (layout.code_kwonlyargcount, 4),
            (layout.code_flags, 4),
            (layout.code_filename, 8),
            (layout.code_name, 8),
            (layout.code_linetable, 8),
        ]
        return tuple(head[at : at + size] for at, size in places)

    def _look(self, code: int, first_line: int) -> _Code | NoFrame:
        layout = self._layout
        head = get(self._read, code, self._head_size)
        if head is None or _int(head, layout.code_firstlineno) != first_line:
            return NoFrame.STALE
        name_at = layout.code_name if layout.code_qualname is None else layout.code_qualname
        name, file = _pointer(head, name_at), _pointer(head, layout.code_filename)
        # _Py_InitCleanup (Python/specialize.c): its one string is file and name, and line 0.
        if name == file and first_line == 0:
            return NoFrame.SHIM
        name_text = text(self._read, layout, name, NAME_LIMIT)
        file_text = text(self._read, layout, file, FILE_LIMIT)
        if name_text is None or file_text is None:
            return NoFrame.STALE
        return _Code(head, name_text, file_text, max(0, first_line))

    def _line(self, code: _Code, offset: int) -> int:
        """The table is read when its first line is asked for; 0 while it cannot be."""
        if code.lines is None:
            address = _pointer(code.head, self._layout.code_linetable)
            limit = min(TABLE_LIMIT, self._tables_left)
            table = blob(self._read, self._layout, address, limit)
            if table is None or len(table) == limit < TABLE_LIMIT:
                self._lineless = True
                return 0
            self._tables_left -= len(table)
            before = code.size
            code.lines = Lines(self._layout.version, table, code.first_line)
            self._bytes += code.size - before
            self._make_room()
        return code.lines.line(offset)


def instruction_offset(layout: Layout, code: int, lasti: int) -> int:
    """What `Codes.frame` takes, out of a frame's own word: as the kernel side works it out."""
    if layout.lasti is Lasti.POINTER:
        return (lasti - (code & CODE_MASK) - layout.code_adaptive) & 0xFFFFFFFF
    units = lasti & 0xFFFFFFFF
    return (units * 2 if layout.lasti is Lasti.WORDS else units) & 0xFFFFFFFF


def _pointer(head: bytes, at: int) -> int:
    return int.from_bytes(head[at : at + 8], "little")


def _int(head: bytes, at: int) -> int:
    number: int = struct.unpack_from("<i", head, at)[0]
    return number
