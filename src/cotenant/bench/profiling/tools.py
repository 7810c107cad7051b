"""One turn of a profiler: started, left to settle, watched for a while, ended, and read.

All are measured alike: as processes, by what they and their children used of the CPU, and by what
the kernel did at their ticks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

from msgspec import Struct

from cotenant.bench.profiling.judge import Seen
from cotenant.bench.profiling.ticks import Ticked, Ticks
from cotenant.bench.profiling.victims import Victim
from cotenant.bench.turns import cpu_of
from cotenant.errors import CotenantError, HostCannot

SETTLE_SECONDS = 3.0
START_SECONDS = 60.0
END_SECONDS = 60.0
READ_SECONDS = 120.0
ENDED = (0, -signal.SIGINT, 128 + signal.SIGINT, 256 - signal.SIGINT)
"""How programs end by Ctrl-C: well, or telling so in one of these ways."""
NOTHING = Ticked(0, 0)


class Stage(Struct, frozen=True):
    """Where a turn is played: whom to sample, how often and how long, and a folder for output."""

    victims: Sequence[Victim]
    hz: int
    seconds: float
    ticks: Ticks
    folder: Path


class Watched(Struct, frozen=True):
    """What a profiler's processes took: ns of CPU while sampling steadily, and then to their end.

    `ticked` is the kernel's part in the same time; nothing for those that have no clock there.
    `ran_s` is how long it sampled in all.
    """

    seconds: float
    ran_s: float
    steady_ns: int
    end_ns: int
    ticked: Ticked


class Took(Struct, frozen=True):
    """A turn. `told`: all samples of it, `seen`: those of each program that was to be profiled."""

    watched: Watched
    read_ns: int
    told: int
    seen: Mapping[str, Seen]
    bytes: int


class Tool(Protocol):
    """A profiler."""

    name: str

    def turn(self, stage: Stage) -> Took:
        """Samples once. Raises CotenantError where it does not work."""


def watch(commands: Sequence[Sequence[str]], stage: Stage, clocked: bool) -> Watched:
    """Runs a profiler's processes until each was watched, then ends them as Ctrl-C does.

    `clocked`: it samples by ticks, and is steady some time after the first. Raises CotenantError,
    with its last words, where one ends by itself or with an error.
    """
    with contextlib.ExitStack() as opened:
        log = opened.enter_context(tempfile.TemporaryFile())
        began = time.monotonic()
        running = [opened.enter_context(_started(words, stage.folder, log)) for words in commands]
        if clocked:
            began = _wait_for_ticks(running[0], stage.ticks, log)
        time.sleep(SETTLE_SECONDS)
        cpu, ticked, steady = _cpu(running, log), stage.ticks.read(), time.monotonic()
        time.sleep(stage.seconds)
        seconds = time.monotonic() - steady
        after = _cpu(running, log)
        ticked = stage.ticks.read().since(ticked) if clocked else NOTHING
        ran_s = time.monotonic() - began
        for process in running:
            os.kill(process.pid, signal.SIGINT)  # it is ours to wait for, so the number is its own
        used = sum(_ended(process, log) for process in running)
        return Watched(seconds, ran_s, after - cpu, max(0, used - after), ticked)


def read(words: Sequence[str], target: Path) -> int:
    """Runs what makes a profiler's output readable, into `target`; ns of CPU that it took."""
    with target.open("wb") as made, tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=made, stderr=log, env=_environment()
        )
        try:
            return _ended(process, log, READ_SECONDS)
        finally:
            _kill(process)


@contextlib.contextmanager
def _started(
    words: Sequence[str], folder: Path, log: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    alone = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"]
    try:
        process = subprocess.Popen(
            [*alone, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            cwd=folder, env=_environment(), start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise HostCannot(f"`{words[0]}` cannot be run ({error}).") from None
    try:
        yield process
    finally:
        _kill(process)


def _environment() -> dict[str, str]:
    """Nobody is asked on the network for debug files."""
    return {key: value for key, value in os.environ.items() if key != "DEBUGINFOD_URLS"}


def _wait_for_ticks(process: subprocess.Popen[bytes], ticks: Ticks, log: IO[bytes]) -> float:
    ticks.follow(process.pid)
    before, deadline = ticks.read().runs, time.monotonic() + START_SECONDS
    while ticks.read().runs == before:
        if _is_over(process) or time.monotonic() > deadline:
            raise CotenantError(f"It does not come up: {_last_words(log)}")
        time.sleep(0.02)
    return time.monotonic()


def _cpu(running: Sequence[subprocess.Popen[bytes]], log: IO[bytes]) -> int:
    try:
        return sum(cpu_of(process.pid) for process in running)
    except OSError:
        raise CotenantError(f"It ended by itself: {_last_words(log)}") from None


def _is_over(process: subprocess.Popen[bytes]) -> bool:
    """Whether it ended; what it used is still to be asked for, as `poll` would not let us."""
    how = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, how) is not None


def _ended(process: subprocess.Popen[bytes], log: IO[bytes], seconds: float = END_SECONDS) -> int:
    """Waits for its end; ns of CPU that it and its children used in all."""
    deadline = time.monotonic() + seconds
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > deadline:
            raise CotenantError(f"It does not end within {seconds:.0f} s.")
        time.sleep(0.02)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in ENDED:
        raise CotenantError(f"It ends with {process.returncode}: {_last_words(log)}")
    return round((usage.ru_utime + usage.ru_stime) * 1e9)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_words(log: IO[bytes]) -> str:
    log.seek(0)
    said = log.read().decode(errors="replace")
    return " ".join([line for line in said.splitlines() if line.strip()][-1:]) or "it says nothing"


def take_turns(
    tools: Sequence[Tool],
    rounds: int,
    stage: Callable[[Path], Stage],
    told: Callable[[int, int], None],
    failed: Callable[[str, CotenantError], None],
) -> dict[str, list[Took]]:
    """`rounds` turns of each, one after the other. One that fails is told and left out."""
    took: dict[str, list[Took]] = {tool.name: [] for tool in tools}
    for done in range(1, rounds + 1):
        for tool in tools:
            if tool.name not in took:
                continue
            with tempfile.TemporaryDirectory(prefix="cotenant-bench-") as folder:
                try:
                    took[tool.name].append(tool.turn(stage(Path(folder))))
                except CotenantError as error:
                    del took[tool.name]
                    failed(tool.name, error)
        told(done, rounds)
    return took
