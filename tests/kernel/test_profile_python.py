"""What a Python process says of its own threads and frames, and what is read of them outside."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from tests.kernel.pythons import NEWEST, RELEASES, Victim, place, victim, walk

from cotenant.model import Frame, FrameKind
from cotenant.profile.python.code import NAME_LIMIT, Codes, NoFrame
from cotenant.profile.python.memory import word
from cotenant.profile.python.offsets import TABLE
from cotenant.profile.python.threads import ByThread, Slot, find, threads

pytestmark = pytest.mark.kernel


@pytest.fixture(
    scope="module",
    params=[
        *RELEASES,
        pytest.param("debian", marks=pytest.mark.claim),
        pytest.param(NEWEST, marks=pytest.mark.slow),
    ],
)
def python(request) -> Iterator[Victim]:
    with victim(request.param) as running:
        yield running


def test_each_thread_has_its_state_in_the_slot_with_and_without_the_gil(python):
    slot = find(python.located.layout, python.runtime, python.read)
    assert isinstance(slot, Slot)
    assert slot.offset == python.located.layout.default_slot
    everyone = {stack["ident"] for stack in python.told["stacks"]} | {python.told["dumper"]}
    listed = threads(python.located.layout, python.runtime, python.read)
    assert {thread.fsbase for thread in listed} == everyone
    assert slot.threads == len(everyone) == 12
    for thread in listed:
        assert word(python.read, thread.fsbase + slot.offset) == thread.state


def test_threads_are_known_by_the_ids_the_kernel_counts(python):
    natives = {stack["ident"]: stack["native"] for stack in python.told["stacks"]}
    listed = threads(python.located.layout, python.runtime, python.read)
    told = {thread.fsbase: thread.tid for thread in listed if thread.fsbase in natives}
    if python.located.version >= (3, 11):
        assert told == natives
    else:
        assert set(told.values()) == {None}


def test_without_a_slot_threads_are_named_one_by_one(python):
    """The same walk where fsbase cannot be read: as if the place were nowhere in common."""
    behind = [range(stack["ident"], stack["ident"] + 0x900) for stack in python.told["stacks"]]

    def read(address: int, count: int) -> bytes:
        if any(address in place for place in behind):
            raise OSError
        data: bytes = python.read(address, count)
        return data

    layout = python.located.layout._replace(runtime_key=0)
    found = find(layout, python.runtime, read)
    assert isinstance(found, ByThread)
    slot = python.located.layout.default_slot
    for stack in python.told["stacks"]:
        state = word(python.read, stack["ident"] + slot)
        assert found.by_fsbase[stack["ident"]] == state
        if python.located.version >= (3, 11):
            assert found.by_tid[stack["native"]] == state


def test_every_frame_has_its_name_file_and_line(python):
    codes = Codes(python.located.layout, python.read)
    for stack in python.told["stacks"]:
        assert frames(python, codes, stack["ident"]) == told(stack)
    assert codes.stale == 0
    names = {name for stack in python.told["stacks"] for name, *_ in stack["frames"]}
    assert {"<module>", "<lambda>"} <= {name.rsplit(".", 1)[-1] for name in names}
    codes.next_round()
    for stack in python.told["stacks"]:
        assert frames(python, codes, stack["ident"]) == told(stack)


def test_the_shim_below_a_specialised_init_is_dropped(python):
    stack = next(s for s in python.told["stacks"] if s["frames"][2][0] == "made_often")
    codes = Codes(python.located.layout, python.read)
    state = word(python.read, stack["ident"] + python.located.layout.default_slot)
    assert state
    met = [codes.frame(*one) for one in walk(python.located.layout, state, python.read)]
    assert met.count(NoFrame.SHIM) == (1 if python.located.version >= (3, 13) else 0)
    assert codes.stale == 0


def test_another_first_line_is_stale_and_counted(python):
    codes = Codes(python.located.layout, python.read)
    slot = find(python.located.layout, python.runtime, python.read)
    assert isinstance(slot, Slot)
    state = word(python.read, python.told["stacks"][0]["ident"] + slot.offset)
    assert state
    leaf = walk(python.located.layout, state, python.read)[0]
    assert codes.frame(leaf.code, leaf.first_line + 1, 0) is NoFrame.STALE
    assert codes.frame(0x1000, leaf.first_line, 0) is NoFrame.STALE
    assert codes.stale == 2


def test_the_table_of_offsets_is_what_the_binary_tells(python):
    assert python.located.layout == TABLE[python.located.version]


def test_a_thread_that_runs_python_is_met_in_the_eval_function(python):
    """Stopped a hundred times: about 40 times in some piece of it, else waiting for the GIL."""
    spinner = next(s for s in python.told["stacks"] if s["frames"][0][0] == "spinning")
    pieces = [range(python.bias + b, python.bias + e) for b, e in python.located.evals]
    stops = [place(spinner["native"]) for _ in range(100)]
    assert any(stop in piece for stop in stops for piece in pieces), stops


KEYS_BEFORE = """
#include <pthread.h>
__attribute__((constructor)) static void take(void) {
    pthread_key_t key;
    for (int i = 0; i < KEYS; i++)
        pthread_key_create(&key, 0);
}
"""


@pytest.mark.parametrize(("keys", "offset"), [(3, 0x348), (31, 0x508), (40, None)])
def test_another_slot_is_found_where_others_made_keys_before(tmp_path, keys, offset):
    """A program with libraries of its own: jemalloc, uwsgi and others make keys first."""
    library = tmp_path / "keys.so"
    subprocess.run(
        ["gcc", "-x", "c", "-shared", "-fPIC", f"-DKEYS={keys}", "-o", library, "-"],
        input=KEYS_BEFORE.encode(),
        check=True,
    )
    with victim("debian", LD_PRELOAD=str(library)) as python:
        found = find(python.located.layout, python.runtime, python.read)
        if offset:
            assert found == Slot(offset, 12)
            return
        # Beyond the 32nd, values are in memory of their own for each thread.
        assert isinstance(found, ByThread)
        codes = Codes(python.located.layout, python.read)
        for stack in python.told["stacks"]:
            state = found.by_fsbase[stack["ident"]]
            assert state == found.by_tid[stack["native"]]
            assert frames_of(python, codes, state) == told(stack)


def frames(python: Victim, codes: Codes, fsbase: int) -> list[tuple[object, ...]]:
    state = word(python.read, fsbase + python.located.layout.default_slot)
    assert state
    return frames_of(python, codes, state)


def frames_of(python: Victim, codes: Codes, state: int) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for met in walk(python.located.layout, state, python.read):
        frame = codes.frame(*met)
        if frame is NoFrame.SHIM:
            continue
        assert isinstance(frame, Frame), f"{frame} of {met}"
        assert frame.kind is FrameKind.PYTHON
        found.append((frame.name, frame.file, frame.line, frame.first_line))
    return found


def told(stack: dict[str, Any]) -> list[tuple[object, ...]]:
    return [
        (name if len(name) <= NAME_LIMIT else f"{name[:NAME_LIMIT]}…", file, line, first)
        for name, file, line, first in stack["frames"]
    ]
