"""How much is kept at each level, preemptions against a raw trace, and a host at rest."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.kernel.conftest import within
from tests.kernel.waiting import (
    CPU,
    CPUS,
    Bench,
    books_of,
    check,
    favour,
    hog,
    ns,
    sleeper,
    whole,
)

from cotenant.buckets import BOUNDS_S
from cotenant.model import HOST, KERNEL
from cotenant.noise.blame import delays
from cotenant.noise.programs import Level
from cotenant.noise.verdict import Judge

PF_KTHREAD = 0x00200000


@pytest.mark.any_kernel
@pytest.mark.claim
def test_each_level_keeps_what_it_says(bench: Bench) -> None:
    """Waits and switches always; the distribution from the second on; who ran from the third."""
    first, victim = bench.group("/ct-level-a")
    second, culprit = bench.group("/ct-level-b")
    worker = bench.start(first, sleeper())
    bench.start(second, hog)

    def waits() -> None:
        last = books_of(worker.pid).slices + 20
        assert within(120, lambda: books_of(worker.pid).slices >= last), "it hardly ever waits"

    for level in (Level.COUNT, Level.HISTOGRAM, Level.BLAME, Level.COUNT):
        bench.pause()
        bench.noise.set_level(level)
        window = bench.window(1.5, meanwhile=waits)
        delay, booked = window.of(victim), window.by(worker)
        assert window.after.level == level.name.lower()
        assert delay.waited_ns == pytest.approx(booked.waited_ns, rel=0.01, abs=1e6)
        assert delay.voluntary == pytest.approx(booked.voluntary, rel=0.01, abs=2)
        assert sum(delay.buckets) == (delay.waits if level > Level.COUNT else 0)
        assert (ns(delay, culprit) > 0) == (level is Level.BLAME)
        if level is Level.BLAME:
            assert whole(delay) == delay.waited_ns


def test_collections_while_all_runs_are_consistent(bench: Bench) -> None:
    """Read in the midst of it: nothing falls, and the parts never exceed what was waited by more
    than what one collection may catch half-way.
    """
    tenants = []
    for i in range(6):
        group, who = bench.group(f"/ct-run-{i}")
        tenants.append(who)
        bench.start(group, (hog, sleeper())[i % 2], CPUS)
    before = bench.collect()
    for _ in range(300):
        time.sleep(0.005)
        now = bench.collect()
        check(now, before)
        before = now


def _class_of(pid: int, tenants: dict[int, str]) -> str:
    if pid in tenants:
        return tenants[pid]
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "service"
    return "kernel" if int(stat[6]) & PF_KTHREAD else "service"


@contextmanager
def switches_traced(trace: Path) -> Iterator[None]:
    """From begin to end, every switch of that CPU goes into a file of perf's."""
    (theirs, control), (answers, their_answers) = os.pipe(), os.pipe()
    record = subprocess.Popen(
        ["perf", "record", "-q", "-e", "sched:sched_switch", "-C", str(CPU), "-m", "4M", "-D", "-1",
         f"--control=fd:{theirs},{their_answers}", "-o", str(trace)],
        pass_fds=(theirs, their_answers), stderr=subprocess.DEVNULL)  # fmt: skip
    os.close(theirs)
    os.close(their_answers)

    def ask(word: bytes) -> None:
        os.write(control, word + b"\n")
        assert os.read(answers, 64).startswith(b"ack"), "perf ended"

    try:
        ask(b"enable")
        yield
        ask(b"disable")
        os.write(control, b"stop\n")
        assert record.wait(timeout=60) == 0
    finally:
        record.kill()
        record.wait()
        os.close(control)
        os.close(answers)


@pytest.mark.claim
def test_preemptions_by_class_equal_those_of_a_raw_trace(bench: Bench, tmp_path: Path) -> None:
    """By the queue, not by the tracepoint's `preempt`, which misses nearly all of them."""
    workers = {}
    for name in "ab":
        group, who = bench.group(f"/ct-trace-{name}")
        workers[who] = [bench.start(group, hog) for _ in range(2)]
    bench.pause()
    trace = tmp_path / "trace"
    with switches_traced(trace):
        window = bench.window(3)
    text = subprocess.run(["perf", "script", "-i", str(trace), "-F", "event,trace"],
                          capture_output=True, text=True, timeout=60).stdout  # fmt: skip
    switches = [
        (int(found[1]), found[2], int(found[3]))
        for found in re.finditer(r"prev_pid=(\d+) .*prev_state=(\S+) .*next_pid=(\d+)", text)
    ]
    for who, own in workers.items():
        mine = {worker.pid for worker in own}
        classes = {
            worker.pid: "self" if other is who else "tenant"
            for other, several in workers.items()
            for worker in several
        }
        traced = Counter(
            _class_of(taker, classes)
            for pid, state, taker in switches
            if pid in mine and state.startswith("R") and taker
        )
        told = window.of(who).preemptions
        assert sum(traced.values()) > 50, "there is nothing to compare"
        assert told["self"] == traced["self"]
        assert told["tenant"] == traced["tenant"]
        assert told["service"] + told["kernel"] == traced["service"] + traced["kernel"]


def test_on_a_quiet_host_nobody_is_accused(bench: Bench) -> None:
    """Half a minute of tenants that sleep most of the time. What this machine does besides is the
    host's own: it is neither judged here nor allowed to run before them.
    """
    tenants = []
    for i in range(3):
        group, who = bench.group(f"/ct-quiet-{i}")
        favour(group)
        tenants.append(who)
        bench.start(group, sleeper(0.05, 0.0005), (CPUS[i % len(CPUS)],))
    judge, before = Judge(), bench.collect()
    for _ in range(30):
        time.sleep(1)
        now = bench.collect()
        mine = [d for d in delays(now, before) if d.tenant in tenants]
        assert len(mine) == len(tenants)
        began, _ = judge.judge(mine, now.at_ns)
        assert began == []
        assert {key for pair in now.blame for key in pair} <= {
            who.key for who in (*tenants, HOST, KERNEL)
        }, "nobody else lives here: an idle CPU is a reason, never a culprit"
        before = now


def test_long_waits_are_told_one_by_one(bench: Bench) -> None:
    """With whole names, and what the limit left out is counted: the sources this follows cut names
    to 7 letters, and their limit never came into force (anchor page, section 6).
    """
    first, victim = bench.group("/ct-event-a")
    second, culprit = bench.group("/ct-event-b")
    worker = bench.start(first, hog)
    bench.start(second, hog)
    bench.pause()
    bench.noise.tell_events(1_000_000)
    try:
        window = bench.window(3)
        told = [event for event in bench.noise.events() if event.victim.key == victim.key]
    finally:
        bench.noise.tell_events(0)
    assert len(told) > 20
    assert {event.pid for event in told} == {worker.pid}
    assert all(1_000_000 <= event.waited_ns <= 3e9 and event.cpu == CPU for event in told)
    assert [event.at_ns for event in told] == sorted(event.at_ns for event in told)
    blamed = Counter(event.culprit for event in told)
    assert blamed[culprit.name] > 0.3 * len(told), blamed
    longer = sum(bound <= 0.001 for bound in BOUNDS_S) + 1  # buckets wholly above 1 ms
    every = sum(window.of(victim).buckets[longer:])
    assert len(told) + window.lost.events >= every, "told or counted"
    assert sum(event.waited_ns for event in told) <= window.of(victim).waited_ns * 1.01
