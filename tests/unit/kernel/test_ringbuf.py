"""Records of a ring buffer, in a file laid out as the kernel lays out its own."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cotenant.errors import KernelRefused
from cotenant.kernel.libbpf import Map
from cotenant.kernel.ringbuf import Ring

SIZE = mmap.PAGESIZE
BUSY, VOID = 1 << 31, 1 << 30


class Kernel:
    """Writes as the kernel does; what it writes is in both images of the data."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * mmap.PAGESIZE + 2 * SIZE)
        self.at = 0

    def write(self, record: bytes, flags: int = 0) -> int:
        place = self.at
        raw = struct.pack("=II", len(record) | flags, 0) + record
        for image in (0, SIZE):
            for offset, byte in enumerate(raw):
                inside = (place + offset) % SIZE
                os.pwrite(self.fd, bytes([byte]), 2 * mmap.PAGESIZE + image + inside)
        self.at += (len(raw) + 7) & ~7
        os.pwrite(self.fd, struct.pack("=Q", self.at), mmap.PAGESIZE)
        return place

    def commit(self, place: int, size: int) -> None:
        for image in (0, SIZE):
            at = 2 * mmap.PAGESIZE + image + place % SIZE
            os.pwrite(self.fd, struct.pack("=I", size), at)

    @property
    def read_up_to(self) -> int:
        return int(struct.unpack("=Q", os.pread(self.fd, 8, 0))[0])

    def ring(self, on_record: Callable[[bytes], None]) -> Ring:
        return Ring(cast(Map, SimpleNamespace(fd=self.fd, entries=SIZE)), on_record)


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    made = Kernel()
    yield made
    os.close(made.fd)


def test_records_come_in_order_and_their_room_is_given_back(kernel: Kernel) -> None:
    told: list[bytes] = []
    ring = kernel.ring(told.append)
    assert ring.drain() == 0
    sent = [bytes([n]) * n for n in range(1, 30)]
    for record in sent:
        kernel.write(record)
    assert ring.drain() == len(sent)
    assert told == sent
    assert kernel.read_up_to == kernel.at
    ring.close()


def test_one_that_is_not_yet_written_holds_up_those_behind_it(kernel: Kernel) -> None:
    told: list[bytes] = []
    ring = kernel.ring(told.append)
    kernel.write(b"first")
    place = kernel.write(b"second", BUSY)
    kernel.write(b"third")
    assert ring.drain() == 1
    assert kernel.read_up_to == place
    kernel.commit(place, 6)
    assert ring.drain() == 2
    assert told == [b"first", b"second", b"third"]
    ring.close()


def test_what_was_given_up_is_passed_over(kernel: Kernel) -> None:
    told: list[bytes] = []
    ring = kernel.ring(told.append)
    kernel.write(b"never", VOID)
    kernel.write(b"told")
    assert ring.drain() == 1
    assert told == [b"told"]
    ring.close()


def test_a_record_across_the_end_comes_in_one_piece(kernel: Kernel) -> None:
    told: list[bytes] = []
    ring = kernel.ring(told.append)
    for n in range(40):
        kernel.write(bytes([n]) * 700)
        assert ring.drain() == 1
    assert told == [bytes([n]) * 700 for n in range(40)]
    ring.close()


def test_whoever_fails_on_a_record_does_not_meet_it_again(kernel: Kernel) -> None:
    told: list[bytes] = []

    def fails(record: bytes) -> None:
        told.append(record)
        if len(told) == 1:
            raise ValueError

    ring = kernel.ring(fails)
    kernel.write(b"one")
    kernel.write(b"two")
    with pytest.raises(ValueError):
        ring.drain()
    assert ring.drain() == 1
    assert told == [b"one", b"two"]
    ring.close()


def test_what_cannot_be_mapped_is_said() -> None:
    read, write = os.pipe()
    try:
        with pytest.raises(KernelRefused, match="ring buffer of 4 KiB cannot be mapped"):
            Ring(cast(Any, SimpleNamespace(fd=read, entries=SIZE)), print)
    finally:
        os.close(read)
        os.close(write)
