"""The agent with profiling on, beside many processes of Python."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator

from cotenant.bench.daemon import running_agent
from cotenant.bench.form import Result, bar, rounded
from cotenant.bench.profiling.victims import DEBIAN_PYTHON
from cotenant.bench.turns import Progress, cpu_of
from cotenant.kernel.runs import map_bytes_of

MOST_MB = 150.0
SETTLE_SECONDS = 20
"""Tables of all that runs are made, and a first window is named."""
_SLEEPS = "import json, re, time; time.sleep(2147483647)"


@contextlib.contextmanager
def sleepers(number: int, told: Progress) -> Iterator[None]:
    """So many processes of the system's Python that sleep, gone with the block."""
    started: list[subprocess.Popen[bytes]] = []
    words = ["setpriv", "--pdeathsig", "KILL", DEBIAN_PYTHON, "-I", "-S", "-c", _SLEEPS]
    try:
        for done in range(1, number + 1):
            started.append(subprocess.Popen(words, stdin=subprocess.DEVNULL))
            told(done, number)
        yield
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


def measure(processes: int, working: int, seconds: int, told: Progress, result: Result) -> None:
    """A row and a bar: memory of the agent and of its maps, and its CPU over `seconds`."""
    with running_agent() as agent:
        time.sleep(SETTLE_SECONDS)
        began, cpu = time.perf_counter_ns(), cpu_of(agent.pid)
        rss_mb = 0.0
        for second in range(1, seconds + 1):
            time.sleep(1)
            rss_mb = max(rss_mb, agent.rss_mb())
            told(second, seconds)
        percent = (cpu_of(agent.pid) - cpu) / (time.perf_counter_ns() - began) * 100
        maps_mb = map_bytes_of(agent.pid) / 1e6
    result.rows.append(
        {
            "part": "agent with profiling",
            "processes": processes + working,
            "working": working,
            "seconds": seconds,
            "core_percent": rounded(percent),
            "rss_mb": rounded(rss_mb),
            "map_mb": rounded(maps_mb),
            "mb": rounded(rss_mb + maps_mb),
        }
    )
    what = f"agent with profiling on, {processes} idle processes, kernel memory included"
    result.bars.append(bar(what, rss_mb + maps_mb, "MB", "<=", MOST_MB))
