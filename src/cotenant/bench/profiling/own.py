"""Our own line, turned as the agent turns it: what a sample costs in the kernel and beside it.

Each turn opens a profiler anew, makes its tables, samples a first window, which pays for all names,
then the window that is measured.
"""

from __future__ import annotations

import os
import select
import statistics
import time
from collections.abc import Sequence

from msgspec import Struct

from cotenant.agent.profiler import LEAST_S, Profiler, Wanted, cache_directory
from cotenant.bench.form import Row, rounded
from cotenant.bench.profiling.ticks import Ticked, Ticks
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.kernel.memory import keep
from cotenant.kernel.perf import online_cpus
from cotenant.kernel.runs import Program, counted, programs_of
from cotenant.model import COMPLETE, Tenant

PART = "a sample of ours"
PROGRAM = "ticked"
"""Of ours, the one that runs at each tick."""
PREPARE_SECONDS = 20.0


class What(Struct, frozen=True):
    """What is sampled: no tenants, the whole host."""

    name: str
    hz: int
    tenants: tuple[Tenant, ...] | None = None


class Window(Struct, frozen=True):
    """One window, watched from all sides.

    told    runs of our program that took a sample, and their ns as it times itself
    kernel  runs of the same program and their ns as the kernel counts them, idle ticks included
    ticked  ticks of the clock, and all that the kernel did in them
    """

    seconds: float
    samples: int
    whole: int
    user_ns: int
    told: Ticked
    kernel: Ticked
    ticked: Ticked


class Turn(Struct, frozen=True):
    """What one opening took: tables, first window, the measured one, and memory of the maps."""

    tables_s: float
    first: Window
    steady: Window
    memory_bytes: int


def take_turn(
    hierarchies: Hierarchies,
    what: What,
    everybody: Sequence[Tenant],
    ticks: Ticks,
    seconds: float,
) -> Turn:
    """Opens a profiler, samples two windows. Raises NoBpf where the kernel refuses it."""
    wanted = Wanted(hz=what.hz, tenants=what.tenants)
    with Profiler(hierarchies, wanted, lambda: everybody, cache_directory()) as profiler:
        began = time.thread_time()
        deadline = time.monotonic() + PREPARE_SECONDS
        while not profiler.prepare() and time.monotonic() < deadline:
            continue
        tables_s = time.thread_time() - began
        keep()
        ticks.follow(os.getpid())
        profiler.start()
        with counted():
            first = _window(profiler, ticks, seconds)
            steady = _window(profiler, ticks, seconds)
        return Turn(tables_s, first, steady, profiler.memory_bytes)


def _window(profiler: Profiler, ticks: Ticks, seconds: float) -> Window:
    poll = select.poll()
    poll.register(profiler.fileno(), select.POLLIN)
    told, kernel, ticked = _told(profiler), _counted(), ticks.read()
    sampled, cpu, began = profiler.sampled, time.thread_time_ns(), time.monotonic()
    while time.monotonic() < began + seconds:
        poll.poll(profiler.pause_s * 1000)
        profiler.step()
        time.sleep(LEAST_S)
    (profile,) = profiler.take()
    ends = profile.ends
    return Window(
        seconds=time.monotonic() - began,
        samples=profiler.sampled - sampled,
        whole=ends.get(COMPLETE, 0),
        user_ns=time.thread_time_ns() - cpu,
        told=_told(profiler).since(told),
        kernel=_counted().since(kernel),
        ticked=ticks.read().since(ticked),
    )


def _told(profiler: Profiler) -> Ticked:
    costs = profiler.costs()
    return Ticked(sum(cost.runs for cost in costs), sum(cost.ns for cost in costs))


def _counted() -> Ticked:
    programs: list[Program] = [p for p in programs_of(os.getpid()) if p.name == PROGRAM]
    return Ticked(sum(p.runs for p in programs), sum(p.ns for p in programs))


def row(what: What, turns: Sequence[Turn]) -> Row:
    """What its turns come to: medians per sample, and the share of each CPU that all of it took."""
    cpus = len(online_cpus())
    took = [turn.steady for turn in turns if turn.steady.samples]

    def median(values: list[float]) -> float | None:
        return rounded(statistics.median(values)) if values else None

    return {
        "part": PART,
        "what": what.name,
        "hz": what.hz,
        "kernel_us": median([w.told.ns / w.told.runs / 1e3 for w in took if w.told.runs]),
        "counted_us": median([w.kernel.ns / w.samples / 1e3 for w in took]),
        "tick_us": median([w.ticked.ns / w.ticked.runs / 1e3 for w in took if w.ticked.runs]),
        "user_us": median([w.user_ns / w.samples / 1e3 for w in took]),
        "first_user_us": median(
            [t.first.user_ns / t.first.samples / 1e3 for t in turns if t.first.samples]
        ),
        "tables_ms": median([turn.tables_s * 1e3 for turn in turns]),
        "each_cpu_percent": median(
            [(w.ticked.ns + w.user_ns) / (w.seconds * 1e9 * cpus) * 100 for w in took]
        ),
        "whole_percent": median([w.whole / w.samples * 100 for w in took]),
        "samples": sum(w.samples for w in took),
        "map_mb": rounded(turns[-1].memory_bytes / 1e6),
        "turns": len(turns),
    }
