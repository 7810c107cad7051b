"""CPU time, throttling and tasks against the kernel's own books."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
from tests.kernel.conftest import Cgroup, within
from tests.kernel.metering import (
    SLEEP,
    SPIN,
    at_rest,
    booked_ns,
    metering,
    of,
    task_clock,
    tenant,
)

from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.model import Sample

LOAD_S = 10


@pytest.mark.any_kernel
@pytest.mark.claim
def test_cpu_is_within_one_percent_of_the_cgroups_own_books(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> None:
    group = cgroup("/ct-cpu")
    who = tenant(hierarchies, group.path)
    group.spawn(*SPIN)
    with metering(hierarchies) as meter:

        def look() -> tuple[int, Sample, int]:
            """The books before it and after it: it runs on between the three."""
            return booked_ns(group), of(meter.collect((who,)), who), booked_ns(group)

        before_first, first, after_first = look()
        assert within(LOAD_S * 6, lambda: booked_ns(group) - after_first > LOAD_S * 1e9 * 0.2), (
            "the load did not run"
        )
        time.sleep(LOAD_S * 0.8)
        before_last, last, after_last = look()
    assert first.cpu and last.cpu
    used = last.cpu.usage_ns - first.cpu.usage_ns
    least, most = before_last - after_first, after_last - before_first
    assert least * 0.99 <= used <= most * 1.01
    assert last.cpu.user_ns is not None and last.cpu.system_ns is not None
    assert last.cpu.user_ns + last.cpu.system_ns == last.cpu.usage_ns


@pytest.mark.any_kernel
@pytest.mark.claim
def test_the_slice_that_still_runs_is_counted(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> None:
    """Against perf's task clock, which tells the running slice and books nothing by being read.

    Without that slice a look lags by half a tick: 2 ms at 250 Hz. Most looks must lie between the
    clock before and the clock after, to a quarter of that. How far the books are from the clock is
    known while the victim is stopped, before and after each look: perf also counts what a
    hypervisor stole, the books do not.
    """
    group = cgroup("/ct-slice")
    process = group.spawn(*SPIN)
    who = tenant(hierarchies, group.path, process.pid)
    lags = []
    with metering(hierarchies) as meter, task_clock(process.pid) as clock:

        def used() -> int:
            cpu = of(meter.collect((who,)), who).cpu
            assert cpu
            return cpu.usage_ns

        def ahead() -> int:
            process.send_signal(signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
            return used() - clock()

        time.sleep(0.3)
        at_start = ahead()
        for _ in range(60):
            process.send_signal(signal.SIGCONT)
            time.sleep(0.0137)
            before, seen, after = clock(), used(), clock()
            at_end = ahead()
            least, most = sorted((at_start, at_end))
            lags.append(max(before + least - seen, seen - after - most, 0))
            at_start = at_end
    lags.sort()
    assert lags[len(lags) // 2] < 500_000, f"half of the looks are {lags[30]} ns off or more"


@pytest.mark.any_kernel
@pytest.mark.claim
def test_throttling_equals_cpu_stat(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> None:
    group = cgroup("/ct-throttle")
    tree = hierarchies.of("cpu")
    assert tree
    directory = tree.directory(group.path)
    if tree.version == 1:
        (directory / "cpu.cfs_quota_us").write_text("20000")
        (directory / "cpu.shares").write_text("512")
    else:
        (directory / "cpu.max").write_text("20000 100000")
        (directory / "cpu.weight").write_text("50")
    process = group.spawn(*SPIN)
    who = tenant(hierarchies, group.path)

    def books() -> dict[str, str]:
        lines = (directory / "cpu.stat").read_text().splitlines()
        return dict(line.split() for line in lines)

    assert within(60, lambda: int(books()["nr_throttled"]) > 5)
    process.kill()
    process.wait()
    with metering(hierarchies) as meter:
        # The timer of its quota runs out some periods later.
        throttle, stat = at_rest(books, lambda: of(meter.collect((who,)), who).throttle)
    assert throttle
    assert (throttle.quota_us, throttle.period_us, throttle.shares) == (20000, 100000, 512)
    assert throttle.periods == int(stat["nr_periods"])
    assert throttle.throttled_periods == int(stat["nr_throttled"])
    booked = (
        int(stat["throttled_time"]) if tree.version == 1 else int(stat["throttled_usec"]) * 1000
    )
    assert throttle.throttled_ns // 1000 == booked // 1000


@pytest.mark.any_kernel
@pytest.mark.claim
def test_tasks_are_counted_with_those_of_the_cgroups_below(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> None:
    outer = cgroup("/ct-pids")
    inner = cgroup("/ct-pids/inner")
    for _ in range(3):
        inner.spawn(*SLEEP)
    tree = hierarchies.of("pids")
    assert tree
    (tree.directory(outer.path) / "pids.max").write_text("77")
    who = tenant(hierarchies, outer.path)
    with metering(hierarchies) as meter:
        pids = of(meter.collect((who,)), who).pids
    assert pids
    assert (pids.current, pids.limit) == (3, 77)
