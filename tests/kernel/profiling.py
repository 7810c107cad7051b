"""What the profile sense's kernel tests share: victims, and what a profile says of each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from cotenant.agent.profiler import Profiler, Wanted
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.model import COMPLETE, Frame, FrameKind, Profile, ProfileType, Tenant
from cotenant.profile.read import head_of

VICTIMS = Path(__file__).parent / "victims"
SHARES = {"a": 0.6, "b": 0.3, "c": 0.1}
"""What every victim spends in its functions of these names."""
STARTS = {"_start", "clone", "clone3", "runtime.goexit", "runtime.mstart", "runtime.rt0_go"}
POINTS = 0.03
"""A share may be so far off."""
ENOUGH = 1500
"""So many samples of a victim tell its shares: chance moves them by less than a point."""
MOST_S = 90.0
"""No test samples longer than this."""


class Met(NamedTuple):
    """A stack of one process. Frames stand outermost first."""

    frames: tuple[Frame, ...]
    samples: int
    value: int
    end: str
    tenant: Tenant

    @property
    def names(self) -> tuple[str, ...]:
        """Without the versions that libraries give their symbols."""
        return tuple(frame.name.split("@@")[0] for frame in self.frames)

    @property
    def from_start(self) -> bool:
        """Whether it begins a thread does; in libc, clone3 has no name but for its debug file."""
        first = self.frames[0]
        return first.name in STARTS or first.module.endswith("libc.so.6")

    @property
    def python(self) -> list[list[object]]:
        """Its Python frames as the victim tells its own: innermost first; name, file, line."""
        found = [f for f in reversed(self.frames) if f.kind is FrameKind.PYTHON]
        return [[frame.name, frame.file, frame.line] for frame in found]


class Seen:
    """All stacks of one process, by its name."""

    def __init__(self, profile: Profile, process: str) -> None:
        self.stacks = [
            Met(tuple(profile.frames[i] for i in stack.frames), stack.count, stack.value,
                stack.end, profile.tenants[stack.tenant])
            for stack in profile.stacks if stack.process == process
        ]  # fmt: skip
        self.count = sum(met.samples for met in self.stacks)
        self.value = sum(met.value for met in self.stacks)

    def part(self, true: Callable[[Met], object]) -> float:
        """Which part of its value is in stacks of which that is true."""
        assert self.value, "it was never met"
        return sum(met.value for met in self.stacks if true(met)) / self.value

    def shares(self, names: Mapping[str, str] | None = None) -> dict[str, float]:
        """Parts with a(), b() and c() in the stack; `names`: as the profile calls them."""
        called = names or {name: name for name in SHARES}
        return {key: self.with_frame(name) for key, name in called.items()}

    def with_frame(self, name: str) -> float:
        """Part with a frame of that name."""
        return self.part(lambda met: name in met.names)

    @property
    def complete(self) -> float:
        return self.part(lambda met: met.end == COMPLETE)

    def worst(self, true: Callable[[Met], object]) -> str:
        """The commonest stacks of which that is not true, to be read by a person."""
        others = sorted((met for met in self.stacks if not true(met)), key=lambda m: -m.value)
        lines = [
            f"{met.value / self.value:.2%} {met.end}: "
            + " < ".join(f"{f.name}:{f.line}" if f.line else f.name for f in reversed(met.frames))
            for met in others[:5]
        ]
        return "\n".join(lines)


def as_they_are(shares: Mapping[str, float]) -> bool:
    """Whether a(), b() and c() have what they have."""
    return all(abs(shares[name] - share) <= POINTS for name, share in SHARES.items())


Profiled = Callable[..., Profile]
"""`sample` for this host, with a cache: the fixture `profiled`."""


def sample(
    hierarchies: Hierarchies,
    cache: Path,
    until: Callable[[], object] | int,
    hz: int = 999,
    type: ProfileType = ProfileType.CPU,
    wanted: tuple[Tenant, ...] | None = None,
    known: Sequence[Tenant] = (),
    least: Mapping[str, int] | None = None,
    around: Callable[[], object] = lambda: None,
) -> Profile:
    """A profile of this host from now until that is true, or there are so many samples.

    `wanted`: of these tenants alone. `known`: those who live here. `least`: no end before there are
    so many samples of processes of these names. `around`: is called right before the first sample
    and right after the last; `until`, in between.
    """
    asked = Wanted((type,), hz, wanted)
    with (
        favoured(),
        Profiler(hierarchies, asked, lambda: known or wanted or (), cache) as profiler,
    ):
        while not profiler.prepare():
            pass
        around()
        profiler.start()
        end = time.monotonic() + MOST_S
        if type is ProfileType.ALLOC:
            _watch_all(profiler, end)
        before = profiler.sampled
        while not (
            (until() if callable(until) else profiler.sampled - before >= until)
            and _met(profiler) >= Counter(least or {})
        ):
            assert time.monotonic() < end, f"that took more than {MOST_S:.0f} s: {_met(profiler)}"
            time.sleep(0.1)
            profiler.step()
        profiler.stop()
        around()
        return profiler.take()[0]


def _met(profiler: Profiler) -> Counter[str]:
    """How many samples of each process there are, by its name."""
    found: Counter[str] = Counter()
    for key, met in profiler._samples._met.items():
        found[head_of(key).comm] += met.count
    return found


def _watch_all(profiler: Profiler, end: float) -> None:
    """Forgets what came while some allocators were watched, and others not yet."""
    places = 0
    while not places or places != profiler.places:
        assert time.monotonic() < end, "no allocator was found"
        places = profiler.places
        profiler.step()
    profiler.take()


@contextmanager
def favoured() -> Iterator[None]:
    """Among dozens of victims on two CPUs, whoever reads what they do has a place."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, -15)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


