"""The product as processes: the agent at one sample a second, and `cotenant metrics` once."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from cotenant.bench.form import Bar, Row, bar, rounded
from cotenant.bench.turns import Progress, cpu_of
from cotenant.errors import CotenantError

MOST_CORE_PERCENT = 0.5
MOST_RSS_MB = 60.0
MOST_START_S = 0.5
READY_SECONDS = 30.0
SETTLE_SECONDS = 5
SCRAPES = 20
END_SECONDS = 10
ONCE_SECONDS = 60


class Agent(Struct, frozen=True):
    """A running agent."""

    pid: int
    port: int

    def get(self, path: str) -> bytes:
        """What it answers. Raises OSError or HTTPException when it does not."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            said = response.read()
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise http.client.HTTPException(f"{path}: {response.status}")
        return said

    def rss_mb(self) -> float:
        """Resident memory, in MB."""
        found = re.search(r"VmRSS:\s*(\d+)", Path(f"/proc/{self.pid}/status").read_text())
        return int(found[1]) * 1024 / 1e6 if found else 0.0


@contextlib.contextmanager
def running_agent(profiling: bool = True) -> Iterator[Agent]:
    """An agent of our own on a free port and a socket of its own; ended when the block is left.

    Raises CotenantError, with its last words, when it does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="cotenant-bench-") as folder:
        port = _free_port()
        config = _config(folder, port, profiling)
        with Path(folder, "log").open("w+b") as log:
            process = subprocess.Popen(
                [*command(), "agent", "--config", str(config)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
            try:
                agent = Agent(process.pid, port)
                _wait_until_ready(process, agent, Path(folder, "log"))
                yield agent
            finally:
                _end(process)


def measure_agent(tenants: int, seconds: int, told: Progress) -> tuple[list[Row], list[Bar]]:
    """The agent's CPU time and memory over `seconds`, unscraped; then what a scrape costs it.

    Metering and noise alone: what profiling takes besides is told by `bench profile`.
    """
    with running_agent(profiling=False) as agent:
        time.sleep(SETTLE_SECONDS)  # its first samples pay for names and modules
        start, cpu = time.perf_counter_ns(), cpu_of(agent.pid)
        for second in range(1, seconds + 1):
            time.sleep(1)
            told(second, seconds)
        percent = (cpu_of(agent.pid) - cpu) / (time.perf_counter_ns() - start) * 100
        rss_mb = agent.rss_mb()
        scrape_ms = _scrapes_ms(agent)
    row: Row = {
        "part": "agent",
        "tenants": tenants,
        "seconds": seconds,
        "core_percent": rounded(percent),
        "rss_mb": rounded(rss_mb),
        "scrape_of_a_rendered_page_cpu_ms": rounded(scrape_ms),
    }
    what = f"agent at 1 Hz, {tenants} idle tenants"
    return [row], [
        bar(what, percent, "% of a core", "<=", MOST_CORE_PERCENT),
        bar(what, rss_mb, "MB resident", "<=", MOST_RSS_MB),
    ]


def measure_start(turns: int, told: Progress) -> tuple[Row, Bar]:
    """`cotenant metrics` from start to end, sensing by itself; the median of so many runs."""
    walls = []
    with tempfile.TemporaryDirectory(prefix="cotenant-bench-") as folder:
        words = [*command(), "metrics", "--config", str(_config(folder, 0))]
        for turn in range(1, turns + 1):
            walls.append(_wall_s(words))
            told(turn, turns)
    row: Row = {
        "part": "metrics once",
        "what": "cotenant metrics, start to end",
        "wall_s": rounded(statistics.median(walls)),
        "slowest_s": rounded(max(walls)),
        "turns": turns,
    }
    median = statistics.median(walls)
    return row, bar("`cotenant metrics` from start to end", median, "s", "<=", MOST_START_S)


def _wall_s(words: list[str]) -> float:
    start = time.perf_counter()
    done = subprocess.run(words, capture_output=True, check=False, timeout=ONCE_SECONDS)
    wall_s = time.perf_counter() - start
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise CotenantError(f"`cotenant metrics` ends with {done.returncode}: {' '.join(last)}")
    return wall_s


def command() -> list[str]:
    """What a user types; `cotenant` stands beside the interpreter it was installed for."""
    installed = Path(sys.executable).with_name("cotenant")
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "cotenant"]


def _config(folder: str, port: int, profiling: bool = True) -> Path:
    """Settings under which no other agent is met: a port, a socket and profiles of our own."""
    file = Path(folder, "agent.toml")
    file.write_text(
        f'http = "127.0.0.1:{port}"\nsocket = "{folder}/agent.sock"\n'
        f'[profile]\ndirectory = "{folder}/profiles"\nenabled = {str(profiling).lower()}\n'
    )
    return file


def _scrapes_ms(agent: Agent) -> float:
    """CPU time of one scrape of many within one sample: rendering is not in it, if it is once."""
    agent.get("/metrics")
    cpu = cpu_of(agent.pid)
    for _ in range(SCRAPES):
        agent.get("/metrics")
    return (cpu_of(agent.pid) - cpu) / SCRAPES / 1e6


def _wait_until_ready(process: subprocess.Popen[bytes], agent: Agent, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            agent.get("/-/ready")
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)
            continue
        return
    last = log.read_text(errors="replace").strip().splitlines()[-1:]
    raise CotenantError(f"The agent does not come up: {' '.join(last) or 'it says nothing'}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
