"""Tasks and tenants that come and go: nothing is lost unseen, nothing negative, nothing grows."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from tests.kernel.conftest import Cgroup
from tests.kernel.metering import tenant
from tests.kernel.waiting import (
    CPU,
    CPUS,
    Bench,
    bench_of,
    books_of,
    check,
    hog,
    ns,
    sleeper,
    whole,
)

from cotenant.kernel import records
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.model import HOST, KERNEL, UNSEATED, Tenant, Waits
from cotenant.noise import seats as seats_module
from cotenant.noise.blame import delays
from cotenant.noise.read import Noise

SLEEP_S = 0.2
SLEEPS = 12
CROWD = 1500
"""Groups that have 12 cells each on two CPUs, all full: twice what a collection can tell."""
AT_ONCE = 8
"""Who moves tasks into cgroups. Each move waits until all CPUs have passed a quiet point, for long
where a hypervisor stops them; moves that come together wait together.
"""


@pytest.fixture
def noise(hierarchies: Hierarchies) -> Iterator[Noise]:
    """A sense for each test: the crowds of one would leave no seats to the next."""
    with Noise(hierarchies) as opened:
        yield opened


def no_longer_than(seconds: float, now: Waits, before: Waits, who: Tenant, tasks: int) -> None:
    """Sums hold, and so many tasks at a time did not wait longer than there was time to."""
    check(now, before)
    delay = next(d for d in delays(now, before) if d.tenant.key == who.key)
    assert whole(delay) == delay.waited_ns
    assert delay.waited_ns <= seconds * 1e9 * tasks
    longest = max((i for i, n in enumerate(delay.buckets) if n), default=0)
    assert longest == 0 or 2.0 ** ((longest - 1 - 88) / 4) <= seconds, "a wait beyond the test"


@pytest.mark.claim
def test_a_storm_of_ten_thousand_short_tasks(bench: Bench) -> None:
    """New tasks are waited for and blamed as others are: the sources this follows left out
    sched_wakeup_new, kept 1,024 tasks and lost the rest silently (anchor page, section 6).
    """
    group, who = bench.group("/ct-storm")
    before, began = bench.collect(), time.monotonic()
    script = "i=0; while [ $i -lt 10000 ]; do ( : ); i=$((i+1)); done"
    storm = group.spawn("sh", "-c", script)
    bench.start(group, hog, (CPU,))
    assert storm.wait(timeout=300) == 0
    seconds = time.monotonic() - began
    bench.close()
    time.sleep(0.1)
    after = bench.collect()
    no_longer_than(seconds + 1, after, before, who, 3)
    waited = after.waited[who.key]
    assert waited.waits >= 10_000, "each new task waited once at least"
    assert after.lost.backwards == 0


def test_exec_in_a_loop(bench: Bench, tmp_path: Path) -> None:
    """A task keeps its books over exec, also of many a second."""
    group, who = bench.group("/ct-exec")
    before, began = bench.collect(), time.monotonic()
    script = tmp_path / "again"
    script.write_text('[ "$1" -gt 0 ] || exit 0; exec sh "$0" $(($1 - 1))')
    loop = group.spawn("sh", str(script), "500")
    assert loop.wait(timeout=300) == 0
    seconds = time.monotonic() - began
    after = bench.collect()
    no_longer_than(seconds + 1, after, before, who, 1)
    assert after.waited[who.key].ran_ns > 0


def _ping_pong() -> None:
    """Two threads that wake each other, at times while the other still runs. Each has a CPU of its
    own: of one that is moved as it goes to sleep, the kernel's books tell the sleep as a wait.
    """
    turn = threading.Condition()

    def play(cpu: int) -> None:
        os.sched_setaffinity(0, {cpu})
        while True:
            with turn:
                turn.notify()
                turn.wait(0.0005)
            for _ in range(50):
                pass

    other = threading.Thread(target=play, args=(CPUS[0],), daemon=True)
    other.start()
    play(CPU)


@pytest.mark.claim
def test_tasks_woken_while_they_run_leave_no_stale_stamp(bench: Bench) -> None:
    """A stamp kept over a wake-up while running made waits of seconds (anchor page, section 6:
    BPF_NOEXIST). The longest wait here is bounded, and the sum is the kernel's.
    """
    group, who = bench.group("/ct-pong")
    worker = bench.start(group, _ping_pong, (CPU, CPUS[0]))
    window = bench.window(3)
    delay, booked = window.of(who), window.by(worker)
    assert booked.slices > 1000, "they did not play"
    assert whole(delay) == delay.waited_ns
    assert delay.waited_ns == pytest.approx(booked.waited_ns, rel=0.01, abs=2e6)
    assert delay.waits == pytest.approx(booked.slices, rel=0.01)
    no_longer_than(window.of(who).seconds, window.after, window.before, who, 2)


@pytest.mark.any_kernel
@pytest.mark.claim
def test_a_sleeper_moved_while_it_sleeps_did_not_wait(bench: Bench) -> None:
    """Since 6.12 a task that fell asleep may stay in the queue for a while (delayed dequeue); one
    that is moved meanwhile must not have its sleep told as a wait.
    """
    group, who = bench.group("/ct-asleep")
    beside, _ = bench.group("/ct-awake")
    for cpu in (0, CPU):
        bench.start(beside, hog, (cpu,))
    worker = bench.start(group, sleeper(SLEEP_S, 0.02), (CPU,))

    def toss() -> None:
        last = books_of(worker.pid).voluntary + SLEEPS
        began = time.monotonic()
        while time.monotonic() < began + 3 or books_of(worker.pid).voluntary < last:
            assert time.monotonic() < began + 120, "it hardly ever sleeps"
            for cpu in (0, CPU):
                worker.pin({cpu})
                time.sleep(0.002)

    window = bench.window(0, meanwhile=toss)
    delay = window.of(who)
    assert whole(delay) == delay.waited_ns
    # Of its switches one is for its stop; sleeps may be cut short by either end of the window.
    asleep_s = SLEEP_S * (window.by(worker).voluntary - 4)
    assert delay.waited_ns + delay.ran_ns <= (delay.seconds - asleep_s) * 1e9, "a sleep is a wait"


def test_a_tenant_killed_in_mid_wait_is_told_once_and_then_forgotten(
    bench: Bench, hierarchies: Hierarchies
) -> None:
    hogs, culprit = bench.group("/ct-killers")
    bench.start(hogs, hog)
    lives = bench.tenants
    before = bench.collect()
    for i in range(10):
        group, who = bench.group(f"/ct-killed-{i}")
        victims = [bench.start(group, hog) for _ in range(4)]
        time.sleep(0.05)
        now = bench.collect()
        check(now, before)
        for victim in victims:
            victim.kill()
        bench.workers = bench.workers[:1]
        group.remove()
        bench.tenants = lives
        before, now = now, bench.collect()
        check(now, before)
        assert who.key in now.waited, "told once more"
        for _ in range(3):
            before, now = now, bench.collect()
            check(now, before)
            assert who.key not in now.waited and who.key not in now.tenants
            assert not any(who.key in pair for pair in now.blame)
    assert culprit.key in now.waited


def _crowd(hierarchies: Hierarchies, names: range) -> Iterator[tuple[Tenant, ...]]:
    """Cgroups with one short task each, in the tree that the CPU is scheduled by; then removed.

    Shells go from one to the next, each on a CPU of its own: a wait that is split by a move to
    another CPU, and ends by a switch that the kernel does not tell of, is booked where the shell is
    by then.
    """
    tree = hierarchies.of("cpu")
    assert tree
    root = tree.directory("/") / "cgroup.procs"
    paths = [tree.mount / f"ct-crowd-{i}" for i in names]
    for path in paths:
        path.mkdir()
    script = (
        'for d in "$@"; do echo $$ >$d/cgroup.procs; i=0; while [ $i -lt 50 ]; do i=$((i+1)); '
        f"done; sleep 0.0001; done; echo $$ >{root}"
    )
    try:
        shells = [
            subprocess.Popen(
                [
                    "taskset",
                    "-c",
                    str(CPUS[first % len(CPUS)]),
                    "sh",
                    "-c",
                    script,
                    "sh",
                    *map(str, paths[first::AT_ONCE]),
                ]
            )
            for first in range(AT_ONCE)
        ]
        assert [shell.wait(timeout=300) for shell in shells] == [0] * AT_ONCE
        yield tuple(_only(hierarchies, f"/{path.name}") for path in paths)
    finally:
        for path in paths:
            path.rmdir()


def _only(hierarchies: Hierarchies, path: str) -> Tenant:
    """A tenant whose cgroup is in the CPU's tree and perhaps in no other."""
    tree = hierarchies.of("cpu")
    assert tree
    inode = os.stat(tree.directory(path)).st_ino
    made = tenant(hierarchies, "/")
    return Tenant(made.key, path[1:], made.kind, path, {tree.number: inode})


