"""Records about processes and their code, as the kernel writes them into a ring of perf events.

Layouts are those of include/uapi/linux/perf_event.h, enum perf_event_type; behind each record stand
process, thread and time (PERF_SAMPLE_TID and PERF_SAMPLE_TIME with sample_id_all). Names are told
as bytes of a tenant's choice: undecodable ones come as os.fsdecode() gives them.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

_LOST, _COMM, _EXIT, _FORK, _MMAP2 = 2, 3, 4, 7, 10
_BY_EXEC, _BUILD_ID = 1 << 13, 1 << 14  # PERF_RECORD_MISC_COMM_EXEC, _MMAP_BUILD_ID
_HEADER = struct.Struct("=IHH")  # type, misc, size
_BEHIND = struct.Struct("=IIQ")  # process, thread, time
_TGID = struct.Struct("=I")  # what all records but `Lost` begin with
_TASK = struct.Struct("=IIIIQ")  # process, its parent, thread, its parent, time
_MAPPING = struct.Struct("=IIQQQ24sII")  # process, thread, start, length, offset, file, prot, flags
_FILE = struct.Struct("=IIQQ")  # major, minor, inode, generation
_LOSS = struct.Struct("=QQ")  # event, count
_EXECUTABLE = 4  # PROT_EXEC
_MOST_BUILD_ID = 20
_UNSEEN = (0, 0xFFFFFFFF)  # numbers of processes outside this pid namespace, or no longer in any


class Mapped(NamedTuple):
    """A process mapped code, or made memory executable. Executable mappings only.

    Either `build_id` is told, or `device` and `inode` are. `path` is what the process sees, with
    " (deleted)" behind a file that is gone; "//anon" is memory without a file.
    """

    time_ns: int
    tgid: int
    tid: int
    start: int
    length: int
    pgoff: int
    """Bytes into the file."""
    build_id: str
    """Hexadecimal; empty: the file has none, or the kernel could not read it without waiting."""
    device: int
    """As os.makedev() numbers it; 0: not told."""
    inode: int
    path: str


class Exec(NamedTuple):
    """A process became another program: nothing that it had mapped is left."""

    time_ns: int
    tgid: int
    comm: str


class Renamed(NamedTuple):
    """A thread took another name."""

    time_ns: int
    tgid: int
    tid: int
    comm: str


class Forked(NamedTuple):
    """A thread began; a process, where `tgid` is not the parent's."""

    time_ns: int
    tgid: int
    tid: int
    parent_tgid: int
    parent_tid: int


class Exited(NamedTuple):
    """A thread ended. Others of its process may go on, even when it was the first."""

    time_ns: int
    tgid: int
    tid: int


class Lost(NamedTuple):
    """So many records found no room in the ring, some time before this."""

    time_ns: int
    records: int


Record = Mapped | Exec | Renamed | Forked | Exited | Lost


def decode(data: bytes, losses: bool = True) -> Iterator[Record]:
    """The records in what was read from a ring; others than these are left out.

    Those of processes that this pid namespace does not see are, too, and without `losses` those
    of losses.
    """
    at, end = 0, len(data)
    while at + _HEADER.size <= end:
        kind, misc, size = _HEADER.unpack_from(data, at)
        if size < _HEADER.size or at + size > end:
            return  # the kernel writes no such thing
        record = _record(kind, misc, data, at + _HEADER.size, at + size - _BEHIND.size)
        if record is not None and (losses or kind != _LOST):
            yield record
        at += size


def _record(kind: int, misc: int, data: bytes, at: int, behind: int) -> Record | None:
    """The record between `at` and `behind`, where process, thread and time stand."""
    if behind < at:
        return None
    time_ns = _BEHIND.unpack_from(data, behind)[2]
    if kind == _LOST:
        return Lost(time_ns, _LOSS.unpack_from(data, at)[1])
    if kind not in (_MMAP2, _COMM, _FORK, _EXIT) or _TGID.unpack_from(data, at)[0] in _UNSEEN:
        return None
    if kind == _MMAP2:
        return _mapped(misc, data, at, behind, time_ns)
    if kind == _COMM:
        tgid, tid = struct.unpack_from("=II", data, at)
        comm = _text(data, at + 8, behind)
        return Exec(time_ns, tgid, comm) if misc & _BY_EXEC else Renamed(time_ns, tgid, tid, comm)
    tgid, parent_tgid, tid, parent_tid, _begun_ns = _TASK.unpack_from(data, at)
    if kind == _EXIT:
        return Exited(time_ns, tgid, tid)
    return Forked(time_ns, tgid, tid, parent_tgid, parent_tid)


def _mapped(misc: int, data: bytes, at: int, behind: int, time_ns: int) -> Mapped | None:
    tgid, tid, start, length, pgoff, file, prot, _flags = _MAPPING.unpack_from(data, at)
    if not prot & _EXECUTABLE:
        return None
    build_id, device, inode = "", 0, 0
    if misc & _BUILD_ID:
        build_id = file[4 : 4 + min(file[0], _MOST_BUILD_ID)].hex()
    else:
        major, minor, inode, _generation = _FILE.unpack(file)
        device = os.makedev(major, minor)
    path = _text(data, at + _MAPPING.size, behind)
    return Mapped(time_ns, tgid, tid, start, length, pgoff, build_id, device, inode, path)


def _text(data: bytes, at: int, behind: int) -> str:
    return os.fsdecode(data[at:behind].partition(b"\0")[0])
