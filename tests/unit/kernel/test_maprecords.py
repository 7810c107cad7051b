"""perf's records: written here as the header says, and read back; also round a ring's end."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cotenant.kernel.mapevents import unwrapped
from cotenant.kernel.maprecords import Exec, Exited, Forked, Lost, Mapped, Renamed, decode

PIDS = st.integers(1, 2**22)
TIMES = st.integers(0, 2**63)
WORDS = st.integers(0, 2**64 - 1)
NAMES = st.binary(max_size=200).map(lambda name: name.replace(b"\0", b"?"))


def encoded(kind: int, misc: int, body: bytes, tgid: int, tid: int, time_ns: int) -> bytes:
    """A record with PERF_SAMPLE_TID and PERF_SAMPLE_TIME behind it."""
    size = 8 + len(body) + 16
    return struct.pack("=IHH", kind, misc, size) + body + struct.pack("=IIQ", tgid, tid, time_ns)


def padded(name: bytes) -> bytes:
    """A string as the kernel writes it: ended by a zero, and filled up to 8 bytes."""
    return name + b"\0" * (8 - len(name) % 8)


def mmap2(told: Mapped, path: bytes, prot: int = 5) -> bytes:
    if told.build_id:
        raw = bytes.fromhex(told.build_id)
        misc, file = 1 << 14, bytes([len(raw), 0, 0, 0]) + raw.ljust(20, b"\0")
    else:
        device = os.major(told.device), os.minor(told.device)
        misc, file = 0, struct.pack("=IIQQ", *device, told.inode, 7)
    where = struct.pack("=IIQQQ", told.tgid, told.tid, told.start, told.length, told.pgoff)
    body = where + file + struct.pack("=II", prot, 2) + padded(path)
    return encoded(10, misc, body, told.tgid, told.tid, told.time_ns)


def comm(tgid: int, tid: int, name: bytes, misc: int, time_ns: int) -> bytes:
    return encoded(3, misc, struct.pack("=II", tgid, tid) + padded(name), tgid, tid, time_ns)


def task(kind: int, tgid: int, parent: int, tid: int, parent_tid: int, time_ns: int) -> bytes:
    body = struct.pack("=IIIIQ", tgid, parent, tid, parent_tid, time_ns)
    return encoded(kind, 0, body, tgid, tid, time_ns)


@st.composite
def mapped(draw: st.DrawFn) -> tuple[bytes, Mapped]:
    path = draw(NAMES)
    build_id = draw(st.sampled_from([b"", bytes(range(20)), bytes(range(8))])).hex()
    device, inode = (0, 0) if build_id else (os.makedev(draw(st.integers(0, 4095)), 3), draw(WORDS))
    time_ns, tgid, tid = draw(TIMES), draw(PIDS), draw(PIDS)
    start, length, pgoff = draw(WORDS), draw(WORDS), draw(WORDS)
    name = os.fsdecode(path)
    told = Mapped(time_ns, tgid, tid, start, length, pgoff, build_id, device, inode, name)
    return mmap2(told, path), told


@st.composite
def others(draw: st.DrawFn) -> tuple[bytes, object]:
    time_ns, tgid, tid, parent, name = (
        draw(TIMES), draw(PIDS), draw(PIDS), draw(PIDS), draw(NAMES),
    )  # fmt: skip
    text = os.fsdecode(name)
    return draw(
        st.sampled_from(
            [
                (comm(tgid, tid, name, 1 << 13, time_ns), Exec(time_ns, tgid, text)),
                (comm(tgid, tid, name, 0, time_ns), Renamed(time_ns, tgid, tid, text)),
                (task(7, tgid, parent, tid, 9, time_ns), Forked(time_ns, tgid, tid, parent, 9)),
                (task(4, tgid, parent, tid, 9, time_ns), Exited(time_ns, tgid, tid)),
                (encoded(2, 0, struct.pack("=QQ", 1, 77), 0, 0, time_ns), Lost(time_ns, 77)),
            ]
        )
    )


@given(st.lists(mapped() | others()))
def test_records_are_read_as_they_were_written(written):
    data = b"".join(each for each, _ in written)
    assert list(decode(data)) == [told for _, told in written]


@given(mapped(), st.integers(0, 3))
def test_only_executable_mappings_are_told(written, prot):
    _, told = written
    assert not list(decode(mmap2(told, os.fsencode(told.path), prot)))


@pytest.mark.parametrize("number", [0, 0xFFFFFFFF])
def test_processes_outside_this_pid_namespace_are_left_out(number):
    told = Mapped(1, number, number, 0x1000, 0x1000, 0, "", 1, 1, "/bin/x")
    records = mmap2(told, b"/bin/x"), comm(number, number, b"x", 0, 1), task(7, number, 1, 1, 1, 1)
    assert not list(decode(b"".join(records)))


def test_a_parent_outside_hides_no_child():
    assert list(decode(task(7, 5, 0, 5, 0, 3))) == [Forked(3, 5, 5, 0, 0)]


@given(st.binary(max_size=100))
@example(struct.pack("=IHH", 3, 0, 0))
@example(struct.pack("=IHH", 2, 0, 8))
def test_records_of_other_kinds_are_passed_over(body):
    after = Exited(3, 2, 2)
    data = encoded(5, 0, body, 1, 1, 1) + task(4, 2, 1, 2, 1, 3)
    assert list(decode(data)) == [after]


@given(st.integers(0, 5), st.integers(0, 2**40), st.data())
def test_what_lies_round_the_end_comes_out_in_one_piece(power, tail, data):
    size = 8 << power
    length = data.draw(st.integers(1, size))
    content = data.draw(st.binary(min_size=length, max_size=length))
    ring = bytearray(size)
    for at, byte in enumerate(content, tail):
        ring[at % size] = byte
    assert unwrapped(b"page" + bytes(ring), 4, size, tail, tail + length) == content
