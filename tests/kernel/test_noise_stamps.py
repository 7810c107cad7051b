"""Stamps of the kernel that are wrong are no waits."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.kernel.conftest import Cgroup
from tests.kernel.metering import tenant

from cotenant.buckets import BOUNDS_S
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.noise.read import Noise

CPUS = sorted(os.sched_getaffinity(0))[-2:]
WORK_S, SLEEP_S = 0.03, 1.0
MOVED_S = 6
PAUSE_S = 0.0003
"""Between two moves: a delayed dequeue lasts as long as the others' share, some ms."""


@contextmanager
def child(what: Callable[[], None], group: Cgroup | None = None) -> Iterator[int]:
    """A child of this process that does one thing until it is killed."""
    pid = os.fork()
    if not pid:
        try:
            if group:
                group.add(os.getpid())
            while True:
                what()
        finally:
            os._exit(1)
    try:
        yield pid
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


@contextmanager
def at_once() -> Iterator[None]:
    """This process gets a CPU whenever it wants one."""
    os.setpriority(os.PRIO_PROCESS, 0, -19)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, 0)


def spin() -> None:
    end = time.monotonic() + WORK_S
    while time.monotonic() < end:
        pass


def spin_and_sleep() -> None:
    spin()
    time.sleep(SLEEP_S)


@pytest.mark.kernel
def test_the_sleep_of_a_task_that_is_moved_as_it_goes_to_sleep_is_no_wait(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> None:
    """Since 6.12 such a task keeps its place in the queue for some ms if it had more than its share
    of its group's time; moved in these, it gets a stamp and sleeps on it, and /proc/PID/schedstat
    jumps by a second at a time. Here moves come closer together than that.
    """
    group = cgroup("/cotenant-test-asleep")
    rivals = cgroup(f"{group.path}/rivals")
    who, whom = tenant(hierarchies, group.path), tenant(hierarchies, rivals.path)
    with (
        Noise(hierarchies) as noise,
        child(lambda: hog_on(CPUS[0]), rivals),
        child(lambda: hog_on(CPUS[-1]), rivals),
        child(spin_and_sleep, group) as pid,
        at_once(),
    ):
        noise.collect((who, whom))
        end, turn = time.monotonic() + MOVED_S, 0
        while time.monotonic() < end:
            turn += 1
            os.sched_setaffinity(pid, {CPUS[turn % len(CPUS)]})
            time.sleep(PAUSE_S)
        waited = noise.collect((who, whom)).waited[who.key]
    as_long_as_a_sleep = [
        count for bound, count in zip(BOUNDS_S, waited.buckets[1:], strict=True)
        if bound > SLEEP_S * 0.8
    ]  # fmt: skip
    assert waited.waits > MOVED_S / (SLEEP_S + WORK_S) / 2
    # One that the hypervisor made so long is a wait: what it took is known.
    assert sum(as_long_as_a_sleep) <= (waited.steal_ns or 0) / (SLEEP_S * 0.8e9)


def hog_on(cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    spin()