def test_churn_of_a_thousand_cgroups_grows_nothing(
    hierarchies: Hierarchies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seats of the dead are given back; what is kept does not grow with all that ever lived."""
    monkeypatch.setattr(seats_module, "REST_S", 0.0)
    with Noise(hierarchies, seats=256) as noise:
        memory = noise.memory_bytes
        before, sizes, told = noise.collect(()), [], 0
        for wave in range(8):
            crowd = _crowd(hierarchies, range(wave * 125, wave * 125 + 125))
            tenants = next(crowd)
            now = noise.collect(tenants)
            check(now, before)
            told += sum(t.key in now.waited for t in tenants)
            with pytest.raises(StopIteration):
                next(crowd)
            for _ in range(12):
                before, now = now, noise.collect(())
                check(now, before)
            before = now
            seats = noise._seats
            sizes.append(
                [len(noise._last), len(noise._accounts), len(noise._tenants), len(noise._blame),
                 len(seats._by_cgroup), len(seats._holders), len(seats._sitting),
                 len(seats._dead), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
            )  # fmt: skip
        assert told >= 0.95 * 1000, "nearly each was seen to run"
        assert now.lost.unseated == 0, "seats were given back"
        assert noise.memory_bytes == memory
    for first, last in zip(sizes[2][:-1], sizes[-1][:-1], strict=True):
        assert last <= first + 64, (sizes[2], sizes[-1])
    assert sizes[-1][-1] - sizes[2][-1] < 8192, "kB of memory"


def test_two_thousand_tenants_at_once(noise: Noise, hierarchies: Hierarchies) -> None:
    """Each has a seat and books of its own, and what they add up to holds. On a busy machine they
    waited for more others than one collection can tell.
    """
    before = noise.collect(())
    crowd = _crowd(hierarchies, range(2000))
    tenants = next(crowd)
    now, _ = _collect_all(noise, tenants)
    check(now, before)
    assert all(t.key in now.waited and now.waited[t.key].ran_ns > 0 for t in tenants)
    assert all(whole(d) == d.waited_ns for d in delays(now, before) if d.tenant in tenants)
    assert now.lost.unseated == before.lost.unseated
    with pytest.raises(StopIteration):
        next(crowd)


def test_a_full_table_of_seats_is_counted_and_told_as_unknown(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> None:
    """A map of 1,024 tasks filled silently in the sources this follows (anchor page, section 6)."""
    with (
        Noise(hierarchies, seats=4) as noise,
        bench_of(noise, hierarchies, cgroup) as bench,
    ):
        groups = [bench.group(f"/ct-full-{i}") for i in range(6)]
        for group, _ in groups:
            bench.start(group, hog)
        window = bench.window(3)
        unseated = window.of(UNSEATED)
        assert window.lost.unseated > 0
        assert unseated.ran_ns > 0 and unseated.waited_ns > 0
        told = [window.of(who) for _, who in groups if who.key in window.delays]
        assert all(whole(delay) == delay.waited_ns for delay in told)
        parts_keep_step_with_waits(bench)
        ran = sum(window.booked[w.pid].ran_ns for w in bench.workers)
        seen = unseated.ran_ns + sum(
            window.delays[who.key].ran_ns for _, who in groups if who.key in window.delays
        )
        assert seen >= 0.99 * ran


def parts_keep_step_with_waits(bench: Bench) -> None:
    """Of those, too, whose tasks go on and are caught half-way: the host's, and who has no seat.
    Since the sense was opened their parts come to no less than what they had waited by the look
    before, and to no more than by the look after.
    """
    looks = []
    for _ in range(3):
        looks.append({d.tenant.key: d for d in delays(bench.collect(), None)})
        time.sleep(0.2)
    before, now, after = looks
    for key, delay in before.items():
        assert delay.waited_ns <= whole(now[key]) <= after[key].waited_ns


def _take_turns() -> None:
    """On one CPU and then on another: stop, and work a little once all are let go."""
    for cpu in (CPUS[0], CPUS[-1]):
        os.sched_setaffinity(0, {cpu})
        os.kill(os.getpid(), signal.SIGSTOP)
        end = time.thread_time_ns() + 50_000
        while time.thread_time_ns() < end:
            pass
    os.kill(os.getpid(), signal.SIGSTOP)


def test_more_pairs_than_a_collection_can_tell_come_with_the_next(
    hierarchies: Hierarchies,
) -> None:
    """Also those of groups that are silent by then. Nothing is lost but what is counted."""
    tree = hierarchies.of("cpu")
    assert tree
    paths = [tree.directory(f"/ct-pairs-{i}") for i in range(CROWD)]
    pids: list[int] = []
    with Noise(hierarchies) as noise:
        try:
            for path in paths:
                path.mkdir()
                pids.append(_fork(_take_turns, pids[0] if pids else 0))
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(_move, pids, paths))
            tenants = tuple(_only(hierarchies, f"/{path.name}") for path in paths)
            _all_stop(pids)
            before = noise.collect(tenants)
            for _ in range(2):
                os.killpg(pids[0], signal.SIGCONT)
                _all_stop(pids)
            now, told = _collect_all(noise, tenants)
        finally:
            for pid in pids:
                with suppress(ProcessLookupError, ChildProcessError):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
            for path in paths:
                path.rmdir()
    found = [delay for delay in delays(now, before) if delay.tenant in tenants]
    assert len(found) == CROWD
    assert all(whole(delay) == delay.waited_ns for delay in found)
    assert len(told) > 2, "two collections look at all books in any case"


def _collect_all(noise: Noise, tenants: Sequence[Tenant]) -> tuple[Waits, list[int]]:
    """Collects until all pairs are told; how many each time."""
    told: list[int] = []
    while not told or told[-1] == records.NOISE_PAIRS:
        now = noise.collect(tenants)
        told.append(sum(1 for _ in noise._programs.pairs()))
    return now, told


def _fork(what: Callable[[], None], group: int) -> int:
    """A child in that process group, 0 for one of its own. It is put there from here: it might
    run later than the next one, which would find no such group yet.
    """
    pid = os.fork()
    if pid:
        os.setpgid(pid, group)
        return pid
    try:
        what()
    finally:
        os._exit(1)


def _move(pid: int, path: Path) -> None:
    (path / "cgroup.procs").write_text(str(pid))


def _all_stop(pids: list[int]) -> None:
    for pid in pids:
        _, status = os.waitpid(pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), f"{pid} ended with status {status}"


def test_forty_culprits_of_one_victim(bench: Bench) -> None:
    """More than a desk has cells for: the rest goes to a shared table and adds up too."""
    victim, who = bench.group("/ct-forty")
    culprits = []
    for i in range(40):
        group, culprit = bench.group(f"/ct-forty-{i}")
        culprits.append(culprit)
        bench.start(group, sleeper(0.001, 0.001))
    worker = bench.start(victim, hog)
    window = bench.window(6)
    delay = window.of(who)
    assert whole(delay) == delay.waited_ns
    assert delay.waited_ns == pytest.approx(window.by(worker).waited_ns, rel=0.01)
    assert sum(ns(delay, culprit) > 0 for culprit in culprits) == 40
    assert ns(delay, "unknown") < 0.05 * delay.waited_ns


def test_nested_cgroups_of_one_tenant_are_itself(
    bench: Bench, cgroup: Callable[[str], Cgroup]
) -> None:
    """Leaves below a tenant roll up to it: what they do to each other is `self`."""
    outer, who = bench.group("/ct-nest")
    inner = [cgroup(f"/ct-nest/{name}") for name in "ab"]
    for group in inner:
        bench.start(group, hog)
    window = bench.window(3)
    delay = window.of(who)
    assert ns(delay, who) == 0
    assert whole(delay) == delay.waited_ns
    others = ns(delay, HOST) + ns(delay, KERNEL) + ns(delay, "steal") + ns(delay, "unknown")
    assert ns(delay, "self") == pytest.approx(delay.waited_ns - others - ns(delay, "idle"))
    assert ns(delay, "self") == pytest.approx(delay.ran_ns, rel=0.1), "one waits while one runs"
    del outer


def test_tasks_of_no_tenant_are_the_hosts_and_the_kernels(bench: Bench) -> None:
    """A session of its own gets an autogroup (v1): still the host's. Kernel threads: `kernel`."""
    group, who = bench.group("/ct-guest")
    bench.start(group, hog)

    def as_session() -> None:
        os.setsid()
        hog()

    loose = bench.start(None, as_session)
    window = bench.window(3)
    delay = window.of(who)
    ran = window.by(loose).ran_ns
    assert ns(delay, HOST) >= 0.95 * ran
    assert window.delays[HOST.key].ran_ns >= ran
    assert {p.culprit.name for p in delay.parts if p.culprit} <= {"host", "kernel", "unknown"}
    assert 0 not in {key for pair in window.after.blame for key in pair}, "nobody has key 0"
