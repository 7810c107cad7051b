"""`cotenant bench noise`: the kernel's own counts, peers that really run, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cotenant.bench import hooks
from cotenant.bench.hooks import Empty, Nothing, Ours
from cotenant.bench.peers.runqlat import Peer
from cotenant.bench.requests import beside_hogs
from cotenant.bench.tenants import PARENT
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.kernel.runs import counted, map_bytes_of, programs_of
from cotenant.noise.programs import Level

RUN = [sys.executable, "-m", "cotenant", "bench", "noise"]
TIMES = 2000


def left(hierarchies: Hierarchies, pid: int) -> list[Path]:
    """Cgroups of the benchmark with this process id: another one may run beside the tests."""
    folders = [tree.directory(PARENT.format(pid)) for tree in hierarchies.trees]
    return [folder for folder in folders if folder.is_dir()]


def quiet(_done: int, _total: int) -> None:
    """Say nothing."""


def bench(hierarchies: Hierarchies, *words: str) -> Any:
    pipe = subprocess.PIPE
    with subprocess.Popen([*RUN, *words, "--json"], stdout=pipe, stderr=pipe) as running:
        told, talked = running.communicate(timeout=300)
    assert running.returncode == 0, talked.decode()
    assert left(hierarchies, running.pid) == []
    return json.loads(told)


@pytest.mark.claim
def test_a_short_run_tells_ways_and_bars(hierarchies: Hierarchies) -> None:
    result = bench(hierarchies, "--peers", "none", "--rounds", "1", "--slow-rounds", "0")
    assert result["skipped"] == []
    ways = {row["way"]: row for row in result["rows"] if row["part"] == "sched pipe"}
    ours = ["cotenant count", "cotenant histogram", "cotenant blame"]
    assert list(ways) == ["off", "empty", *ours]
    assert all(ways[way]["us_per_round"] > 0.5 for way in ways)
    assert all(ways[way]["gross_ns"] > ways[way]["net_ns"] for way in ours)
    assert all(ways[way]["map_kb"] > 100 for way in ours)
    assert [bar["unit"] for bar in result["bars"]] == ["ns", "ns", "MB"]


def test_the_slow_down_is_told_with_the_sense_off_on_and_beside_the_agent(
    hierarchies: Hierarchies,
) -> None:
    result = bench(hierarchies, "--peers", "none", "--rounds", "1", "--slow-rounds", "1")
    assert result["skipped"] == []
    rows = [row for row in result["rows"] if row["part"] == "slow-down"]
    assert len({(row["load"], row["state"]) for row in rows}) == len(rows) == 9
    assert {row["state"] for row in rows} == {"off", "noise", "agent"}
    assert all(0 < row["p50_us"] <= row["p99_us"] for row in rows)


@pytest.mark.claim
def test_programs_are_counted_only_while_it_is_asked_for() -> None:
    with Empty().attached() as sense:
        idle = hooks.hooked(sense.programs())
        time.sleep(0.05)
        assert hooks.hooked(sense.programs()) == idle
        with counted():
            for _ in range(100):
                time.sleep(0.0001)
        ran = {each.hook: each for each in hooks.hooked(sense.programs())}
    assert set(ran) == set(hooks.HOOKS.values())
    assert ran["sched_switch"].runs >= 100 and ran["sched_wakeup"].runs >= 100
    assert ran["sched_switch"].ns > 0


def test_a_turn_sees_every_switch_of_the_pipe(hierarchies: Hierarchies) -> None:
    empty = hooks.take_turn(Empty(), 0, TIMES)
    ours = hooks.take_turn(Ours(hierarchies, Level.BLAME), 0, TIMES)
    for turn in (empty, ours):
        switches = [each.runs for each in turn.ran if each.hook == "sched_switch"]
        assert switches[0] >= 2 * TIMES * hooks.LEAST_SEEN
    assert hooks.take_turn(Nothing(), 0, TIMES).ran == ()
    assert hooks.median_cost([ours], [empty]).gross_ns > 0


def test_a_peer_senses_in_a_process_of_its_own_and_ends(hierarchies: Hierarchies) -> None:
    mounts = set(Path("/proc/self/mounts").read_text().splitlines())
    before = {each.id for each in programs_of(os.getpid())}
    with Peer("bpftrace", lambda _: None).attached() as sense:
        there = {each.hook for each in hooks.hooked(sense.programs())}
        assert there == {"sched_switch", "sched_wakeup", "sched_wakeup_new"}
        assert sense.memory_bytes > 10_000
        assert {each.id for each in programs_of(os.getpid())} == before
        assert map_bytes_of(os.getpid()) < sense.memory_bytes
    assert sense.programs() == []
    assert hooks.take_turn(Peer("bpftrace", lambda _: None), 0, TIMES).memory_bytes > 10_000
    assert set(Path("/proc/self/mounts").read_text().splitlines()) <= mounts, "it left one"


def test_a_peer_ends_with_the_benchmark_that_is_killed() -> None:
    code = (
        "import time\nfrom cotenant.bench.peers.runqlat import Peer\n"
        "with Peer('bpftrace', print).attached():\n    print(flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stdout.readline() == b"\n"
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        assert len(children) == 1 and programs_of(int(children[0]))
        running.kill()
    deadline = time.monotonic() + 60
    while programs_of(int(children[0])) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert programs_of(int(children[0])) == []


def test_requests_are_answered_next_to_hogs_in_cgroups_of_their_own(
    hierarchies: Hierarchies,
) -> None:
    with beside_hogs(hierarchies, 0, quiet) as requests:
        assert len(requests.ask(300)) > 10
        tops = left(hierarchies, os.getpid())
        names = {folder.name for top in tops for folder in top.iterdir() if folder.is_dir()}
        assert {name.removeprefix(f"bench-{os.getpid()}-") for name in names} == {
            "server", "client", "hog-1", "hog-2",
        }  # fmt: skip
    assert left(hierarchies, os.getpid()) == []


def test_interrupted_it_leaves_nothing(hierarchies: Hierarchies) -> None:
    words = [*RUN, "--peers", "none", "--rounds", "1", "--slow-rounds", "1"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        while not left(hierarchies, running.pid) and running.poll() is None:
            time.sleep(0.05)
        os.kill(running.pid, signal.SIGTERM)
        assert running.wait(180) == 130
    assert left(hierarchies, running.pid) == []
