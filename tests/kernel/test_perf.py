"""Perf events: a clock that ticks as often as asked, uprobes, and the capabilities they take."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.kernel.ordinary import SEEN_AT
from tests.kernel.perfing import LIBC, hits, load, offset_of
from tests.kernel.test_capabilities import with_only

from cotenant.errors import CotenantError, KernelRefused
from cotenant.kernel import uprobes
from cotenant.kernel.libbpf import Object
from cotenant.kernel.mapevents import MapEvents
from cotenant.kernel.maprecords import Exited, Forked
from cotenant.kernel.perf import Clock, online_cpus

MALLOCS = f"""
import ctypes, sys
libc = ctypes.CDLL("{LIBC}")
libc.free.argtypes = [ctypes.c_void_p]
libc.malloc.restype = ctypes.c_void_p
for line in sys.stdin:
    for _ in range(int(line)):
        libc.free(libc.calloc(1, 64))
    print(flush=True)
"""


@pytest.fixture
def counting() -> Iterator[Object]:
    made = load()
    yield made
    made.close()


# --- the clock


@pytest.fixture
def busy() -> Iterator[None]:
    """Every CPU has something to do: an idle one is told few ticks."""
    with ExitStack() as undo:
        for cpu in online_cpus():
            hog = subprocess.Popen(["taskset", "-c", str(cpu), "sh", "-c", "while :; do :; done"])
            undo.callback(hog.wait)
            undo.callback(hog.kill)
        yield


def stolen_s(cpu: int) -> float:
    """How long the machine below did not run this CPU, since boot."""
    (line,) = re.findall(rf"^cpu{cpu} (.*)$", Path("/proc/stat").read_text(), re.M)
    return int(line.split()[7]) / os.sysconf("SC_CLK_TCK")


def booked(cpus: list[int]) -> None:
    """Run on each of them for a moment: what was stolen is booked once it runs again."""
    allowed = os.sched_getaffinity(0)
    try:
        for cpu in cpus:
            os.sched_setaffinity(0, {cpu})
            time.sleep(0.03)  # a few of the kernel's own ticks
    finally:
        os.sched_setaffinity(0, allowed)


def check_rate(counting: Object, hz: int, cpus: list[int]) -> None:
    """As many ticks in 1.5 s as there should be. Those of a stolen CPU are missed.

    It may take a while to look at the counter: not more than in the longer time, not fewer than in
    the shorter one.
    """
    stolen = sum(map(stolen_s, cpus))
    outer, before, inner = time.monotonic(), hits(counting), time.monotonic()
    time.sleep(1.5)
    least_s, ticks = time.monotonic() - inner, hits(counting) - before
    most_s = time.monotonic() - outer
    booked(cpus)
    stolen = sum(map(stolen_s, cpus)) - stolen
    assert ticks <= (most_s * hz + 2) * len(cpus)
    assert ticks >= (least_s * hz * 0.9 - 2) * len(cpus) - stolen * hz


@pytest.mark.claim
@pytest.mark.parametrize("hz", [19, 99, 999])
def test_a_clock_ticks_as_often_as_asked(counting, busy, hz):
    cpu = online_cpus()[-1]
    clock = Clock(cpu, 50)
    counting.attach_perf("ticked", clock.fileno())
    clock.set_rate(hz)
    check_rate(counting, hz, [cpu])
    clock.disable()
    after = hits(counting)
    time.sleep(3 / hz)
    assert hits(counting) == after
    counting.close()
    clock.close()


def test_every_cpu_has_its_own_clock(counting, busy):
    clocks = [Clock(cpu, 199) for cpu in online_cpus()]
    for clock in clocks:
        clock.set_program(counting.program_fd("ticked"))
        clock.enable()
    check_rate(counting, 199, online_cpus())
    for clock in clocks:
        clock.close()


def test_a_clock_faster_than_the_kernel_allows_is_refused_with_a_hint():
    with pytest.raises(KernelRefused, match="10000000 ticks a second") as caught:
        Clock(online_cpus()[0], 10_000_000)
    assert caught.value.hint == "sysctl kernel.perf_event_max_sample_rate"


@pytest.mark.parametrize("opened", [lambda: Clock(4095, 99), lambda: MapEvents([4095])])
def test_a_cpu_that_is_not_there_is_refused_with_a_hint(opened):
    with pytest.raises(KernelRefused, match="Watching CPU 4095") as caught:
        opened()
    assert caught.value.hint


# --- uprobes


class Allocating:
    """A process that calls calloc as often as it is told."""

    def __init__(self) -> None:
        words = [sys.executable, "-c", MALLOCS]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.call(1)

    def call(self, times: int) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{times}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline()


@pytest.fixture
def allocating() -> Iterator[Callable[[], Allocating]]:
    made: list[Allocating] = []

    def make() -> Allocating:
        made.append(Allocating())
        return made[-1]

    yield make
    for each in made:
        with each.process as process:
            process.kill()


def counted(made: Object, who: Allocating) -> int:
    """Hits while it calls calloc 1,000 times; its interpreter calls it now and then, too."""
    before = hits(made)
    who.call(1000)
    return hits(made) - before


def check_uprobe(counting: Object, allocating: Callable[[], Allocating], ret: bool) -> None:
    victim, other = allocating(), allocating()
    path = f"/proc/{victim.process.pid}/root{LIBC}"
    offset = offset_of("calloc")
    detach = counting.attach_uprobe("reached", victim.process.pid, path, offset, ret)
    assert 1000 <= counted(counting, victim) < 1100
    assert counted(counting, other) == 0
    detach()
    assert counted(counting, victim) == 0
    detach()  # does no harm


@pytest.mark.claim
@pytest.mark.parametrize("ret", [False, True])
def test_every_call_of_one_process_and_of_no_other_is_hit(counting, allocating, ret):
    check_uprobe(counting, allocating, ret)


def test_so_it_is_on_kernels_without_links_of_many_uprobes(monkeypatch, allocating):
    """Those ignore what a program says that it is for; this one would take it at its word."""
    monkeypatch.setattr(uprobes, "MULTI", 0)
    monkeypatch.setattr(uprobes, "attached", lambda *_: None)
    made = load()
    try:
        check_uprobe(made, allocating, ret=False)
    finally:
        made.close()


def test_close_detaches(counting, allocating):
    victim = allocating()
    counting.attach_uprobe("reached", victim.process.pid, LIBC, offset_of("calloc"))
    counting.close()
    victim.call(1000)


@pytest.mark.parametrize(
    ("pid", "path"), [(-1, "/no/such/file"), (2**22 - 1, LIBC), (-1, "/proc/self/root")]
)
def test_what_is_not_there_cannot_be_attached_to(counting, pid, path):
    with pytest.raises(CotenantError, match="attaching reached"):
        counting.attach_uprobe("reached", pid, path, offset_of("calloc"))


# --- waiting for what is mapped


def test_whoever_waits_is_woken(tmp_path):
    events = MapEvents(online_cpus(), wake_bytes=1)
    try:
        child = subprocess.Popen(["true"])
        assert select.select([events], [], [], 60)[0]
        child.wait()
        told = events.drain()
        assert any(isinstance(each, Forked) and each.tgid == child.pid for each in told)
        assert any(isinstance(each, Exited) and each.tgid == child.pid for each in told)
    finally:
        events.close()


# --- capabilities

EVERYTHING: dict[str, object] = {
    "ticks": True, "mappings": True, "own uprobe": True, "uprobe": True, "seed": True
}  # fmt: skip
LEAST = frozenset({"BPF", "PERFMON", "SYS_PTRACE"})
NO_PROGRAM: dict[str, object] = {"ticks": "NoBpf", "own uprobe": "NoBpf", "uprobe": "NoBpf"}
BREAKS: dict[str, dict[str, object]] = {
    "BPF": NO_PROGRAM,
    "PERFMON": NO_PROGRAM | {"mappings": "NeedsRoot"},
    "SYS_PTRACE": {"uprobe": "NoBpf"},  # it is another user's /proc/PID/root
}


def tried(capabilities: frozenset[str]) -> dict[str, object]:
    """What a child with exactly these capabilities could do."""
    run = "import runpy, sys; sys.path.insert(0, '{}'); sys.argv = ['', '{}']; {}"
    module = "runpy.run_module('tests.kernel.perfable', run_name='__main__')"
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            done = with_only(capabilities, "-c", run.format(SEEN_AT, other.pid, module))
        finally:
            other.kill()
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_these_capabilities_are_enough():
    assert tried(LEAST) == EVERYTHING


@pytest.mark.parametrize("dropped", sorted(LEAST))
def test_each_of_them_is_needed_for_just_this(dropped):
    found, expected = tried(LEAST - {dropped}), EVERYTHING | BREAKS[dropped]
    if dropped == "SYS_PTRACE":  # newer kernels show /proc/PID/maps to who has CAP_PERFMON
        del found["seed"], expected["seed"]
    assert found == expected


def test_without_any_nothing_is_told_and_no_other_process_read():
    assert tried(frozenset()) == NO_PROGRAM | {"mappings": "NeedsRoot", "seed": False}
