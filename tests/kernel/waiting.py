"""What the tests of waits share: tasks that do one thing on chosen CPUs, windows between two
moments at which none of them runs, and the kernel's own books of the same tasks.

Nothing may be in flight when two books are compared: a slice or a wait that goes on is in one of
them and not in the other. So all tasks of a test are stopped before either is read.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.kernel.conftest import Cgroup, within
from tests.kernel.metering import tenant

from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.model import Blame, Delay, NoiseLost, Part, Tenant, Waits
from cotenant.noise.blame import NOTHING, delays
from cotenant.noise.read import Noise

CPUS = sorted(os.sched_getaffinity(0))
CPU = CPUS[-1]
"""Where tasks of a test compete: the first is the one that interrupts go to."""
SWITCHES = ("taskset", "-c", "0", "python3", "-c", """import os
a, b = os.pipe(), os.pipe()
if os.fork():
    while 1: os.write(a[1], b"x"); os.read(b[0], 1)
while 1: os.read(a[0], 1); os.write(b[1], b"x")
""")  # fmt: skip
"""A command that switches a CPU from one process to another and back as often as it can."""
LONGEST_SLICE_NS = 10_000_000
"""Of a task that others wait for; some ms, and more where interrupts fall into it."""
PATIENCE_S = 30
"""Until a stopped task must have left its CPU; an emulated one is slow."""


def hog() -> None:
    """Runs as long as it is let."""
    while True:
        pass


def sleeper(asleep_s: float = 0.001, works_s: float = 0.001) -> Callable[[], None]:
    """Sleeps and works, in turn. With so much work it asks for more than a third of a CPU, so
    that beside hogs nearly all its wake-ups wait; with little it gets the CPU at once.
    """

    def work() -> None:
        while True:
            time.sleep(asleep_s)
            end = time.thread_time() + works_s
            while time.thread_time() < end:
                pass

    return work


class Worker:
    """A child of this process that does one thing inside a cgroup. A fork without exec: a new
    interpreter takes seconds on an emulated CPU.
    """

    def __init__(
        self, group: Cgroup | None, what: Callable[[], object], cpus: Iterable[int] = (CPU,)
    ) -> None:
        gate, key = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(key)
            _live(gate, what)
        os.close(gate)
        self._key = key
        if group:
            group.add(self.pid)
        self.pin(cpus)  # from here: it runs nowhere else, not even on its way there
        self.begin()
        self._gone = self._stopped = False

    def begin(self) -> None:
        """Open the gate; it was already where it belongs."""
        os.write(self._key, b"1")
        os.close(self._key)

    def stop(self) -> None:
        """Ask it to stop; `rest` waits until it has."""
        os.kill(self.pid, signal.SIGSTOP)

    def go(self) -> None:
        self._stopped = False
        os.kill(self.pid, signal.SIGCONT)

    def rest(self) -> None:
        """Wait until it has stopped and left its CPU."""
        if not self._stopped:
            os.waitpid(self.pid, os.WUNTRACED)
            self._stopped = True
        assert within(PATIENCE_S, self._has_left, 0.01), f"{self.pid} does not stop"

    def _has_left(self) -> bool:
        before = books_of(self.pid)
        time.sleep(0.02)
        return books_of(self.pid) == before and _state(self.pid) == "T"

    def pin(self, cpus: Iterable[int]) -> None:
        os.sched_setaffinity(self.pid, set(cpus))

    def kill(self) -> None:
        """End it; fine when it has ended."""
        if self._gone:
            return
        self._gone = True
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def join(self) -> None:
        """Wait for its own end; it must be a good one."""
        self._gone = True
        _, status = os.waitpid(self.pid, 0)
        assert status == 0, f"a worker ended with status {status}"


def _live(gate: int, what: Callable[[], object]) -> None:
    status = 1
    try:
        os.read(gate, 1)
        what()
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


@dataclass(frozen=True)
class Books:
    """What the kernel itself has booked for some tasks: /proc/PID/schedstat and status."""

    ran_ns: int
    waited_ns: int
    slices: int
    voluntary: int
    involuntary: int

    def __sub__(self, other: Books) -> Books:
        return Books(*(a - b for a, b in zip(self._all(), other._all(), strict=True)))

    def __add__(self, other: Books) -> Books:
        return Books(*(a + b for a, b in zip(self._all(), other._all(), strict=True)))

    def _all(self) -> tuple[int, ...]:
        return (self.ran_ns, self.waited_ns, self.slices, self.voluntary, self.involuntary)


NO_BOOKS = Books(0, 0, 0, 0, 0)


def books_of(pid: int) -> Books:
    """Of all living threads of a process."""
    found = NO_BOOKS
    for task in Path(f"/proc/{pid}/task").iterdir():
        status = dict(
            line.split(":", 1) for line in (task / "status").read_text().splitlines() if ":" in line
        )
        ran, waited, slices = (int(n) for n in (task / "schedstat").read_text().split())
        found += Books(
            ran,
            waited,
            slices,
            int(status["voluntary_ctxt_switches"]),
            int(status["nonvoluntary_ctxt_switches"]),
        )
    return found


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@dataclass
class Window:
    """What happened between two moments at which no worker ran."""

    before: Waits
    after: Waits
    booked: dict[int, Books]
    """By pid."""
    throttled: dict[str, int]
    """The kernel's throttled time in ns, by path of each cgroup with a quota."""
    delays: dict[int, Delay] = field(init=False)

    def __post_init__(self) -> None:
        self.delays = {d.tenant.key: d for d in delays(self.after, self.before)}
        check(self.after, self.before)

    def of(self, who: Tenant) -> Delay:
        return self.delays[who.key]

    def by(self, *workers: Worker) -> Books:
        """The kernel's books of these workers."""
        return sum((self.booked[worker.pid] for worker in workers), NO_BOOKS)

    @property
    def lost(self) -> NoiseLost:
        """What was lost in it."""
        fields = NoiseLost.__struct_fields__
        return NoiseLost(
            **{f: getattr(self.after.lost, f) - getattr(self.before.lost, f) for f in fields}
        )


