"""Where a thread finds its thread state: the slot of CPython's gilstate key, from fsbase on.

CPython keeps each thread's state under a pthread key (autoTSSkey), also while the GIL is released.
(`_Py_tss_tstate`, since 3.12, is empty then: whoever reads that one loses numpy and hashlib.) Where
the C library keeps a key's values is not documented, so a place is taken only after it was compared
with the thread states that the interpreter itself lists.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from cotenant.profile.python.memory import Read, get, word
from cotenant.profile.python.offsets import Layout

MOST_INTERPRETERS = 256
MOST_THREADS = 1 << 14
"""Thread states that are followed; a list of more is a loop or no list at all."""
LOOKS = 5
"""Looks at the threads of a process before it is believed that they have no place in common."""
PTHREAD_BYTES = 0x900
"""glibc's struct pthread, from fsbase on (2,304 bytes in 2.36)."""
_GLIBC_SPECIFIC = 0x310
"""In it, 32 keys of 16 bytes each, value last: specific_1stblock (nptl/descr.h)."""
_GLIBC_KEYS = 32


class Thread(NamedTuple):
    """One thread state, as the interpreter lists it."""

    state: int
    """Its address."""
    fsbase: int
    """pthread_self(): the thread's fsbase on glibc and musl; 0: not set yet."""
    tid: int | None
    """The thread's id in its own pid namespace; None up to 3.10."""


class Slot(NamedTuple):
    """fsbase + `offset` holds each thread's state, and nothing in a thread that has none."""

    offset: int
    threads: int
    """Threads it was seen in."""


class ByThread(NamedTuple):
    """No place in common: the states of the threads that there are now."""

    by_fsbase: dict[int, int]
    by_tid: dict[int, int]
    """By the thread's id in its own pid namespace; {} up to 3.10."""


class NoThreads(NamedTuple):
    """The process lists no thread state."""

    sentence: str


def find(layout: Layout, runtime: int, read: Read) -> Slot | ByThread | NoThreads:
    """How the kernel side gets at thread states. `runtime` is `_PyRuntime` in the process.

    Threads end and begin meanwhile: where one is read in another's place, nothing agrees. (Seen in
    2.6 % of the looks at a process that does nothing but start threads.) So what does not agree is
    looked at again before that is believed.
    """
    for _ in range(LOOKS):
        found = _find(layout, runtime, read)
        if isinstance(found, Slot):
            break
    return found


def _find(layout: Layout, runtime: int, read: Read) -> Slot | ByThread | NoThreads:
    listed = threads(layout, runtime, read)
    if not listed:
        return NoThreads("Python has no threads yet, or its memory cannot be read.")
    states: dict[int, set[int]] = {}
    for thread in listed:
        if thread.fsbase:
            states.setdefault(thread.fsbase, set()).add(thread.state)
    seen = _Seen(states, read)
    offset = _offset_of_key(layout, runtime, read)
    if offset is not None and seen.holds(offset):
        return Slot(offset, seen.count(offset))
    offset = seen.common()
    if offset is not None:
        return Slot(offset, seen.count(offset))
    return ByThread(
        {thread.fsbase: thread.state for thread in listed if thread.fsbase},
        {thread.tid: thread.state for thread in listed if thread.tid},
    )


def threads(layout: Layout, runtime: int, read: Read) -> list[Thread]:
    """All thread states of all interpreters; what changes meanwhile may be missing."""
    found: list[Thread] = []
    interpreters = _chain(
        read, runtime + layout.runtime_interpreters, layout.interpreter_next, MOST_INTERPRETERS
    )
    for interpreter in interpreters:
        left = MOST_THREADS - len(found)
        head = interpreter + layout.interpreter_threads
        for state in _chain(read, head, layout.tstate_next, left):
            thread = _thread(layout, interpreter, state, read)
            if thread is None:
                break  # freed while it was looked at: its `next` is not to be believed either
            found.append(thread)
    return found


def _chain(read: Read, head: int, following: int, most: int) -> Iterator[int]:
    """Addresses in a linked list; ends where it cannot be read, and where it turns back."""
    address = word(read, head)
    seen: set[int] = set()
    while address and address not in seen and len(seen) < most:
        seen.add(address)
        yield address
        address = word(read, address + following)


def _thread(layout: Layout, interpreter: int, state: int, read: Read) -> Thread | None:
    last = max(layout.tstate_interp, layout.tstate_thread_id, layout.tstate_native_id or 0)
    data = get(read, state, last + 8)
    if data is None:
        return None
    (owner,) = struct.unpack_from("<Q", data, layout.tstate_interp)
    if owner != interpreter:
        return None
    (fsbase,) = struct.unpack_from("<Q", data, layout.tstate_thread_id)
    if layout.tstate_native_id is None:
        return Thread(state, fsbase, None)
    (tid,) = struct.unpack_from("<Q", data, layout.tstate_native_id)
    return Thread(state, fsbase, tid & 0xFFFFFFFF)


def _offset_of_key(layout: Layout, runtime: int, read: Read) -> int | None:
    """Where glibc keeps the value of the runtime's key; None: not in the first block."""
    data = get(read, runtime + layout.runtime_key, 8)
    if data is None:
        return None
    initialised, key = int.from_bytes(data[:4], "little"), int.from_bytes(data[4:], "little")
    if initialised != 1 or not key < _GLIBC_KEYS:
        return None
    return _GLIBC_SPECIFIC + 16 * key + 8


class _Seen:
    """What lies behind the fsbase of each thread, to be compared with its thread states."""

    def __init__(self, states: dict[int, set[int]], read: Read) -> None:
        self._threads: list[tuple[set[int], tuple[int, ...]]] = []
        for fsbase, own in states.items():
            data = get(read, fsbase, PTHREAD_BYTES)
            if data is not None:
                self._threads.append((own, struct.unpack(f"<{PTHREAD_BYTES // 8}Q", data)))
        self._unread = len(states) - len(self._threads)

    def count(self, offset: int) -> int:
        """Threads that have a state of their own there."""
        return sum(words[offset // 8] in own for own, words in self._threads)

    def holds(self, offset: int) -> bool:
        """Whether some thread has its state there, and none anything but its own or nothing."""
        if self._unread:
            return False
        there = [(own, words[offset // 8]) for own, words in self._threads]
        return self.count(offset) > 0 and all(not value or value in own for own, value in there)

    def common(self) -> int | None:
        """The lowest offset where every thread has its state; None: there is none."""
        if not self._threads or self._unread:
            return None
        for index in range(PTHREAD_BYTES // 8):
            if all(words[index] in own for own, words in self._threads):
                return index * 8
        return None