def passed(seconds: float) -> Callable[[], bool]:
    """Whether so many seconds have passed since it was first asked."""
    began: list[float] = []

    def asked() -> bool:
        began.append(time.monotonic())
        return began[-1] - began[0] >= seconds

    return asked


def have_run(seconds: float, *pids: int) -> Callable[[], bool]:
    """Whether each of these processes, with its children, has run for so long since first asked."""
    began: dict[int, float] = {}

    def asked() -> bool:
        run = {pid: cpu_s(pid) for pid in pids}
        if not began:
            began.update(run)
        return all(run[pid] - began[pid] >= seconds for pid in pids)

    return asked


def cpu_s(pid: int) -> float:
    """What all threads of a process that live, and those of its children, have run."""
    ns = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it ends meanwhile
            ns += int((task / "schedstat").read_text().split()[0])
            ns += sum(1e9 * cpu_s(int(child)) for child in (task / "children").read_text().split())
    return ns / 1e9


class Victim(NamedTuple):
    """A process, and the first line that it said."""

    pid: int
    told: str

    @property
    def chains(self) -> dict[str, Any]:
        """How it gets to a(), b() and c(): frames, innermost first."""
        found: dict[str, Any] = json.loads(self.told)
        return found


@contextmanager
def python_victim(folder: Path, name: str, source: str) -> Iterator[Victim]:
    """The system's Python under that name, at work on a script that says a line first."""
    script, python = folder / f"{name}.py", folder / name
    script.write_text(source)
    python.symlink_to("/usr/bin/python3")
    with victim(python, script) as running:
        yield running


def places(directory: Path) -> Path:
    """The program made of victims/places.c."""
    program = directory / "places"
    flags = "-O2 -Wall -Werror -fno-builtin -fno-optimize-sibling-calls -fcf-protection=none"
    source = VICTIMS / "places.c"
    subprocess.run(["gcc", *flags.split(), "-Wl,-z,lazy", "-o", program, source], check=True)
    return program


@contextmanager
def victim(
    *command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[Victim]:
    """A process that has said its first line; killed at the end, with its children."""
    process = subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        text=True,
        cwd=cwd,
        start_new_session=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
    )
    try:
        assert process.stdout
        said = process.stdout.readline()
        assert said, f"{command} ended early"
        yield Victim(process.pid, said)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        Path(f"/tmp/perf-{process.pid}.map").unlink(missing_ok=True)
