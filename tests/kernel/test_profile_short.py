"""Processes that live for some milliseconds have whole stacks with names, as all others have."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.kernel.profiling import MOST_S
from tests.kernel.test_profile_processes import compiled

from cotenant.agent.profiler import Profiler, Wanted
from cotenant.kernel import cgroupfs
from cotenant.model import COMPLETE, Profile

pytestmark = pytest.mark.kernel

SHORT = r"""
#include <time.h>
static volatile unsigned long sum;

static double used(void)
{
	struct timespec at;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
	return at.tv_sec + at.tv_nsec / 1e9;
}
__attribute__((noinline)) void spin(void)
{
	for (int i = 0; i < 100000; i++)
		sum += i;
}
__attribute__((noinline)) void outer(void)
{
	spin();
	sum++;
}
int main(void)
{
	while (used() < 0.03)
		outer();
	return 0;
}
"""
LOOP = "while :; do {}; done"


def sampled(command: str, process: str, samples: int, cache: Path) -> list[Profile]:
    """Profiles of the host while a shell runs that over and over: so many samples of `process`."""
    found: list[Profile] = []
    with (
        Profiler(cgroupfs.find(Path("/")), Wanted(hz=199), lambda: [], cache) as profiler,
        ExitStack() as opened,
    ):
        while not profiler.prepare():
            pass
        profiler.start()
        poll = select.poll()
        poll.register(profiler.fileno(), select.POLLIN)
        words = ["sh", "-c", LOOP.format(command)]
        shell = opened.enter_context(subprocess.Popen(words, start_new_session=True))
        opened.callback(os.killpg, shell.pid, signal.SIGKILL)
        end = time.monotonic() + MOST_S
        due = time.monotonic() + 1
        while stacks(found, process).total() < samples:
            assert time.monotonic() < end, f"that took more than {MOST_S:.0f} s"
            poll.poll(100)
            time.sleep(0.02)
            profiler.step()
            if time.monotonic() >= due:
                due += 1
                found += profiler.take()
        profiler.stop()
        found += profiler.take()
    return found


def stacks(profiles: list[Profile], process: str) -> Counter[tuple[str, tuple[str, ...]]]:
    """How its stacks ended, and the names in them, with samples."""
    found: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for profile in profiles:
        for stack in profile.stacks:
            if stack.process == process:
                names = tuple(profile.frames[i].name for i in stack.frames)
                found[stack.end, names] += stack.count
    return found


@pytest.mark.claim
def test_a_process_of_30_ms_is_unwound_and_named(tmp_path, cache):
    program = compiled(tmp_path, "shorty", SHORT)
    met = stacks(sampled(program, "shorty", 600, cache), "shorty")
    whole = met.total()
    ends: Counter[str] = Counter()
    for (end, _), count in met.items():
        ends[end] += count
    # Most of them would be, were they not walked later; some are, while large binaries are read.
    assert ends["process not known yet"] <= 0.1 * whole, ends
    assert ends[COMPLETE] >= 0.85 * whole, ends
    named = sum(n for (_, names), n in met.items() if {"main", "outer", "spin"} <= {*names})
    assert named >= 0.8 * whole, met.most_common(5)
    for (end, names), _ in met.items():
        if end == COMPLETE and "spin" in names:
            own = names[names.index("main") :]
            assert own[:3] == ("main", "outer", "spin")
            assert names[0] == "_start"


@pytest.mark.slow
def test_a_compiler_that_runs_over_and_over_has_its_functions_named(tmp_path, cache):
    source = tmp_path / "small.c"
    source.write_text("#include <stdlib.h>\n#include <stdio.h>\nint main(void) { return 0; }\n")
    command = f"gcc -O1 -c {source} -o {tmp_path}/small.o"
    met = stacks(sampled(command, "cc1", 800, cache), "cc1")
    whole = met.total()
    unknown = sum(n for (end, _), n in met.items() if end == "process not known yet")
    assert unknown <= 0.1 * whole  # while cc1 itself is read for the first time
    assert any("toplev::main(int, char**)" in names for _, names in met)
