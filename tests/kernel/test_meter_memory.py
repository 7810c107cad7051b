"""Memory against memory.stat: equal when nothing moves, between two looks when it does."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.kernel.conftest import Cgroup, within
from tests.kernel.metering import at_rest, metering, of, tenant

from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.meter.files import FileReader
from cotenant.model import Memory

HOLD = """
import ctypes, mmap, os, sys, time
anon = bytearray(os.urandom(1)) * (24 << 20)
shared = mmap.mmap(-1, 8 << 20); shared.write(b"s" * (8 << 20))
with open(sys.argv[1], "wb") as file:
    file.write(b"f" * (12 << 20)); file.flush(); os.fsync(file.fileno())
mapped = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 12 << 20, mmap.MAP_SHARED, mmap.PROT_READ)
sum(mapped[i] for i in range(0, 12 << 20, 4096))
PR_SET_THP_DISABLE = 41
ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
open(sys.argv[1] + ".ready", "w").close()
time.sleep(1000)
"""
"""It moves no more: khugepaged would make its small pages huge ones whenever it comes by."""
GROW = """
import time
held = []
while True:
    held.append(bytearray(b"x") * (1 << 20)); time.sleep(0.002)
    if len(held) > 200: held.clear()
"""
NAMES = (
    "usage", "limit", "max_usage", "failures", "cache", "rss", "rss_huge", "shmem", "mapped_file",
    "dirty", "writeback", "swap", "inactive_file", "active_file", "pgpgin", "pgpgout", "pgfault",
    "pgmajfault", "low_events", "high_events", "max_events", "oom_events", "oom_kills",
)  # fmt: skip


def values(memory: Memory | None) -> dict[str, int | None]:
    """All values by name."""
    assert memory
    return {name: getattr(memory, name) for name in NAMES}


@pytest.mark.any_kernel
@pytest.mark.claim
def test_every_value_equals_its_file_when_nothing_moves(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup], tmp_path: Path
) -> None:
    group = cgroup("/ct-memory")
    group.spawn(sys.executable, "-c", HOLD, str(tmp_path / "file"))
    assert within(30, (tmp_path / "file.ready").exists)
    time.sleep(3)  # the kernel folds what it counted per CPU every 2 s
    who = tenant(hierarchies, group.path)
    files = FileReader(hierarchies)
    with metering(hierarchies) as meter:
        meter.collect((who,))
        # The kernel moves pages from list to list whenever another process makes it do so.
        read, filed = at_rest(
            lambda: values(files.memory(who)),
            lambda: values(of(meter.collect((who,)), who).memory),
        )
    files.close()
    assert read == filed
    assert (read["rss"] or 0) >= 24 << 20 and (read["mapped_file"] or 0) >= 12 << 20
    assert (read["shmem"] or 0) >= 8 << 20 and (read["cache"] or 0) >= 20 << 20


@pytest.mark.any_kernel
@pytest.mark.claim
def test_rising_counters_lie_between_two_looks_at_the_file(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> None:
    group = cgroup("/ct-rising")
    group.spawn(sys.executable, "-c", GROW)
    who = tenant(hierarchies, group.path)
    files = FileReader(hierarchies)
    counters = ("pgfault", "pgpgin", "pgpgout")
    with metering(hierarchies) as meter:
        assert within(60, lambda: (values(files.memory(who))["pgfault"] or 0) > 1000)
        for _ in range(50):
            before = values(files.memory(who))
            read = values(of(meter.collect((who,)), who).memory)
            after = values(files.memory(who))
            for name in counters:
                low, got, high = before[name], read[name], after[name]
                assert (low is None) == (got is None) == (high is None), name
                if low is not None and got is not None and high is not None:
                    assert low <= got <= high, f"{name}: {low} {got} {high}"
            time.sleep(0.01)
        assert (read["pgfault"] or 0) > 1000
    files.close()


@pytest.mark.any_kernel
@pytest.mark.claim
def test_limit_failures_and_kills(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> None:
    group = cgroup("/ct-oom")
    tree = hierarchies.of("memory")
    assert tree
    name = "memory.limit_in_bytes" if tree.version == 1 else "memory.max"
    (tree.directory(group.path) / name).write_text(str(32 << 20))
    swap = tree.directory(group.path) / "memory.swap.max"
    if swap.exists():
        swap.write_text("0")
    victim = group.spawn(sys.executable, "-c", "x = bytearray(b'x') * (64 << 20)")
    assert victim.wait(60) == -9
    who = tenant(hierarchies, group.path)
    files = FileReader(hierarchies)
    with metering(hierarchies) as meter:
        memory = of(meter.collect((who,)), who).memory
    assert memory and memory.limit == 32 << 20
    assert memory.oom_kills == 1
    assert memory.max_usage and memory.max_usage > 31 << 20
    ran_into = memory.failures if tree.version == 1 else memory.max_events
    assert ran_into and ran_into > 0
    booked = files.memory(who)
    assert booked and (booked.failures, booked.oom_kills) == (memory.failures, memory.oom_kills)
    files.close()


@pytest.mark.any_kernel
@pytest.mark.claim
def test_virtual_size_is_that_of_the_first_process(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> None:
    group = cgroup("/ct-vm")
    process = group.spawn("sleep", "1000")
    stat = Path(f"/proc/{process.pid}/stat")
    assert within(30, lambda: " (sleep) S " in stat.read_text()), "it is not loaded yet"
    who = tenant(hierarchies, group.path, process.pid)
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0])
    alone = [tree for tree in hierarchies.trees if tree.version == 1]
    for trees in (hierarchies.trees, *([alone] if alone else [])):  # also v1 without a v2 tree
        with metering(Hierarchies(list(trees))) as meter:
            assert of(meter.collect((who,)), who).vm_bytes == pages * 4096
