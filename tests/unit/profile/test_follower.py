"""What the programs are told of processes, against processes, binaries and programs made here."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cotenant.agent import profiler
from cotenant.agent.profiler import CALM_S, CALM_STEP_S, STEP_S, Profiler
from cotenant.profile import follow
from cotenant.profile.binaries import NOTHING, CodeFile
from cotenant.profile.follow import REST_S, Follower
from cotenant.profile.processes.mappings import ANONYMOUS, FILE, Mapping
from cotenant.profile.programs import PROCESS
from cotenant.profile.python.interpreters import thread_key
from cotenant.profile.python.threads import ByThread, Slot

TGID, STARTED = 7, 1234
NATIVE, PYTHON = "/bin/native", "/usr/bin/python3"


def mapped(path: str, page: int = 1) -> Mapping:
    start = page << 12
    return Mapping(start, start + 0x1000, 0, path, "", kind=FILE if path else ANONYMOUS)


class World:
    """Stands for all that a follower talks with. `told`: what the programs were told, in order."""

    def __init__(self) -> None:
        self.time_s = 100.0
        self.came: list[tuple[int, int, tuple[Mapping, ...]]] = []
        self.went: list[int] = []
        self.told: list[str] = []
        self.slots: dict[int, tuple[int, int]] = {}
        """Slot, and whether states are told by thread."""
        self.threads: dict[int, int] = {}
        self.files = {path: CodeFile(n, path, "", "") for n, path in enumerate((NATIVE, PYTHON), 1)}
        self.files[PYTHON].python = cast(Any, SimpleNamespace())

    def changed(self) -> list[tuple[int, int, tuple[Mapping, ...]]]:
        came, self.came = self.came, []
        return came

    def gone(self) -> list[int]:
        went, self.went = self.went, []
        return went

    def view(self, tgid: int) -> None:
        return None

    def of(self, tgid: int, mapping: Mapping, view: object) -> CodeFile:
        return self.files.get(mapping.path, NOTHING)

    def learn_slot(self, file: CodeFile, slot: int) -> None:
        file.python_slot = slot

    def write_mapping(self, index: int, entry: bytes) -> None:
        self.told.append(f"mapping {index}")

    def write_process(self, tgid: int, entry: bytes) -> bool:
        self.told.append(f"process {tgid}")
        self.slots[tgid] = PROCESS.unpack(entry)[3:]
        return True

    def write_thread(self, key: int, state: int) -> bool:
        self.threads[key] = state
        return True

    def drop_thread(self, key: int) -> None:
        del self.threads[key]

    def drop_process(self, tgid: int) -> None:
        self.told.append(f"gone {tgid}")

    def forget_places(self) -> None:
        self.told.append("forget")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(follow, "monotonic", lambda: world.time_s)
    monkeypatch.setattr(profiler, "monotonic", lambda: world.time_s)
    monkeypatch.setattr(follow, "find_threads", lambda *_: Slot(8, 1))
    return world


@pytest.fixture
def follower(world: World) -> Iterator[Follower]:
    part = cast(Any, world)
    yield Follower(part, part, part)


def test_a_run_is_used_again_only_after_a_rest_and_what_was_found_by_it_is_forgotten(
    world: World, follower: Follower
) -> None:
    """A program may have kept which mapping an address is in: the numbers become another's."""
    world.came = [(TGID, STARTED, (mapped(NATIVE),))]
    follower.publish()
    world.went = [TGID]
    follower.publish()
    world.time_s += REST_S / 2
    world.came = [(TGID + 1, STARTED, (mapped(NATIVE, 2),))]
    follower.publish()
    assert "forget" not in world.told
    world.time_s += REST_S / 2
    world.came = [(TGID + 2, STARTED, (mapped(NATIVE, 3),))]
    follower.publish()
    assert world.told == [
        "mapping 0", "process 7", "gone 7", "mapping 1", "process 8",
        "forget", "mapping 0", "process 9",
    ]  # fmt: skip


@pytest.mark.parametrize("path", [PYTHON, ""], ids=["an interpreter", "code of a JIT"])
def test_steps_are_close_together_while_a_process_is_young_whose_names_die_with_it(
    world: World, follower: Follower, path: str
) -> None:
    turned = cast(Profiler, SimpleNamespace(_follower=follower))

    def pause_s() -> float:
        follower.publish()
        return float(cast(property, Profiler.pause_s).__get__(turned))

    world.came = [(TGID, STARTED, (mapped(NATIVE),))]
    assert pause_s() == CALM_STEP_S
    world.came = [(TGID + 1, STARTED, (mapped(path),))]
    assert pause_s() == STEP_S
    world.time_s += CALM_S / 2
    # It maps more, as one does that runs for long: it is no younger for that.
    world.came = [(TGID + 1, STARTED, (mapped(path), mapped(NATIVE, 2)))]
    assert pause_s() == STEP_S
    world.time_s += CALM_S / 2
    assert pause_s() == CALM_STEP_S
    world.came = [(TGID + 1, STARTED + 1, (mapped(path),))]
    assert pause_s() == STEP_S, "another one of the same number"


def test_an_interpreters_slot_is_found_once_and_told_with_its_process(
    world: World, follower: Follower
) -> None:
    world.came = [(TGID, STARTED, (mapped(PYTHON),))]
    follower.publish()
    assert follower.living[TGID].slot == world.files[PYTHON].python_slot == 8
    told = len(world.told)
    world.time_s += 60
    follower.publish()
    assert len(world.told) == told, "it is not looked for again"


def test_what_was_told_by_thread_gives_way_to_what_is_found_later(
    world: World, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that ended are forgotten; a place that all have in common makes all of it void."""
    found: list[ByThread | Slot] = [
        ByThread({0x1000: 1, 0x2000: 2}, {}),
        ByThread({0x1000: 1, 0x3000: 3}, {}),
        Slot(0x318, 2),
    ]
    monkeypatch.setattr(follow, "find_threads", lambda *_: found.pop(0))
    world.came = [(TGID, STARTED, (mapped(PYTHON),))]
    follower.publish()
    assert world.slots == {TGID: (0, 1)}
    assert world.threads == {thread_key(TGID, 0x1000): 1, thread_key(TGID, 0x2000): 2}

    def missed() -> None:
        world.time_s += follow.LAST_LOOK_S
        follower.missed(TGID)
        follower.publish()

    missed()
    assert world.threads == {thread_key(TGID, 0x1000): 1, thread_key(TGID, 0x3000): 3}
    missed()
    assert world.slots == {TGID: (0x318, 0)}
    assert world.threads == {}
