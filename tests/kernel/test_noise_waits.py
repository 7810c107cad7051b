"""Waits against the kernel's own books of the same tasks, and who is blamed for them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

import pytest
from tests.kernel.conftest import Cgroup, within
from tests.kernel.metering import tenant
from tests.kernel.waiting import (
    CPUS,
    Bench,
    Window,
    Worker,
    books_of,
    hog,
    may_be_unknown,
    ns,
    sleeper,
    whole,
)

from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.model import Tenant
from cotenant.noise.blame import delays
from cotenant.noise.read import Noise

WAITS = 1500
"""Of the sleeper. Each is mostly due to one of the two hogs, as with a coin: so many leave a
standard error of 0.013 in a hog's share of them (0.5 / sqrt(1500)); 0.05 is nearly four of these.
"""


def agrees_with_the_kernel(window: Window, who: Tenant, *workers: Worker) -> None:
    """Waits, parts, run time and switches of a tenant that consists of these workers."""
    delay, booked = window.of(who), window.by(*workers)
    assert whole(delay) == delay.waited_ns, "the parts are not the whole"
    assert sum(delay.buckets) == delay.waits
    assert delay.waited_ns == pytest.approx(booked.waited_ns, rel=0.01, abs=1e6)
    assert delay.ran_ns == pytest.approx(booked.ran_ns, rel=0.01, abs=1e6)
    assert delay.waits == pytest.approx(booked.slices, rel=0.01, abs=len(workers))
    assert delay.voluntary == pytest.approx(booked.voluntary, rel=0.01, abs=2)
    assert delay.involuntary == pytest.approx(booked.involuntary, rel=0.01, abs=2)


@pytest.mark.any_kernel
@pytest.mark.claim
def test_two_hogs_and_a_sleeper_on_one_cpu(bench: Bench) -> None:
    """Blame splits evenly, its parts are the whole, and the whole is what the kernel says."""
    groups = [bench.group(f"/ct-noise-{name}") for name in ("a", "b", "v")]
    a, b, v = (
        bench.start(group, what)
        for (group, _), what in zip(groups, (hog, hog, sleeper()), strict=True)
    )
    time.sleep(0.2)
    (_, hog_a), (_, hog_b), (_, victim) = groups

    def enough() -> None:
        last = books_of(v.pid).slices + WAITS
        assert within(120, lambda: books_of(v.pid).slices >= last), "it hardly ever waits"

    window = bench.window(0, meanwhile=enough)
    for who, worker in ((hog_a, a), (hog_b, b), (victim, v)):
        agrees_with_the_kernel(window, who, worker)
        assert ns(window.of(who), "unknown") <= may_be_unknown(window, who)
        assert ns(window.of(who), "throttled") == 0
    one, other = ns(window.of(hog_a), hog_b), ns(window.of(hog_b), hog_a)
    assert one == pytest.approx(other, rel=0.05)
    taken = ns(window.of(hog_a), "steal")
    assert one == pytest.approx(window.of(hog_b).ran_ns, rel=0.05, abs=taken), "A waits for B"
    first, second = (ns(window.of(victim), hog) for hog in (hog_a, hog_b))
    assert first / (first + second) == pytest.approx(0.5, abs=0.05)
    assert window.lost.backwards == window.lost.unseated == 0


@pytest.mark.any_kernel
@pytest.mark.claim
def test_tasks_moved_between_cpus_while_they_wait(bench: Bench) -> None:
    """Each part of a wait is blamed where it was spent, and no part is lost or told twice."""
    groups = [bench.group(f"/ct-moved-{i}") for i in range(3)]
    tossed = [bench.start(group, hog) for group, _ in groups for _ in range(2)]

    def toss() -> None:
        end = time.monotonic() + 4
        for turn in itertools.count():
            if time.monotonic() > end:
                break
            for i, worker in enumerate(tossed):
                worker.pin({CPUS[(turn + i) % len(CPUS)]})
            time.sleep(0.003)

    window = bench.window(4, meanwhile=toss)
    for (_, who), workers in zip(groups, zip(tossed[::2], tossed[1::2], strict=True), strict=True):
        agrees_with_the_kernel(window, who, *workers)
        assert ns(window.of(who), "unknown") <= may_be_unknown(window, who)


@pytest.mark.any_kernel
@pytest.mark.claim
def test_more_hogs_than_cpus_that_the_kernel_balances(bench: Bench) -> None:
    groups = [bench.group(f"/ct-balanced-{i}") for i in range(3)]
    workers = [bench.start(group, hog, CPUS) for group, _ in groups for _ in range(2)]
    window = bench.window(4)
    for (_, who), pair in zip(groups, zip(workers[::2], workers[1::2], strict=True), strict=True):
        agrees_with_the_kernel(window, who, *pair)
        assert ns(window.of(who), "unknown") <= may_be_unknown(window, who)


def test_of_waits_that_were_under_way_the_parts_are_the_whole(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> None:
    """Tasks are moved time and again while they wait, and what they waited before is not known."""
    group = cgroup("/ct-under-way")
    who = tenant(hierarchies, group.path)
    tossed = [Worker(group, hog, CPUS) for _ in range(8)]
    over = threading.Event()

    def toss() -> None:
        for turn in itertools.count():
            for i, worker in enumerate(tossed):
                worker.pin({CPUS[(turn + i) % len(CPUS)]})
            if over.wait(0.001):
                return

    tossing = threading.Thread(target=toss)
    tossing.start()
    try:
        for _ in range(5):
            with Noise(hierarchies) as noise:
                time.sleep(0.3)
                for act in (Worker.stop, Worker.rest):
                    for worker in tossed:
                        act(worker)
                told = noise.collect((who,))
            for worker in tossed:
                worker.go()
            delay = next(d for d in delays(told, None) if d.tenant == who)
            assert told.lost.carried > 0, "nobody was moved while it waited"
            assert delay.waits > 10
            assert whole(delay) == delay.waited_ns
    finally:
        over.set()
        tossing.join()
        for worker in tossed:
            worker.kill()
