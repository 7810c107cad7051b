"""Ways of doing the same thing, timed in turn (A B C, A B C ...), so that a shared host is fair."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

BATCH_NS = 20_000_000
"""A turn lasts about so long: a way that takes 0.1 ms is done many times in it."""

Progress = Callable[[int, int], None]
"""Told after each step: how many are done, of how many."""

# The kernel's word for "all that this process ran", in the lowest bits of a clock id made from a
# pid; clock_getcpuclockid(3) makes the same number. It is exact, /proc/PID/stat rounds to 10 ms.
_CPU_CLOCK_OF_PROCESS = 2


class Way(Protocol):
    """One way of doing it."""

    name: str

    def once(self) -> object:
        """Do it once."""

    def cpu_ns(self) -> int:
        """CPU time (user and system) used so far by all who take part, in ns."""


class Times(Struct):
    """What one way took, per time it was done, a value for each turn."""

    wall_ns: list[float] = []
    cpu_ns: list[float] = []


class Own:
    """A way whose work is all done by this process: `once` is the function given."""

    def __init__(self, name: str, once: Callable[[], object]) -> None:
        self.name = name
        self.once = once

    def cpu_ns(self) -> int:
        """User and system time of this process: what the kernel does in our calls is in it."""
        return time.process_time_ns()


def take_turns(ways: Sequence[Way], rounds: int, told: Progress) -> dict[str, Times]:
    """`rounds` turns of each way, one after the other; every way is tried once before, unmeasured.

    A turn is a batch of about 20 ms, so `rounds` values of a mean come out for each way.
    """
    batches = {way.name: _batch(way) for way in ways}
    times = {way.name: Times() for way in ways}
    for done in range(1, rounds + 1):
        for way in ways:
            wall_ns, cpu_ns = _turn(way, batches[way.name])
            times[way.name].wall_ns.append(wall_ns)
            times[way.name].cpu_ns.append(cpu_ns)
        told(done, rounds)
    return times


def cpu_of(pid: int) -> int:
    """User and system time of all threads of another process so far, in ns."""
    return time.clock_gettime_ns((~pid << 3) | _CPU_CLOCK_OF_PROCESS)


def _turn(way: Way, batch: int) -> tuple[float, float]:
    gc.collect()  # each way starts without another's litter; its own is collected in its time
    cpu, wall = way.cpu_ns(), time.perf_counter_ns()
    for _ in range(batch):
        way.once()
    wall_ns = time.perf_counter_ns() - wall
    return wall_ns / batch, (way.cpu_ns() - cpu) / batch


def _batch(way: Way) -> int:
    """How often to do it in one turn."""
    way.once()
    start = time.perf_counter_ns()
    way.once()
    return max(1, round(BATCH_NS / max(1, time.perf_counter_ns() - start)))
