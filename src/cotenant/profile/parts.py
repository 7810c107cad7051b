"""Parts of stacks, by their words: each is looked up once, then shared by all stacks that have it.

A word of user space tells by its highest bits whether it is a Python frame (then the next word says
how far it had come), code of a known file, or something else.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from cotenant.kernel import records
from cotenant.model import Frame, FrameKind
from cotenant.profile.python.code import NoFrame
from cotenant.profile.read import Head

PYTHON_WORD = 1 << 63
FILE_WORD = 1 << 62
PYTHON_BYTE, FILE_BYTE = 1 << 7, 1 << 6
"""As the last byte of a word has them: words are little-endian."""
MOST_PLACES = 1 << 16
"""Places remembered, of each kind, until they are forgotten."""
STALE = "[Python frame: its code was gone]"
_STALE = Frame(STALE, FrameKind.NOTE)
UNKNOWN = Frame("[unknown]", FrameKind.NATIVE)
"""Code that is mapped from nowhere, and that nobody told a name of."""
Part = tuple[Frame, ...]
"""Frames that follow one another, outermost first."""


_OWN = ("bpf_prog_", "bpf_trace_run", "__traceiter_", "__bpf_trace_", "bpf_trampoline_")


def without_own(frames: list[Frame]) -> list[Frame]:
    """Kernel frames, innermost first, without those that are there because we look."""
    own = [i for i, frame in enumerate(frames) if frame.name.startswith(_OWN)]
    return frames[own[-1] + 1 :] if own else frames


class Renamed(Struct, frozen=True):
    """What may have other names from now on.

    files       some file's number is another's, or its functions can be read at last
    processes   numbers of those whose interpreter runs other code
    """

    files: bool = False
    processes: frozenset[int] = frozenset()


class Names(Protocol):
    """Whoever knows what stands at an address. All of them answer with some frame."""

    def native(self, number: int, address: int) -> Frame:
        """A function of a known file."""

    def python(self, head: Head, code: int, first_line: int, come: int) -> Frame | NoFrame:
        """A Python function; or that it is none, or that its code object is gone."""

    def other(self, head: Head, address: int) -> Frame:
        """Whatever else is mapped there: JIT code, or UNKNOWN."""

    def may_tell(self, head: Head) -> bool:
        """Whether that process tells of the code that it makes, be it later."""

    def kernel(self, address: int) -> Frame:
        """A function of the kernel."""


class Natives(dict[int, Frame]):
    """Frames by word, found as they are asked for."""

    def __init__(self, names: Names) -> None:
        self._native = names.native

    def __missing__(self, word: int) -> Frame:
        bits = records.PROFILE_ADDRESS_BITS
        found = self._native((word & ~FILE_WORD) >> bits, word & ((1 << bits) - 1))
        if len(self) < MOST_PLACES:
            self[word] = found
        return found


class Leaves(dict[bytes, Part]):
    """Innermost places in known files, by word: most are new, but in a function that is not."""

    def __init__(self, natives: Natives) -> None:
        self._natives = natives
        self._parts: dict[int, Part] = {}

    def __missing__(self, raw: bytes) -> Part:
        frame = self._natives[int.from_bytes(raw, "little")]
        part = self._parts.setdefault(id(frame), (frame,))  # which keeps it where it is
        if len(self) < MOST_PLACES:
            self[raw] = part
        return part


class Code(dict[bytes, tuple[Part, int, bool]]):
    """User space of one process: parts of stacks by their words; equal ones are one object.

    With each, how many of its frames are stale, and whether there are UNKNOWN ones.
    """

    def __init__(self, names: Names, natives: Natives, head: Head) -> None:
        self._names = names
        self._natives = natives
        self._head = head
        self._pythons: dict[tuple[int, int], Frame | NoFrame] = {}
        self._parts: dict[tuple[int, ...], Part] = {}

    @property
    def held(self) -> int:
        """Places remembered."""
        return len(self) + len(self._pythons)

    def __missing__(self, raw: bytes) -> tuple[Part, int, bool]:
        words = iter(memoryview(raw).cast("Q").tolist())
        found: list[Frame | NoFrame] = []
        lasting = True
        for word in words:
            if word >= PYTHON_WORD:
                found.append(self._python(word, next(words, 0)))
            elif word & FILE_WORD:
                found.append(self._natives[word])
            else:
                found.append(self._names.other(self._head, word))
                lasting = False  # a JIT moves its code, and tells of it later
        stale = found.count(NoFrame.STALE)
        told = [_STALE if frame is NoFrame.STALE else frame for frame in reversed(found)]
        part = tuple([frame for frame in told if isinstance(frame, Frame)])
        if lasting and not stale and len(self) < MOST_PLACES:
            part = self._parts.setdefault(tuple(map(id, part)), part)
            self[raw] = part, 0, False
        return part, stale, not lasting and any(frame is UNKNOWN for frame in part)

    def _python(self, word: int, place: int) -> Frame | NoFrame:
        found = self._pythons.get((word, place))
        if found is None:
            code, line, come = word & ~PYTHON_WORD, place & 0xFFFFFFFF, place >> 32
            found = self._names.python(self._head, code, line, come)
            if found is not NoFrame.STALE and len(self._pythons) < MOST_PLACES:
                self._pythons[word, place] = found
        return found


class Kernels(dict[bytes, Part]):
    """The kernel's part of stacks, by its words: there are few of them, met often."""

    def __init__(self, names: Names) -> None:
        self._kernel = names.kernel

    def __missing__(self, raw: bytes) -> Part:
        words = memoryview(raw).cast("Q").tolist()
        found = tuple(reversed(without_own([self._kernel(address) for address in words])))
        if len(self) < MOST_PLACES // records.PROFILE_KERNEL_WORDS:
            self[raw] = found
        return found
