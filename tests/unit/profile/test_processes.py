"""Processes against a small world that tells what happens, late, and shows itself at any time."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotenant.kernel.maprecords import Exec, Exited, Forked, Lost, Mapped, Record, Renamed
from cotenant.profile.processes.known import FIRST_WAIT_NS, Processes, _asleep_ns
from cotenant.profile.processes.mappings import FILE, Mapping, put
from cotenant.profile.processes.maps import TICK_NS, Seen

PAGE = 0x1000
INIT = 1
SECOND_NS = 1_000_000_000


@dataclass
class Alive:
    started: int
    comm: str
    mappings: list[Mapping] = field(default_factory=list)


class World:
    """Processes as the kernel has them. Whatever happens takes a tick, and is told in `told`."""

    def __init__(self) -> None:
        self.time_ns = TICK_NS // 2
        self.told: list[Record] = []
        self.looks = 0
        self.alive = {INIT: Alive(self.tick(), "init")}

    def tick(self) -> int:
        self.time_ns += TICK_NS
        return (self.time_ns + _asleep_ns()) // TICK_NS

    # --- what happens

    def fork(self, parent: int, child: int) -> None:
        of = self.alive[parent]
        self.alive[child] = Alive(self.tick(), of.comm, list(of.mappings))
        self.told.append(Forked(self.time_ns, child, child, parent, parent))

    def thread(self, tgid: int) -> None:
        self.tick()
        self.told.append(Forked(self.time_ns, tgid, 1000, tgid, tgid))
        self.told.append(Exited(self.time_ns, tgid, 1000))

    def exec(self, tgid: int, comm: str) -> None:
        self.tick()
        self.alive[tgid].mappings, self.alive[tgid].comm = [], comm
        self.told.append(Exec(self.time_ns, tgid, comm))

    def map(self, tgid: int, page: int, pages: int, file: int) -> None:
        self.tick()
        shown = Mapping(page * PAGE, (page + pages) * PAGE, file * PAGE, f"/{file}", "", 1, file)
        put(self.alive[tgid].mappings, shown, most=1000)
        told = page * PAGE, pages * PAGE, file * PAGE, build_id(file), 0, 0, f"/{file}"
        self.told.append(Mapped(self.time_ns, tgid, tgid, *told))

    def unmap(self, tgid: int) -> None:
        self.tick()
        self.alive[tgid].mappings.pop()

    def exit(self, tgid: int) -> None:
        self.tick()
        del self.alive[tgid]
        self.told.append(Exited(self.time_ns, tgid, tgid))

    # --- what /proc shows

    def pids(self) -> list[int]:
        return list(self.alive)

    def look(self, tgid: int) -> Seen | None:
        self.looks += 1
        found = self.alive.get(tgid)
        return Seen(found.started, found.comm, list(found.mappings)) if found else None

    def started(self, tgid: int) -> int | None:
        return self.alive[tgid].started if tgid in self.alive else None

    def is_over(self, tgid: int, started: int) -> bool:
        return tgid not in self.alive or self.alive[tgid].started != started


def build_id(file: int) -> str:
    return f"{file:040x}"


def watched(world: World, **most: int) -> Processes:
    return Processes(world, lambda: world.time_ns, **most)


def apply(processes: Processes, world: World) -> None:
    told, world.told = world.told, []
    processes.apply(told)


def code(mappings: list[Mapping] | tuple[Mapping, ...]) -> dict[int, tuple[str, int]]:
    """File and offset of each page."""
    return {
        page: (each.path, each.pgoff + page - each.start)
        for each in mappings
        for page in range(each.start, each.end, PAGE)
    }


STEPS = st.tuples(
    st.sampled_from(
        "fork fork exec map map map map thread exit drain drain publish bury seed rescan".split()
    ),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 9),
)


class Run:
    """Takes steps in the world and in what watches it; keeps what was published, as the kernel's
    side does."""

    def __init__(self, **most: int) -> None:
        self.world = World()
        self.processes = watched(self.world, **most)
        self.processes.seed()
        self.published: dict[int, tuple[int, tuple[Mapping, ...]]] = {}
        self.publish()

    def step(self, what: str, one: int, other: int, number: int) -> None:
        tgid = sorted(self.world.alive)[one % len(self.world.alive)]
        if not self.happens(what, tgid, other + 2, number):
            self.follow(what, other + 2, number)

    def happens(self, what: str, tgid: int, child: int, number: int) -> bool:
        world = self.world
        match what:
            case "fork" if child not in world.alive:
                world.fork(tgid, child)
            case "exec":
                world.exec(tgid, f"program{number}")
            case "map":
                world.map(tgid, number, child, tgid)
            case "thread":
                world.thread(tgid)
            case "exit" if tgid != INIT:
                world.exit(tgid)
            case "unmap" if world.alive[tgid].mappings:
                world.unmap(tgid)
            case _:
                return False
        return True

    def follow(self, what: str, child: int, number: int) -> None:
        world, processes = self.world, self.processes
        match what:
            case "drain":
                apply(processes, world)
            case "lose" if world.told:
                del world.told[len(world.told) - len(world.told) * number // 10 :]
                world.told.append(Lost(world.time_ns, 1))
            case "publish":
                self.publish()
            case "bury":
                processes.bury(world.time_ns)
            case "seed":
                processes.seed()
            case "rescan":
                processes.rescan(child)

    def publish(self) -> None:
        for tgid in self.processes.gone():
            self.published.pop(tgid, None)
        for tgid, started, mappings in self.processes.changed():
            self.published[tgid] = started, mappings

    def settle(self) -> None:
        apply(self.processes, self.world)
        self.world.tick()
        self.processes.bury(self.world.time_ns)
        self.publish()

    def agree(self) -> None:
        """What was published is what is."""
        assert set(self.published) == set(self.world.alive)
        for tgid, alive in self.world.alive.items():
            started, mappings = self.published[tgid]
            assert started == alive.started
            assert code(mappings) == code(alive.mappings)
            assert self.processes.comm(tgid) == alive.comm
            for each in mappings:
                assert each.build_id in ("", build_id(int(each.path[1:])))


@given(st.lists(STEPS, max_size=60))
def test_whenever_it_is_told_and_looked_at_what_is_known_is_what_is(steps):
    run = Run()
    for step in steps:
        run.step(*step)
    run.settle()
    run.agree()
    assert (run.processes.lost, run.processes.unmapped) == (0, 0)
    assert run.processes.held <= sum(len(each.mappings) for each in run.world.alive.values())


LOSSES = st.tuples(st.sampled_from(["lose", "unmap"]), *[st.integers(0, 9)] * 3)


@given(st.lists(STEPS | LOSSES, max_size=60))
def test_after_losses_one_look_at_all_puts_everything_right(steps):
    run = Run()
    for step in steps:
        run.step(*step)
    apply(run.processes, run.world)
    run.world.tick()
    run.processes.seed()
    assert not run.processes.doubtful
    run.settle()
    run.agree()


@given(st.lists(STEPS | LOSSES, max_size=60))
def test_never_more_is_kept_than_may_be(steps):
    run = Run(most=3, most_mappings=3, most_in_all=5)
    for step in steps:
        run.step(*step)
        assert len(run.processes) <= 3
        assert 0 <= run.processes.held <= 5
    run.settle()
    assert all(len(mappings) <= 3 for _, mappings in run.published.values())
    everybody = run.world.alive
    for tgid, (started, _) in run.published.items():
        assert tgid not in everybody or started <= everybody[tgid].started
    complete = run.published.keys() >= everybody.keys() and all(
        code(run.published[tgid][1]) == code(everybody[tgid].mappings) for tgid in everybody
    )
    doubt = run.processes.doubtful or any(what == "unmap" for what, *_ in steps)
    assert complete or run.processes.unmapped or doubt


# --- one by one


@pytest.fixture
def world() -> World:
    return World()


def test_forks_share_what_they_have_until_one_maps_more(world):
    processes = watched(world)
    processes.seed()
    world.map(INIT, 0, 4, 1)
    for child in range(2, 52):
        world.fork(INIT, child)
    apply(processes, world)
    assert (len(processes), processes.held) == (51, 1)
    world.map(7, 9, 1, 2)
    apply(processes, world)
    assert processes.held == 3
    assert processes.mapping(7, 9 * PAGE) and not processes.mapping(8, 9 * PAGE)


def test_who_ended_is_remembered_until_buried(world):
    processes = watched(world)
    processes.seed()
    world.fork(INIT, 2)
    world.map(2, 0, 1, 3)
    world.exit(2)
    apply(processes, world)
    assert [tgid for tgid, _, _ in processes.changed()] == [INIT, 2]
    processes.bury(world.time_ns)
    assert processes.mapping(2, 0) and not list(processes.gone())
    world.tick()
    processes.bury(world.time_ns)
    assert not processes.mapping(2, 0) and list(processes.gone()) == [2]


def test_a_first_thread_that_ends_does_not_end_the_others(world):
    processes = watched(world)
    processes.seed()
    world.fork(INIT, 2)
    world.told.append(Exited(world.time_ns, 2, 2))
    apply(processes, world)
    for _ in range(3):
        world.tick()
        processes.bury(world.time_ns)
    world.map(2, 0, 1, 3)
    apply(processes, world)
    assert processes.mapping(2, 0)


def test_a_number_used_again_is_told_as_gone_then_as_changed(world):
    processes = watched(world)
    processes.seed()
    world.fork(INIT, 2)
    apply(processes, world)
    list(processes.changed())
    world.exit(2)
    world.fork(INIT, 2)
    apply(processes, world)
    assert list(processes.gone()) == [2]
    assert [(tgid, started) for tgid, started, _ in processes.changed()] == [
        (2, world.alive[2].started)
    ]


def test_build_ids_told_before_a_look_are_kept_and_those_told_of_before_it_are_taken(world):
    processes = watched(world)
    processes.seed()
    world.map(INIT, 0, 1, 3)
    processes.seed()  # the record is older than this look
    assert processes.mapping(INIT, 0) == Mapping(0, PAGE, 3 * PAGE, "/3", "", 1, 3)
    apply(processes, world)
    named = Mapping(0, PAGE, 3 * PAGE, "/3", build_id(3), 1, 3, FILE)
    assert processes.mapping(INIT, 0) == named
    world.tick()
    processes.seed()
    assert processes.mapping(INIT, 0) == named


def test_looks_that_do_not_help_grow_rare(world):
    processes = watched(world)
    processes.seed()
    begun_ns, looks = world.time_ns, world.looks
    at_ns: list[int] = []
    while world.time_ns < begun_ns + 2 * SECOND_NS:
        processes.rescan(INIT)
        if world.looks > looks:
            at_ns.append(world.time_ns - begun_ns)
            looks = world.looks
        world.time_ns += FIRST_WAIT_NS // 10
    waits = [late - early for early, late in itertools.pairwise(at_ns)]
    assert waits == [FIRST_WAIT_NS << n for n in (1, 2, 3)]


def test_a_look_that_helps_starts_anew(world):
    processes = watched(world)
    processes.seed()
    for _ in range(3):
        world.time_ns += SECOND_NS
        processes.rescan(INIT)
    world.map(INIT, 0, 1, 3)
    world.time_ns += SECOND_NS
    assert processes.rescan(INIT)
    world.map(INIT, 4, 1, 3)
    world.time_ns += FIRST_WAIT_NS
    assert processes.rescan(INIT)


def test_a_sample_puts_a_start_right(world):
    processes = watched(world)
    processes.seed()
    world.fork(INIT, 2)
    apply(processes, world)
    list(processes.changed())
    started = world.alive[2].started
    assert not processes.sighted(2, started)
    world.alive[2].started = started - 1  # its fork was told a tick late
    assert processes.sighted(2, started - 1)
    assert [(tgid, began) for tgid, began, _ in processes.changed()] == [(2, started - 1)]
    assert not processes.sighted(2, started - 50)  # a late sample of an earlier one
    assert processes.sighted(9, 5) is False


def test_a_rename_counts_for_the_first_thread_alone(world):
    processes = watched(world)
    processes.seed()
    processes.apply([Renamed(world.time_ns, INIT, 77, "worker")])
    assert processes.comm(INIT) == "init"
    processes.apply([Renamed(world.time_ns, INIT, INIT, "other")])
    assert processes.comm(INIT) == "other"


def test_losses_are_added_up(world):
    processes = watched(world)
    processes.apply([Lost(1, 3), Lost(2, 4)])
    assert processes.lost == 7 and processes.doubtful