def ns(delay: Delay, part: str | Tenant) -> int:
    """What one part of the waits came to: a reason, or a culprit."""
    return sum(p.ns for p in delay.parts if part in (p.reason, p.culprit))


def part(delay: Delay, culprit: Tenant) -> Part:
    return next(p for p in delay.parts if p.culprit == culprit)


def may_be_unknown(window: Window, who: Tenant) -> float:
    """A fiftieth of what it waited, and what the kernel did not tell: of each switch without its
    tracepoint, one slice.
    """
    return 0.02 * window.of(who).waited_ns + window.lost.unseen * LONGEST_SLICE_NS


def whole(delay: Delay) -> int:
    """What all parts add up to."""
    return sum(p.ns for p in delay.parts)


def check(now: Waits, before: Waits | None = None) -> None:
    """What must hold of every two collections: nothing negative, nothing longer than could be."""
    for delay in delays(now, before):
        values = [delay.ran_ns, delay.waits, delay.waited_ns, delay.voluntary, delay.involuntary]
        values += [p.ns for p in delay.parts] + [p.preempted for p in delay.parts]
        values += [*delay.buckets, *delay.preemptions.values()]
        assert min(values) >= 0, delay
        assert max(values) < 1 << 62, delay
    for waited in (*now.waited.values(), NOTHING):
        assert sum(waited.buckets) <= waited.waits, waited
    assert all(blame.ns >= 0 and blame.preempted >= 0 for blame in now.blame.values())
    assert all(key in now.tenants for pair in now.blame for key in pair)


