from __future__ import annotations

import struct
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.profile.python_memory import Memory

from cotenant.profile.python.offsets import TABLE, Layout
from cotenant.profile.python.threads import (
    LOOKS,
    MOST_INTERPRETERS,
    PTHREAD_BYTES,
    ByThread,
    NoThreads,
    Slot,
    find,
    threads,
)

LAYOUTS = pytest.mark.parametrize("layout", TABLE.values(), ids=lambda it: f"{it.version[1]}")
NEWEST = TABLE[max(TABLE)]


class Process:
    """A CPython with one interpreter; its threads' fsbase lead to zeroes until told otherwise."""

    def __init__(self, layout: Layout, count: int, key: int = 0) -> None:
        self.layout = layout
        self.memory = Memory(layout)
        self.runtime = self.memory.put(bytes(layout.runtime_key + 8))
        self.memory.set(self.runtime + layout.runtime_key, struct.pack("<ii", 1, key))
        self.interpreter = self.memory.put(bytes(layout.interpreter_threads + 8))
        self.memory.set_word(self.runtime + layout.runtime_interpreters, self.interpreter)
        self.states: list[int] = []
        self.fsbases: list[int] = []
        head = self.interpreter + layout.interpreter_threads
        for index in range(count):
            head = self.add(head, 500 + index)

    def add(self, head: int, tid: int) -> int:
        layout, memory = self.layout, self.memory
        state, fsbase = memory.put(bytes(256)), memory.put(bytes(PTHREAD_BYTES))
        memory.set_word(head, state)
        memory.set_word(state + layout.tstate_interp, self.interpreter)
        memory.set_word(state + layout.tstate_thread_id, fsbase)
        if layout.tstate_native_id is not None:
            memory.set_word(state + layout.tstate_native_id, tid)
        self.states.append(state)
        self.fsbases.append(fsbase)
        return state + layout.tstate_next

    def keep(self, index: int, offset: int, state: int | None = None) -> None:
        self.memory.set_word(self.fsbases[index] + offset, state or self.states[index])

    def find(self) -> Slot | ByThread | NoThreads:
        return find(self.layout, self.runtime, self.memory.read)


@LAYOUTS
@pytest.mark.parametrize(("key", "offset"), [(0, 0x318), (1, 0x328), (31, 0x508)])
def test_the_keys_own_place_is_taken_when_it_holds(layout, key, offset):
    process = Process(layout, 5, key)
    for index in range(4):  # the fifth has none: a thread that has not begun to run Python
        process.keep(index, 0x40)  # some other place with the same
        process.keep(index, offset)
    assert process.find() == Slot(offset, 4)


@LAYOUTS
@pytest.mark.parametrize("key", [0, 32, -1])
def test_another_place_has_to_be_common_to_all(layout, key):
    process = Process(layout, 5, key)
    for index in range(5):
        process.keep(index, 0x600)
    process.keep(2, 0x100)
    assert process.find() == Slot(0x600, 5)
    process.memory.set_word(process.fsbases[3] + 0x600, 0)
    assert isinstance(process.find(), ByThread)


def test_a_strangers_state_in_the_place_refutes_it():
    process = Process(NEWEST, 3)
    for index in range(3):
        process.keep(index, 0x318)
    assert process.find() == Slot(0x318, 3)
    process.keep(2, 0x318, process.states[0])
    assert process.find() == ByThread(
        dict(zip(process.fsbases, process.states, strict=True)),
        dict(zip((500, 501, 502), process.states, strict=True)),
    )


@LAYOUTS
@pytest.mark.parametrize(("looks", "believed"), [(LOOKS - 1, Slot), (LOOKS, ByThread)])
def test_a_thread_that_ends_while_it_is_read_is_no_proof(layout, looks, believed):
    """Its stack is another's by then, which is not in the list that was read."""
    process = Process(layout, 2)
    for index in range(2):
        process.keep(index, 0x318)
    another, left = process.memory.put(bytes(256)), looks
    read = process.memory.read

    def read_late(address, count):
        nonlocal left
        if count == PTHREAD_BYTES and address == process.fsbases[1]:
            process.keep(1, 0x318, another if left > 0 else None)
            left -= 1
        return read(address, count)

    assert isinstance(find(layout, process.runtime, read_late), believed)


@LAYOUTS
def test_a_thread_with_two_states_keeps_either(layout):
    """One of the main interpreter, one of another: the key holds the first."""
    process = Process(layout, 3)
    for index in range(3):
        process.keep(index, 0x318)
    extra = process.add(process.states[-1] + layout.tstate_next, 502) - layout.tstate_next
    process.memory.set_word(extra + layout.tstate_thread_id, process.fsbases[0])
    assert process.find() == Slot(0x318, 3)


def test_nothing_is_there_before_python_has_begun():
    process = Process(NEWEST, 0)
    assert isinstance(process.find(), NoThreads)
    process.memory.drop(process.runtime)
    assert isinstance(process.find(), NoThreads)


@LAYOUTS
def test_lists_that_turn_back_or_leave_the_interpreter_end(layout):
    process = Process(layout, 3)
    process.memory.set_word(process.states[2] + layout.tstate_next, process.states[0])
    process.memory.set_word(process.interpreter + layout.interpreter_next, process.interpreter)
    assert len(threads(layout, process.runtime, process.memory.read)) == 3
    process.memory.set_word(process.states[1] + layout.tstate_interp, 0x1234)  # freed
    assert len(threads(layout, process.runtime, process.memory.read)) == 1


def test_a_list_without_end_is_given_up():
    """Each address read leads to a new one."""
    count = 0

    def read(address: int, size: int) -> bytes:
        nonlocal count
        count += 1
        return struct.pack("<Q", 0x10000 + 16 * count) * (size // 8 + 1)

    assert threads(NEWEST, 0x5000, lambda address, size: read(address, size)[:size]) == []
    assert count < 10 * MOST_INTERPRETERS


@given(st.sampled_from(list(TABLE.values())), st.integers(0, 1 << 32))
@settings(deadline=None)
def test_random_memory_never_raises(layout, seed):
    random = Random(seed)

    def read(address: int, count: int) -> bytes:
        if random.random() < 0.1:
            raise OSError
        words = [random.choice((0, 1, 0x7000, 0x8000, 0x9000, random.randrange(1 << 64)))] * 400
        return struct.pack("<400Q", *words)[: random.choice((count, count, count, count // 2))]

    assert isinstance(find(layout, 0x7000, read), Slot | ByThread | NoThreads)
