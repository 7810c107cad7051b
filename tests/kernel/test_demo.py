"""`cotenant demo`: what it starts does what it says, and goes, also after a crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.conftest import within

from cotenant.demo import show, wire, workloads
from cotenant.demo.cgroups import PARENT
from cotenant.demo.loads import NOISY, SHOWCASE
from cotenant.kernel import cgroupfs
from cotenant.kernel.cgroupfs import Hierarchies

RUN = [sys.executable, "-m", "cotenant", "demo"]
MANY = 1000
"""To start them takes seconds: time to end that in the middle."""


def demo(*words: str) -> Any:
    """What `cotenant demo WORDS --json` prints."""
    done = subprocess.run([*RUN, *words, "--json"], capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.fixture(autouse=True)
def _removed() -> Iterator[None]:
    demo("down")
    yield
    demo("down")


def left(hierarchies: Hierarchies) -> list[str]:
    """Everything of the demo that is still there."""
    found = [str(tree.directory(PARENT)) for tree in hierarchies.trees]
    found += [str(show.STATE), str(workloads.FILE.parent)]
    namespaces = [f"/run/netns/{wire.PREFIX}{side}" for side in wire.ADDRESSES]
    return [path for path in (*found, *namespaces) if Path(path).exists()]


def number(hierarchies: Hierarchies, controller: str, name: str, v1: str, v2: str) -> int:
    """A figure of a demo cgroup, from the file `v1` or `v2`: `FILE`, or `FILE KEY` of a table."""
    tree = hierarchies.of(controller)
    assert tree is not None
    file, _, key = (v1 if tree.version == 1 else v2).partition(" ")
    text = (tree.directory(f"{PARENT}/{name}") / file).read_text()
    if not key:
        return int(text)
    return int(dict(line.split() for line in text.splitlines())[key])


@pytest.mark.claim
def test_the_showcase_as_plain_cgroups_shows_what_it_says(hierarchies: Hierarchies) -> None:
    party = demo("up", "--yes", "--cgroups")
    assert [each["name"] for each in party["started"]] == [load.name for load in SHOWCASE]
    assert party["skipped"] == []
    file = "cpu.stat nr_throttled"
    assert within(60, lambda: number(hierarchies, "cpu", "demo-hog", file, file) > 5)

    def held() -> int:
        files = ("memory.usage_in_bytes", "memory.current")
        return number(hierarchies, "memory", "demo-memory", *files)

    assert within(60, lambda: held() >= 192 << 20)
    size = workloads.BLOCKS_A_SECOND * workloads.BLOCK
    assert within(60, lambda: workloads.FILE.exists() and workloads.FILE.stat().st_size == size)
    assert within(60, lambda: received("client") > 2 * workloads.BLOCK)
    assert 192 << 20 <= held() < 256 << 20


def test_the_noisy_ones_are_pinned_to_one_cpu_and_go(hierarchies: Hierarchies) -> None:
    party = demo("up", "--noisy", "--yes", "--cgroups")
    assert [each["name"] for each in party["started"]] == [load.name for load in NOISY]
    cpu = hierarchies.of("cpu")
    assert cpu is not None
    for load in NOISY:
        procs = cpu.directory(f"{PARENT}/{load.name}") / "cgroup.procs"
        assert within(60, lambda procs=procs, load=load: on(procs) == {load.cpu})  # type: ignore[misc]
    demo("down")
    assert left(hierarchies) == []


def on(procs: Path) -> set[int]:
    """The CPUs that what runs in a cgroup may run on."""
    return {each for pid in procs.read_text().split() for each in os.sched_getaffinity(int(pid))}


def received(side: str) -> int:
    """Bytes that one end of the wire received."""
    path = "/sys/class/net/eth0/statistics/rx_bytes"
    words = ["ip", "netns", "exec", wire.PREFIX + side, "cat", path]
    return int(subprocess.run(words, capture_output=True, check=True).stdout)


@pytest.mark.claim
def test_down_leaves_nothing_even_without_its_notes(hierarchies: Hierarchies) -> None:
    before = {tree.number: subtree(tree) for tree in hierarchies.trees if tree.version == 2}
    demo("up", "--yes", "--cgroups")
    demo("down")
    assert left(hierarchies) == []
    after = {tree.number: subtree(tree) for tree in hierarchies.trees if tree.version == 2}
    assert after == before
    demo("up", "--yes", "--cgroups")
    show.STATE.unlink()
    demo("down")
    assert left(hierarchies) == []


def subtree(tree: cgroupfs.Hierarchy) -> str:
    return (tree.mount / "cgroup.subtree_control").read_text()


def test_down_cleans_up_after_a_crash_in_the_middle(hierarchies: Hierarchies) -> None:
    with subprocess.Popen(
        [*RUN, "up", "-n", str(MANY), "--yes", "--cgroups"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as starting:
        third = hierarchies.trees[0].directory(f"{PARENT}/demo-0003")
        while not third.exists():
            assert starting.poll() is None
            time.sleep(0.001)
        os.kill(starting.pid, signal.SIGKILL)
    removed = demo("down")["removed"]
    assert 3 <= len(removed) < MANY
    assert left(hierarchies) == []


def test_up_again_starts_only_what_is_missing() -> None:
    demo("up", "-n", "2", "--yes", "--cgroups")
    party = demo("up", "-n", "3", "--yes", "--cgroups")
    assert [each["name"] for each in party["started"]] == ["demo-03"]
    assert party["already"] == ["demo-01", "demo-02"]


def test_without_a_terminal_it_asks_nobody_and_says_so() -> None:
    done = subprocess.run([*RUN, "up"], capture_output=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 2
    assert b"cotenant demo up --yes" in done.stderr


@pytest.mark.docker
@pytest.mark.claim
def test_through_docker_every_one_runs_and_goes() -> None:
    party = demo("up", "--yes", "--docker")
    assert party["skipped"] == []
    assert running() == {load.name for load in SHOWCASE}
    assert within(60, lambda: received_by("demo-client") > 2 * workloads.BLOCK)
    assert running() == {load.name for load in SHOWCASE}
    show.STATE.unlink()
    demo("down")
    assert running() == set()
    images = subprocess.run(
        ["docker", "images", "-q", "cotenant-demo-1"], capture_output=True, check=True
    )
    assert images.stdout == b""


def received_by(container: str) -> int:
    """Bytes that came in on the container's own interface."""
    words = ["docker", "inspect", "-f", "{{.State.Pid}}", container]
    pid = subprocess.run(words, capture_output=True, check=True).stdout
    for line in Path(f"/proc/{int(pid)}/net/dev").read_text().splitlines():
        if line.strip().startswith("eth0:"):
            return int(line.split(":")[1].split()[0])
    raise AssertionError(f"{container} has no eth0")


def running() -> set[str]:
    """Names of the running demo containers."""
    words = ["docker", "ps", "--filter", "label=cotenant.demo", "--format", "{{.Names}}"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.docker
def test_thirty_through_docker() -> None:
    demo("up", "-n", "30", "--yes", "--docker")
    assert len(running()) == 30
    assert len(demo("down")["removed"]) == 30
    assert running() == set()