class Bench:
    """An open sense, tenants and workers; `window` lets them work."""

    def __init__(
        self, noise: Noise, hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
    ) -> None:
        self.noise = noise
        self.tenants: tuple[Tenant, ...] = ()
        self.workers: list[Worker] = []
        self._hierarchies = hierarchies
        self._cgroup = cgroup
        self._limited: dict[Cgroup, int] = {}

    def group(self, path: str) -> tuple[Cgroup, Tenant]:
        """A cgroup that is a tenant."""
        group = self._cgroup(path)
        who = tenant(self._hierarchies, path)
        self.tenants = (*self.tenants, who)
        return group, who

    def limit(self, group: Cgroup, quota_us: int) -> None:
        """Give a cgroup a quota per 100 ms, in windows only: one that is still throttled when its
        tasks are stopped would be so with nobody waiting.
        """
        self._limited[group] = quota_us

    def start(
        self, group: Cgroup | None, what: Callable[[], object], cpus: Iterable[int] = (CPU,)
    ) -> Worker:
        self.workers.append(Worker(group, what, cpus))
        return self.workers[-1]

    def collect(self) -> Waits:
        return self.noise.collect(self.tenants)

    def pause(self, workers: Sequence[Worker] = ()) -> None:
        """Stop all workers and wait until none has a CPU."""
        for worker in workers or self.workers:
            worker.stop()
        for worker in workers or self.workers:
            worker.rest()

    def window(self, seconds: float, meanwhile: Callable[[], object] = lambda: None) -> Window:
        """Let all work for so long. They are stopped before and after."""
        self.pause()
        before, booked = self.collect(), {w.pid: books_of(w.pid) for w in self.workers}
        throttled = {group.path: throttled_ns(group) for group in self._limited}
        for group, quota_us in self._limited.items():
            set_quota(group, quota_us)
        for worker in self.workers:
            worker.go()
        end = time.monotonic() + seconds
        meanwhile()
        time.sleep(max(end - time.monotonic(), 0))
        for group in self._limited:
            set_quota(group, None)
        self.pause()
        after = self.collect()
        return Window(
            before,
            after,
            {w.pid: books_of(w.pid) - booked[w.pid] for w in self.workers},
            {g.path: throttled_ns(g) - throttled[g.path] for g in self._limited},
        )

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()


@contextmanager
def bench_of(
    noise: Noise, hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> Iterator[Bench]:
    bench = Bench(noise, hierarchies, cgroup)
    try:
        yield bench
    finally:
        bench.close()


def set_quota(group: Cgroup, quota_us: int | None) -> None:
    """Limit what a cgroup may run in each 100 ms; None: no longer."""
    directory = cpu_directory(group)
    if (directory / "cpu.max").exists():
        (directory / "cpu.max").write_text(f"{quota_us or 'max'} 100000")
    else:
        (directory / "cpu.cfs_period_us").write_text("100000")
        (directory / "cpu.cfs_quota_us").write_text(str(quota_us or -1))


def favour(group: Cgroup, part: int = 1) -> None:
    """Give it the CPU before others: then its quota alone holds it back, on a busy machine too.

    Of several that are favoured, one may get the so manieth `part` of what another gets.
    """
    directory = cpu_directory(group)
    if (directory / "cpu.weight").exists():
        (directory / "cpu.weight").write_text(str(10_000 // part))
    else:
        (directory / "cpu.shares").write_text(str(262_144 // part))


def throttled_ns(group: Cgroup) -> int:
    """The kernel's own count of throttled time, all CPUs together."""
    text = (cpu_directory(group) / "cpu.stat").read_text()
    stat = dict(line.split() for line in text.splitlines())
    return int(stat["throttled_time"]) if "throttled_time" in stat else (
        int(stat["throttled_usec"]) * 1000
    )  # fmt: skip


def cpu_directory(group: Cgroup) -> Path:
    """Where the cgroup's CPU settings are."""
    tree = group.hierarchies.of("cpu")
    assert tree, "this host has no cpu controller"
    return tree.directory(group.path)


def give_cpu_below(group: Cgroup) -> None:
    """Let cgroups below it have CPU settings of their own; on v1 they have."""
    control = cpu_directory(group) / "cgroup.subtree_control"
    if control.exists():
        control.write_text("+cpu")


def blame_of(waits: Waits, victim: Tenant, culprit: Tenant) -> Blame:
    return waits.blame.get((victim.key, culprit.key), Blame(0, 0))
