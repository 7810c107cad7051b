"""As many samples as were asked for, and as much time as was spent."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.kernel.metering import task_clock
from tests.kernel.profiling import VICTIMS, Profiled, Seen, have_run, victim

from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.kernel.perf import online_cpus
from cotenant.model import ProfileType
from cotenant.profile.read import Samples

pytestmark = pytest.mark.kernel

RATES = (1, 19, 99, 999)
BUSY = (
    "import os, sys; os.sched_setaffinity(0, [int(sys.argv[1])]); print(flush=True)\nwhile 1: pass"
)


def stolen_s() -> float:
    """What the hypervisor took of all CPUs: time without ticks."""
    ticks = int(Path("/proc/stat").read_text().splitlines()[0].split()[8])
    return ticks / os.sysconf("SC_CLK_TCK")


def test_every_busy_cpu_ticks_at_the_rate_asked_for(hierarchies: Hierarchies) -> None:
    """All rates at once: nobody disturbs the others."""
    cpus = online_cpus()
    made = [Samples(hierarchies, (ProfileType.CPU,), hz) for hz in RATES]
    with ExitStack() as stack:
        for cpu in cpus:
            stack.enter_context(victim(sys.executable, "-c", BUSY, str(cpu)))
        before = stolen_s()
        for each in made:
            each.start()
        time.sleep(5.0)
        for each in made:
            each.stop()
        stolen = stolen_s() - before
    for each in made:
        each.step()
        taken = each.take()
        each.close()
        counts = taken.counts
        ticks = counts.samples + counts.dropped + counts.idle + counts.busy
        wanted = each.hz * (taken.until_s - taken.since_s) * len(cpus)
        # One more or less for each CPU: a rate of 1 has no halves.
        off = max(0.03 * wanted, len(cpus))
        assert wanted - off - stolen * each.hz <= ticks <= wanted + off, (each.hz, stolen)


def test_a_process_has_the_time_that_it_ran(profiled: Profiled) -> None:
    """But for what is said to be lost, and what the hypervisor took."""
    with (
        victim("/usr/bin/python3", VICTIMS / "shares.py", "timed", "main") as one,
        task_clock(one.pid) as clock,
    ):
        until, ran, around = have_run(4.0, one.pid), list[int](), list[int]()
        stolen: list[float] = []

        def asked() -> bool:
            ran.append(clock())
            stolen.append(stolen_s())
            return until()

        profile = profiled(asked, around=lambda: around.append(clock()))
    value = Seen(profile, "timed").value
    missing = profile.lost.dropped * profile.period + (stolen[-1] - stolen[0]) * 1e9
    assert 0.97 * (ran[-1] - ran[0]) - missing <= value <= 1.03 * (around[-1] - around[0])
