"""`cotenant bench profile`: real stacks, profilers that really run, nothing left behind."""

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

from cotenant.bench.form import Result
from cotenant.bench.peers import profilers
from cotenant.bench.profiling import chosen, tools
from cotenant.bench.profiling.ticks import Ticks
from cotenant.bench.profiling.victims import victims
from cotenant.bench.tenants import PARENT
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.kernel.perf import Clock, online_cpus

RUN = [sys.executable, "-m", "cotenant", "bench", "profile"]
SHORT = ["--rounds", "1", "--window", "1", "--tool-seconds", "2"]


def left(hierarchies: Hierarchies, pid: int) -> list[Path]:
    """Cgroups of the benchmark with this process id."""
    folders = [tree.directory(PARENT.format(pid)) for tree in hierarchies.trees]
    return [folder for folder in folders if folder.is_dir()]


def quiet(*_: object) -> None:
    """Say nothing."""


def bench(hierarchies: Hierarchies, *words: str) -> Any:
    pipe = subprocess.PIPE
    with subprocess.Popen([*RUN, *words, "--json"], stdout=pipe, stderr=pipe) as running:
        told, talked = running.communicate(timeout=300)
    assert running.returncode == 0, talked.decode()
    assert left(hierarchies, running.pid) == []
    return json.loads(told)


def test_a_short_run_tells_stacks_costs_and_bars(hierarchies: Hierarchies) -> None:
    words = [*SHORT, "--peers", "py-spy", "--processes", "3", "--agent-seconds", "2"]
    result = bench(hierarchies, *words)
    assert result["skipped"] == []
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in result["rows"]:
        rows.setdefault(row["part"], []).append(row)
    assert len(rows["a sample of ours"]) == 4 and len(rows["unwind table"]) == 3
    for row in rows["a sample of ours"]:
        assert row["samples"] > 0 and row["tick_us"] > 0
        assert 0 < row["kernel_us"] < 1000 and row["user_us"] > 0
    seen = {row["tool"]: row for row in rows["what they see"]}
    assert list(seen) == ["cotenant", "py-spy"]
    assert seen["cotenant"]["whole_percent"] > 50 and seen["py-spy"]["whole_percent"] == 0
    assert seen["cotenant"]["python_without_gil"] > 50 and seen["py-spy"]["python_with_gil"] > 50
    ours, beside = rows["what they cost"]
    assert ours["kernel_us"] > 0 and beside["kernel_us"] is None
    assert ours["sample_us"] > ours["process_us"] and beside["process_us"] > 0
    assert [bar["unit"] for bar in result["bars"]] == [
        *["million rows/s"] * 3, "MB", "us", "us", "us", "%", "%", "%", "%",
    ]  # fmt: skip


def test_ticks_are_those_of_the_process_that_opened_the_clock() -> None:
    with Ticks() as ticks:
        clocks = [Clock(cpu, 199) for cpu in online_cpus()]
        try:
            for clock in clocks:
                clock.enable()
            ticks.follow(os.getpid())
            began, before = time.monotonic(), ticks.read()
            work(0.5)  # an idle CPU's clock hardly ticks
            ours, took = ticks.read().since(before), time.monotonic() - began
            ticks.follow(1)
            before = ticks.read()
            work(0.2)
            others = ticks.read().since(before)
        finally:
            for clock in clocks:
                clock.close()
    assert 60 <= ours.runs <= (199 * took * 1.1 + 2) * len(clocks)
    assert 0 < ours.ns < 500_000_000
    assert others.runs == 0


def work(seconds: float) -> None:
    """Run for so long: time that others get, or the machine below, does not count."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


@pytest.mark.parametrize("name", [profilers.DWARF, profilers.NATIVE, profilers.AUSTIN])
def test_a_peer_profiles_python_and_is_read(
    hierarchies: Hierarchies, tmp_path: Path, name: str
) -> None:
    with victims(hierarchies, quiet, Result("", {}, "")) as found, Ticks() as ticks:
        tool = chosen.peer(name, quiet)
        took = tool.turn(tools.Stage(found, 99, 2.0, ticks, tmp_path))
    assert took.told > 20 and took.bytes > 100
    assert took.watched.steady_ns > 0
    hashing = took.seen["hash"]
    assert hashing.samples > 5
    if name == profilers.DWARF:
        assert took.read_ns > 0 and took.watched.ticked.runs > 20
        assert hashing.whole > hashing.samples / 2 and hashing.python == 0
    else:
        assert took.watched.ticked == tools.NOTHING
        assert hashing.python > hashing.samples / 2
        assert (hashing.whole > hashing.samples / 2) == (name == profilers.NATIVE)


def test_interrupted_it_leaves_nothing(hierarchies: Hierarchies) -> None:
    words = [*RUN, *SHORT, "--peers", "none", "--processes", "0"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        while not left(hierarchies, running.pid) and running.poll() is None:
            time.sleep(0.05)
        os.kill(running.pid, signal.SIGTERM)
        assert running.wait(180) == 130
    assert left(hierarchies, running.pid) == []
