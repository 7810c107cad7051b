"""Time blocked off the CPU, with known shares: its sum, and stacks from the thread's start down."""

from __future__ import annotations

import os
import re
import struct
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.kernel.conftest import Cgroup
from tests.kernel.metering import tenant
from tests.kernel.profiling import (
    POINTS,
    VICTIMS,
    Met,
    Profiled,
    Seen,
    places,
    sample,
    victim,
)

from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.model import FrameKind, Profile, ProfileType
from cotenant.profile import programs

pytestmark = pytest.mark.kernel


class Waited(NamedTuple):
    """What a(), b() and c() of a victim waited, by its own clock: timers come late, ns."""

    a: int
    b: int
    c: int

    @property
    def total(self) -> int:
        return sum(self)

    def since(self, before: Waited) -> Waited:
        return Waited(*(now - then for now, then in zip(self, before, strict=True)))


class Clock:
    """A file in memory, where writing never waits, that a victim writes its waits into."""

    def __enter__(self) -> Clock:
        self._file = os.memfd_create("waited")
        self.path = f"/proc/{os.getpid()}/fd/{self._file}"
        os.pwrite(self._file, struct.pack("3q", 0, 0, 0), 0)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def read(self) -> Waited:
        return Waited(*struct.unpack("3q", os.pread(self._file, 3 * 8, 0)))


class Told(NamedTuple):
    """A profile, and what each victim waited over the same time and how often, by its name.

    The looks at them lie within the time that is sampled, those of `times_around` outside of it.
    """

    profile: Profile
    waited: dict[str, Waited]
    times: dict[str, int]
    times_around: dict[str, int]


def times_waited(pid: int) -> int:
    """How often a process of one thread gave up its CPU to wait, as the kernel counts it."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M)
    assert found
    return int(found[1])


AT_ONCE = ("chrt", "-f", "50")
"""Runs as soon as it may, so that it waits as long as it meant to."""
SLEEP = "clock_nanosleep"
WAYS = {"a": SLEEP, "b": "timerfd_read", "c": "futex"}
"""What the kernel calls the ways to block."""
WAIT_NS = 10_000_000_000
"""So long that waits under way as it begins and ends, of 60 ms at most, are a small part of it."""
EDGES = 3
ROOM = 64
"""Threads that are blocked, for which there is room in one test."""
SCHEDULED = {"__schedule", "schedule", "preempt_schedule"}


@pytest.fixture(scope="module")
def told(profiled: Profiled, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A profile of a program in C, and of one in Python, and what each waited meanwhile."""
    folder = tmp_path_factory.mktemp("places")
    commands = {
        "blocked": (places(folder), "blocked"),
        "sleeping": ("/usr/bin/python3", VICTIMS / "shares.py", "sleeping", "sleeping"),
    }
    with ExitStack() as stack:
        clocks, pids = {}, {}
        for name, words in commands.items():
            clocks[name] = stack.enter_context(Clock())
            env = {"WAITED": clocks[name].path}
            pids[name] = stack.enter_context(victim(*AT_ONCE, *words, env=env)).pid
        waited: list[dict[str, Waited]] = []
        times: list[dict[str, int]] = []
        around: list[dict[str, int]] = []

        def all_times() -> dict[str, int]:
            return {name: times_waited(pids[name]) for name in commands}

        def have_waited() -> bool:
            waited.append({name: clocks[name].read() for name in commands})
            times.append(all_times())
            return all(waited[-1][n].since(waited[0][n]).total >= WAIT_NS for n in commands)

        profile = profiled(
            have_waited, type=ProfileType.OFF_CPU, around=lambda: around.append(all_times())
        )
    return Told(
        profile,
        {name: waited[-1][name].since(waited[0][name]) for name in commands},
        {name: times[-1][name] - times[0][name] for name in commands},
        {name: around[-1][name] - around[0][name] for name in commands},
    )


@pytest.fixture
def profile(told: Told) -> Profile:
    return told.profile


@pytest.fixture(params=["blocked", "sleeping"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def seen(told: Told, name: str) -> Seen:
    return Seen(told.profile, name)


@pytest.fixture
def waited(told: Told, name: str) -> Waited:
    return told.waited[name]


def test_each_waits_its_share_by_the_victims_own_clock(seen: Seen, waited: Waited) -> None:
    found = {key: seen.with_frame(key) + seen.with_frame(f"Äußere.内.{key}") for key in "abc"}
    own = {key: ns / waited.total for key, ns in waited._asdict().items()}
    assert all(abs(found[key] - own[key]) <= POINTS for key in own), (found, own)


def test_each_wait_is_counted_once_or_told_as_lost(told: Told, seen: Seen, name: str) -> None:
    """But for those under way as it begins and ends. Of switches away from some threads Linux tells
    nobody, neither perf nor BPF, where a sandbox hides its own: whoever comes next then came back
    unseen.
    """
    times = told.times[name]
    assert seen.count <= told.times_around[name] + EDGES
    assert times - seen.count <= told.profile.lost.dropped + EDGES, (times, seen.count)


def test_the_sum_is_what_the_victim_waited(told: Told, seen: Seen, name: str) -> None:
    """Both had one thread, which did nothing else. Of waits that nobody was told of: their part."""
    assert told.profile.unit == "nanoseconds"
    counted = seen.count / told.times[name]
    assert counted > 0.8
    assert seen.value == pytest.approx(told.waited[name].total * counted, rel=0.03)


def test_stacks_reach_from_the_start_to_where_the_kernel_put_it_to_sleep(seen: Seen) -> None:
    def whole(met: Met) -> bool:
        kinds = [frame.kind for frame in met.frames]
        user = kinds.index(FrameKind.KERNEL)
        return (
            met.end == "complete"
            and met.names[-1] in SCHEDULED
            and set(kinds[user:]) == {FrameKind.KERNEL}
            and not any(name.startswith("bpf_") or "trace" in name for name in met.names[user:])
        )

    assert seen.part(whole) == 1, seen.worst(whole)


def test_a_stack_ends_in_the_call_that_blocked(profile: Profile) -> None:
    for met in Seen(profile, "blocked").stacks:
        key = next(key for key in WAYS if key in met.names)
        assert any(WAYS[key] in frame.name for frame in met.frames if frame.kind == "kernel"), met


def test_python_tells_the_line_that_waits(profile: Profile) -> None:
    script = VICTIMS / "shares.py"
    line = script.read_text().splitlines().index("    time.sleep(seconds)") + 1
    for met in Seen(profile, "sleeping").stacks:
        assert met.python[0] == ["rest", str(script), line]
        assert any(SLEEP in name for name in met.names)


def test_the_dead_leave_no_room_taken_behind(
    hierarchies: Hierarchies,
    cgroup: Callable[[str], Cgroup],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever ends leaves its CPU for good. Kept as one that waits, it would stay so for ever: a
    host of short lives would soon have no room for waits that do end.
    """
    monkeypatch.setattr(programs, "BLOCKED", ROOM)
    group = cgroup("/ct-short-lives")
    wanted = (tenant(hierarchies, group.path),)
    script = f"i=0; while [ $i -lt {4 * ROOM} ]; do ( : ); i=$((i+1)); done"
    storms: list[subprocess.Popen[bytes]] = []

    def is_over() -> bool:
        if not storms:
            storms.append(group.spawn("sh", "-c", script))
        return storms[0].poll() is not None

    profile = sample(hierarchies, tmp_path, is_over, type=ProfileType.OFF_CPU, wanted=wanted)
    assert storms[0].wait() == 0
    assert Seen(profile, "sh").count, "the shell waited"
    assert profile.lost.dropped < ROOM, profile.lost
