"""One process's executable mappings: a list by address, without overlaps.

As mmap(2) has it, what is mapped anew replaces what lay there, and may leave a piece on each side.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple

FILE, VDSO, ANONYMOUS = "file", "vdso", "anonymous"
"""Kinds of mappings. JIT code is anonymous; a memfd is a file."""
_NO_FILES = ("/dev/zero", "/anon_hugepage", "/SYSV")  # how the kernel names memory without a file


class Mapping(NamedTuple):
    """One part of an address space that may hold code.

    `path` is what the process sees, with " (deleted)" behind a file that is gone: as the kernel
    tells it, so a file may also be called so. Only some of `build_id`, `device` and `inode` are
    told, see `maprecords.Mapped`.
    """

    start: int
    end: int
    pgoff: int
    """Bytes into the file."""
    path: str
    build_id: str = ""
    device: int = 0
    inode: int = 0
    kind: str = FILE


_start, _end = attrgetter("start"), attrgetter("end")


def kind_of(path: str) -> str:
    """What is mapped, by the name that /proc or perf gives it."""
    if path == "[vdso]":
        return VDSO
    is_file = path.startswith("/") and not path.startswith(("//", *_NO_FILES))
    return FILE if is_file else ANONYMOUS


def put(mappings: list[Mapping], new: Mapping, most: int) -> tuple[bool, int]:
    """Maps `new` in place: whether that changed anything, and how many were left out.

    That is where there would be more than `most`; what they replaced is gone all the same.
    """
    first = bisect_right(mappings, new.start, key=_end)
    after = bisect_left(mappings, new.end, lo=first, key=_start)
    under = mappings[first:after]
    if under == [new]:
        return False, 0
    pieces = [new]
    if under and under[0].start < new.start:
        pieces.insert(0, under[0]._replace(end=new.start))
    if under and under[-1].end > new.end:
        pieces.append(_cut(under[-1], new.end))
    # Neighbours, too: a JIT compiler makes its memory executable piece by piece.
    before, behind = mappings[max(0, first - 1) : first], mappings[after : after + 1]
    pieces = joined([*before, *pieces, *behind])
    first, after = first - len(before), after + len(behind)
    room = max(0, most - len(mappings) + after - first)
    over = len(pieces) - room
    if over > 0:
        pieces = [each for each in pieces if each is not new][:room]
    changed = mappings[first:after] != pieces
    mappings[first:after] = pieces
    return changed, max(0, over)


def joined(mappings: Iterable[Mapping]) -> list[Mapping]:
    """The same, neighbours without a file made one. Files' stay as the kernel has them.

    For, /proc/PID/map_files knows them only so.
    """
    found: list[Mapping] = []
    for each in mappings:
        last = found[-1] if found else None
        if last and each.kind == ANONYMOUS and _joins(last, each):
            found[-1] = last._replace(end=each.end)
        else:
            found.append(each)
    return found


def at(mappings: list[Mapping], address: int) -> Mapping | None:
    """The mapping that has this address."""
    index = bisect_right(mappings, address, key=_end)
    if index < len(mappings) and mappings[index].start <= address:
        return mappings[index]
    return None


def _joins(left: Mapping, right: Mapping) -> bool:
    return left.end == right.start and left.kind == right.kind and left.path == right.path


def _cut(mapping: Mapping, start: int) -> Mapping:
    return mapping._replace(start=start, pgoff=mapping.pgoff + start - mapping.start)
