"""What processes map, and what becomes of them: perf's records of the whole host.

A dummy event, one per CPU, with a ring buffer in memory shared with the kernel. Reading /proc
instead would miss whoever lives shortly. Needs CAP_PERFMON.
"""

from __future__ import annotations

import mmap
import os
import select
import struct
import time
from collections.abc import Iterable, Iterator
from ctypes import c_uint64
from operator import attrgetter

from cotenant.errors import KernelRefused
from cotenant.kernel.maprecords import Lost, Record, decode
from cotenant.kernel.perf import Attributes, attributes, clock_ns, opened

_DUMMY = 9  # PERF_COUNT_SW_DUMMY
_TID, _TIME = 1 << 1, 1 << 2  # PERF_SAMPLE_*, which sample_id_all puts behind each record
_FORMAT_LOST = 1 << 4  # PERF_FORMAT_LOST
_HEAD, _TAIL = 1024, 1032  # of struct perf_event_mmap_page
_MOST_RECORD = 4352  # a mapping of the longest path, and what stands around it
_PAGES = 128  # with the first page this is perf_event_mlock_kb: no CAP_IPC_LOCK is needed


class MapEvents:
    """Executable mappings, execs, renames, forks and exits of the whole host, as they happen.

    One ring buffer of `pages` pages (a power of two) per CPU. `fileno()` becomes readable when one
    of them holds `wake_bytes`; poll it, or drain on a clock: nothing waits for the wake-up.

    lost      records that found no room, told by `Lost` too

    Where this process is in a pid namespace of its own, those outside of it are told as process 0:
    they are left out.
    """

    def __init__(
        self, cpus: Iterable[int], pages: int = _PAGES, wake_bytes: int | None = None
    ) -> None:
        size = pages * mmap.PAGESIZE
        self._rings: list[_Ring] = []
        self._poll = select.epoll()
        self._held: list[Record] = []
        self.lost = 0
        try:
            for cpu in cpus:
                ring = _Ring(cpu, size, size // 4 if wake_bytes is None else wake_bytes)
                self._rings.append(ring)
                self._poll.register(ring.fd, select.EPOLLIN)
        except BaseException:
            self.close()
            raise

    @property
    def build_ids(self) -> bool:
        """Whether the kernel tells build ids (5.12); else every mapping has device and inode."""
        return all(ring.build_ids for ring in self._rings)

    def drain(self) -> list[Record]:
        """What happened up to this call, in the order in which it did, over all CPUs.

        Something that happens while the rings are read may come with the next call. For, were it
        told now, what led to it might still lie in a ring that had been read already.
        """
        until_ns = clock_ns()
        found = self._held
        for ring in self._rings:
            data, lost = ring.read()
            found.extend(decode(data, losses=not ring.counts))
            if lost:
                found.append(Lost(until_ns, lost))
        found.sort(key=attrgetter("time_ns"))  # stable: what one CPU tells stays in its order
        cut = len(found)
        while cut and found[cut - 1].time_ns > until_ns:
            cut -= 1
        self._held = found[cut:]
        del found[cut:]
        self.lost += sum(each.records for each in found if isinstance(each, Lost))
        return found

    def fileno(self) -> int:
        """Readable when a ring holds `wake_bytes`; told once, whether drained or not."""
        return self._poll.fileno()

    def close(self) -> None:
        """Ends all of it."""
        while self._rings:
            self._rings.pop().close()
        self._poll.close()


class _Ring:
    """The events of one CPU, in memory shared with the kernel.

    Linux writes records and then moves `head`; we read up to it and then move `tail`, behind which
    it may write again. C needs a read barrier after `head` and a full one before `tail`. Python has
    none, and does without on x86-64, where no load passes another, and no store an earlier load.
    Elsewhere the interpreter's own locks, taken between any two system calls, are all there is.
    Both words are moved whole: ctypes copies 8 aligned bytes, `struct` would go byte by byte.
    """

    def __init__(self, cpu: int, size: int, wake_bytes: int) -> None:
        self.fd, asked = opened(_ways(wake_bytes), cpu, "mappings")
        self.build_ids = bool(asked.build_id)
        self.counts = bool(asked.read_format)
        self._told = 0
        self._size = size
        try:
            self._memory = mmap.mmap(self.fd, mmap.PAGESIZE + size, mmap.MAP_SHARED)
        except OSError as error:
            os.close(self.fd)
            raise KernelRefused(
                f"A ring buffer of {size >> 10} KiB cannot be mapped: {error.strerror}.",
                "sysctl kernel.perf_event_mlock_kb; ulimit -l",
            ) from error
        self._head = c_uint64.from_buffer(self._memory, _HEAD)
        self._tail = c_uint64.from_buffer(self._memory, _TAIL)

    def read(self) -> tuple[bytes, int]:
        """Records since the last call, and how many found no room where the kernel counts that.

        It may write over them from now on. Before Linux 6.0 a record among them tells of losses,
        once there is room for it and something else to tell.
        """
        head, tail = self._head.value, self._tail.value
        if head == tail:
            return b"", 0
        data = unwrapped(self._memory, mmap.PAGESIZE, self._size, tail, head)
        self._tail.value = head
        # Only a ring that was full has lost any. Asking interrupts the CPU that writes it.
        full = len(data) + _MOST_RECORD > self._size
        return data, self._lost() if full and self.counts else 0

    def _lost(self) -> int:
        _value, lost = struct.unpack("=QQ", os.read(self.fd, 16))
        before, self._told = self._told, int(lost)
        return self._told - before

    def close(self) -> None:
        """Unmaps and closes it."""
        del self._head, self._tail  # they hold the memory
        self._memory.close()
        os.close(self.fd)


def unwrapped(memory: bytes | mmap.mmap, start: int, size: int, tail: int, head: int) -> bytes:
    """What lies between two positions of a ring of `size` bytes at `start`, in one piece."""
    begin, end = tail % size, head % size
    if begin < end:
        return memory[start + begin : start + end]
    return memory[start + begin : start + size] + memory[start : start + end]


def _ways(wake_bytes: int) -> Iterator[Attributes]:
    """What to ask for, best first."""
    for build_id, read_format in ((1, _FORMAT_LOST), (1, 0), (0, 0)):  # 6.0, 5.12, before
        yield attributes(
            _DUMMY,
            mmap=1,
            mmap2=1,
            comm=1,
            comm_exec=1,
            task=1,
            build_id=build_id,
            read_format=read_format,
            sample_id_all=1,
            sample_type=_TID | _TIME,
            use_clockid=1,
            clockid=time.CLOCK_MONOTONIC,
            watermark=1,
            wakeup_watermark=wake_bytes,
        )
