"""Reads a BPF ring buffer where it lies: in memory shared with the kernel.

libbpf's own reader would call back from C for every record, through ctypes. The layout is the
kernel's promise (Documentation/bpf/ringbuf.rst): a page with the reader's position, one with the
writers', then the data, mapped twice in a row, so that no record is in two pieces. Each begins with
its length, in which one bit says "not yet written", another "void".
"""

from __future__ import annotations

import mmap
from collections.abc import Callable

from cotenant.errors import KernelRefused
from cotenant.kernel.libbpf import Map

_BUSY, _VOID = 1 << 31, 1 << 30  # BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT
_LENGTH = _VOID - 1
_HEAD_BYTES = 8  # BPF_RINGBUF_HDR_SZ


class Ring:
    """Records of a map of type RINGBUF. `fileno()` is readable while any wait.

    The words of the head are read whole, and before what they tell of, as in `mapevents`.
    """

    def __init__(self, ring: Map, on_record: Callable[[bytes], None]) -> None:
        page = mmap.PAGESIZE
        self._fd = ring.fd
        self._on_record = on_record
        self._mask = ring.entries - 1
        try:
            self._read = mmap.mmap(ring.fd, page, mmap.MAP_SHARED)
            self._written = mmap.mmap(
                ring.fd, page + 2 * ring.entries, mmap.MAP_SHARED, mmap.PROT_READ, offset=page
            )
        except OSError as error:
            raise KernelRefused(
                f"A ring buffer of {ring.entries >> 10} KiB cannot be mapped: {error.strerror}.",
                "cotenant --debug check",
            ) from error
        self._reader = memoryview(self._read).cast("Q")
        self._writers = memoryview(self._written)[:_HEAD_BYTES].cast("Q")
        self._heads = memoryview(self._written)[page:].cast("I")

    def fileno(self) -> int:
        """Descriptor to wait on."""
        return self._fd

    def drain(self) -> int:
        """Hands every record that is there by now to the callback; their number."""
        reader, heads, data = self._reader, self._heads, self._written
        at, end, count = reader[0], self._writers[0], 0
        while at < end:
            begin = at & self._mask
            head = heads[begin >> 2]
            if head & _BUSY:
                break
            size = head & _LENGTH
            begin += mmap.PAGESIZE + _HEAD_BYTES
            raw = data[begin : begin + size]
            at += (size + _HEAD_BYTES + 7) & ~7
            reader[0] = at  # writers may take its place
            if not head & _VOID:
                count += 1
                self._on_record(raw)
        return count

    def close(self) -> None:
        """Unmaps it."""
        for view in (self._reader, self._writers, self._heads):
            view.release()
        self._read.close()
        self._written.close()
