"""What it costs to sense run-queue waits, per switch: the ways in turn, attached for a turn each.

The kernel's statistics charge each run of a program with two looks at the clock. Programs that do
nothing, attached at the same hooks in the same round, show that charge; it is taken off once for
every run of every program.
"""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from cotenant.bench import perf
from cotenant.bench.turns import Progress
from cotenant.errors import CotenantError
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.kernel.libbpf import Object
from cotenant.kernel.runs import Program, counted, program, programs_of
from cotenant.noise.programs import Level
from cotenant.noise.read import Noise

EMPTY_OBJECT = Path(__file__).parents[1] / "bpf" / "bench_empty.bpf.o"
OFF, EMPTY = "off", "empty"
SWITCH, WAKEUP = "sched_switch", "sched_wakeup"
HOOKS = {
    "sched_switch": SWITCH,
    "sched_wakeup": WAKEUP,
    "sched_wakeup_ne": "sched_wakeup_new",  # the kernel keeps 15 characters
    "sched_migrate": "sched_migrate_task",
    "switched": SWITCH,
    "moved": "sched_migrate_task",
    "handle_sched_sw": SWITCH,  # bcc's, where the kernel lacks tp_btf
    "handle_sched_wa": WAKEUP,
}
"""Hook by the name of the program: of ours, of the empty ones and of the peers'."""
RUNS = 3
"""Of a pipe in one turn, as a user feels it; one more is counted by the kernel."""
LEAST_SEEN = 0.8
"""Of the switches that a pipe's rounds make, a way that senses must have seen so many."""


class Sense(Struct, frozen=True):
    """A way while it is attached: its programs as they are now, and its maps' memory."""

    programs: Callable[[], Sequence[Program]]
    memory_bytes: int


class SenseWay(Protocol):
    """One way to sense: something to attach for a while."""

    name: str

    def attached(self) -> contextlib.AbstractContextManager[Sense]:
        """It senses while the block runs."""


class Ran(Struct, frozen=True):
    """How often a program at a hook ran, and the nanoseconds the kernel charged it."""

    hook: str
    runs: int
    ns: int


class Turn(Struct, frozen=True):
    """One turn of one way. `ran` is empty where nothing is attached."""

    usecs: float
    """Of one of the pipe's rounds: the median of the turn's runs."""
    ran: Sequence[Ran] = ()
    memory_bytes: int = 0


class Cost(Struct, frozen=True):
    """Nanoseconds per switch. `gross_ns` as the kernel charges; `net_ns` without empty programs."""

    net_ns: float
    switch_ns: float
    """The part of `net_ns` that programs at sched_switch take."""
    gross_ns: float


class Nothing:
    """Nothing is attached."""

    name = OFF

    @contextlib.contextmanager
    def attached(self) -> Iterator[Sense]:
        """Nothing."""
        yield Sense(list, 0)


class Empty:
    """A program that does nothing at every hook."""

    name = EMPTY

    @contextlib.contextmanager
    def attached(self) -> Iterator[Sense]:
        """Attached while the block runs."""
        before = {each.id for each in programs_of(os.getpid())}
        made = Object(EMPTY_OBJECT)
        try:
            made.load()
            for name in made.programs():
                made.attach(name)
            yield Sense(lambda: [p for p in programs_of(os.getpid()) if p.id not in before], 0)
        finally:
            made.close()


class Ours:
    """The noise sense at one level."""

    def __init__(self, hierarchies: Hierarchies, level: Level) -> None:
        self.name = f"cotenant {level.name.lower()}"
        self._hierarchies = hierarchies
        self._level = level

    @contextlib.contextmanager
    def attached(self) -> Iterator[Sense]:
        """Attached while the block runs. Raises NoBpf where this kernel does not have it."""
        with Noise(self._hierarchies, self._level) as noise:
            yield Sense(lambda: [program(fd) for _, fd in noise.programs], noise.memory_bytes)


def hooked(programs: Sequence[Program]) -> list[Ran]:
    """Those of the programs that sit at a scheduler's hook."""
    return [Ran(HOOKS[p.name], p.runs, p.ns) for p in programs if p.name in HOOKS]


def take_turn(way: SenseWay, cpu: int, times: int) -> Turn:
    """Runs of a pipe: some to see what a user feels, one with the kernel's statistics on.

    Raises CotenantError where what is attached did not see the switches.
    """
    with way.attached() as sense:
        usecs = statistics.median(perf.pipe(cpu, times) for _ in range(RUNS))
        if way.name == OFF:
            return Turn(usecs)
        with counted():
            before = hooked(sense.programs())
            perf.pipe(cpu, times)
            after = hooked(sense.programs())
    ran = [Ran(a.hook, a.runs - b.runs, a.ns - b.ns) for b, a in zip(before, after, strict=True)]
    seen = max((each.runs for each in ran if each.hook == SWITCH), default=0)
    if seen < LEAST_SEEN * 2 * times:
        raise CotenantError(f"{way.name} saw {seen} of {2 * times} switches.")
    return Turn(usecs, ran, sense.memory_bytes)


def take_turns(
    ways: Sequence[SenseWay],
    rounds: int,
    cpu: int,
    times: int,
    told: Progress,
    failed: Callable[[str, CotenantError], None],
) -> dict[str, list[Turn]]:
    """`rounds` turns of each way, one after the other. A way that fails is told and left out."""
    turns: dict[str, list[Turn]] = {way.name: [] for way in ways}
    for done in range(1, rounds + 1):
        for way in ways:
            if way.name not in turns:
                continue
            try:
                turns[way.name].append(take_turn(way, cpu, times))
            except CotenantError as error:
                if way.name in (OFF, EMPTY):
                    raise
                del turns[way.name]
                failed(way.name, error)
        told(done, rounds)
    return turns


def charges(empty: Sequence[Ran]) -> dict[str, float]:
    """What the kernel charges a run that does nothing, by hook, in ns.

    A hook that was not met in this turn is taken to charge what a switch does.
    """
    found = {each.hook: each.ns / each.runs for each in empty if each.runs}
    return {hook: found.get(hook, found[SWITCH]) for hook in HOOKS.values()}


def cost(ran: Sequence[Ran], charge: Mapping[str, float]) -> Cost:
    """All that a way's programs cost, divided by the switches that it saw.

    In a pipe's rounds every switch has its wake-up, so that is the cost of one of each. A rare
    program (a new task, a move) counts by how often it ran.
    """
    switches = max(each.runs for each in ran if each.hook == SWITCH)
    net = {hook: 0.0 for hook in charge}
    for each in ran:
        net[each.hook] += each.ns - each.runs * charge[each.hook]
    return Cost(
        sum(net.values()) / switches,
        net[SWITCH] / switches,
        sum(each.ns for each in ran) / switches,
    )


def median_cost(turns: Sequence[Turn], empties: Sequence[Turn]) -> Cost:
    """The median of the rounds, each netted with the empty programs of its own round."""
    costs = [cost(turn.ran, charges(empty.ran)) for turn, empty in zip(turns, empties, strict=True)]
    return Cost(
        statistics.median(each.net_ns for each in costs),
        statistics.median(each.switch_ns for each in costs),
        statistics.median(each.gross_ns for each in costs),
    )
