"""Others' profilers: perf of the distribution, py-spy and Austin; each read from its own output.

The programs themselves come from `peers/profilers` of a checkout: the wheel has them not.
"""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from cotenant.bench.profiling.judge import Seen, Starts, is_start
from cotenant.bench.profiling.tools import Stage, Took, read, watch
from cotenant.bench.profiling.victims import PYTHON, Victim
from cotenant.errors import CotenantError, HostCannot

CHECKOUT = Path(__file__).parents[4]
FP, DWARF, PY_SPY, NATIVE, AUSTIN = "perf fp", "perf dwarf", "py-spy", "py-spy native", "austin"

Say = Callable[[str], None]

_HEAD = re.compile(r"^\s*(-?\d+)\s*$")
_FRAME = re.compile(r"^\s+([0-9a-f]+) (.*?) \(([/\[].*|inlined)\)$")
_OWN_FRAME = re.compile(r"^(?P<name>.+) \((?P<file>[^()]*?)(?::(?P<line>\d+))?\)$")
_ADDRESS = re.compile(r"^0x([0-9a-f]+)$")


class Told(NamedTuple):
    """One stack as a profiler tells it: so many samples, its outermost frame, Python or not."""

    pid: int
    samples: int
    whole: bool
    python: bool


class Perf:
    """`perf record` of the whole host by the same clock as ours, then `perf script`."""

    def __init__(self, name: str) -> None:
        self.name = name
        if shutil.which("perf") is None:
            raise HostCannot("There is no perf here.", "sudo apt-get install linux-perf")

    def turn(self, stage: Stage) -> Took:
        """Samples once."""
        data, text = stage.folder / "perf.data", stage.folder / "perf.txt"
        how = "fp" if self.name == FP else "dwarf"
        words = ["perf", "record", "-a", "-e", "cpu-clock", "-F", str(stage.hz)]
        words += ["--call-graph", how, "-o", str(data)]
        watched = watch([words], stage, clocked=True)
        fields = ["-F", "pid,ip,sym,dso", "--no-inline"]
        read_ns = read(["perf", "script", "-i", str(data), *fields], text)
        with text.open(errors="replace") as lines:
            stacks = list(perf_stacks(lines, Starts()))
        return Took(watched, read_ns, len(stacks), by_pid(stacks, stage.victims),
                    data.stat().st_size)  # fmt: skip


def perf_stacks(lines: Iterable[str], starts: Starts) -> Iterator[Told]:
    """Samples of `perf script -F pid,ip,sym,dso`: a line with the process, then frames, leaf first.

    Stacks without a frame of user space are the kernel's threads', or perf's failures: whoever they
    are of, they are told as not whole.
    """
    pid, last = -1, None
    for line in lines:
        if found := _FRAME.match(line):
            last = found
        elif found := _HEAD.match(line):
            if pid >= 0:
                yield Told(pid, 1, _perf_whole(last, starts), False)
            pid, last = int(found[1]), None
    if pid >= 0:
        yield Told(pid, 1, _perf_whole(last, starts), False)


def _perf_whole(outermost: re.Match[str] | None, starts: Starts) -> bool:
    if outermost is None:
        return False
    address, name, file = outermost.groups()
    return is_start(name) or (file.startswith("/") and starts.of_file(file, int(address, 16)))


class PySpy:
    """py-spy beside each Python program, as root, with the target paused for each sample."""

    def __init__(self, name: str, say: Say) -> None:
        self.name = name
        self._binary = binary("py-spy", say)

    def turn(self, stage: Stage) -> Took:
        """Samples once."""
        native = ["--native"] if self.name == NATIVE else []
        words = [str(self._binary), "record", "--rate", str(stage.hz), "--duration", "600",
                 "--format", "raw", "--threads", *native]  # fmt: skip
        return _beside_each(stage, words, "--pid", "--output", py_spy_stacks)


def py_spy_stacks(text: str, pid: int, starts: Starts) -> Iterator[Told]:
    """Samples of py-spy's raw form: `thread;frame (file:line);... count`, outermost first.

    Native frames have no line; without a symbol they are an address in memory.
    """
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [frame for frame in stack.split(";") if not frame.startswith("thread (")]
        if not frames or not count.isdecimal():
            continue
        parts = [_OWN_FRAME.match(frame) for frame in frames]
        python = any(part is not None and part["line"] is not None for part in parts)
        outermost = parts[0]["name"] if parts[0] else frames[0]
        address = _ADDRESS.match(outermost)
        whole = starts.of_process(pid, int(address[1], 16)) if address else is_start(outermost)
        yield Told(pid, int(count), whole, python)


class Austin:
    """Austin beside each Python program; only samples on a CPU, as all others tell."""

    name = AUSTIN

    def __init__(self, say: Say) -> None:
        self._binary = binary("austin", say)

    def turn(self, stage: Stage) -> Took:
        """Samples once."""
        interval = str(round(1_000_000 / stage.hz))
        words = [str(self._binary), "--interval", interval, "--sleepless"]
        return _beside_each(stage, words, "--pid", "--output", austin_stacks)


def austin_stacks(text: str, pid: int, _starts: Starts) -> Iterator[Told]:
    """Samples of Austin's text: `Pid;Tthread;file:function:line;... microseconds`, one a line.

    It tells of Python frames only, so no stack reaches the place where the thread began.
    """
    for line in text.splitlines():
        if not line.startswith("P"):
            continue
        stack, _, _micros = line.rpartition(" ")
        frames = stack.split(";")[2:]
        yield Told(pid, 1, False, any(frame.count(":") >= 2 for frame in frames))


Parse = Callable[[str, int, Starts], Iterator[Told]]


def _beside_each(stage: Stage, words: list[str], pid: str, output: str, parse: Parse) -> Took:
    """A process of the profiler for each Python program."""
    chosen = [victim for victim in stage.victims if victim.name in PYTHON]
    files = {victim: stage.folder / victim.name for victim in chosen}
    commands = [[*words, pid, str(v.pid), output, str(file)] for v, file in files.items()]
    starts = Starts([victim.pid for victim in chosen])
    watched = watch(commands, stage, clocked=False)
    stacks: list[Told] = []
    for victim, file in files.items():
        try:
            stacks += parse(file.read_text(errors="replace"), victim.pid, starts)
        except OSError as error:
            raise CotenantError(f"It left no output ({error}).") from None
    told = sum(stack.samples for stack in stacks)
    size = sum(file.stat().st_size for file in files.values())
    return Took(watched, 0, told, by_pid(stacks, chosen), size)


def by_pid(stacks: Iterable[Told], victims: Iterable[Victim]) -> dict[str, Seen]:
    """Samples of each program."""
    names = {victim.pid: victim.name for victim in victims}
    seen = {name: Seen() for name in names.values()}
    for stack in stacks:
        if stack.pid in names:
            seen[names[stack.pid]].add(stack.samples, stack.whole, stack.python)
    return seen


def binary(name: str, say: Say) -> Path:
    """The program of that name, by the package `peers.profilers` of the checkout this is part of.

    Raises CotenantError where it cannot be had.
    """
    if not (CHECKOUT / "peers/profilers/__init__.py").is_file():
        raise HostCannot("The peers are fetched by a checkout of cotenant, and this is none.")
    if str(CHECKOUT) not in sys.path:
        sys.path.append(str(CHECKOUT))
    binaries: dict[str, Callable[[Say], Path]]
    binaries = importlib.import_module("peers.profilers").BINARIES
    return binaries[name](say)
