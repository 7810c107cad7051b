"""All tiers that this kernel has tell the same; the file tier tells it on any kernel."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.kernel.conftest import Cgroup, within
from tests.kernel.metering import SPIN, at_rest, kernel_tiers, metering, of, tenant
from tests.kernel.test_meter_memory import HOLD, NAMES

from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.meter import states
from cotenant.meter.programs import Programs, probe
from cotenant.meter.tiers import TRIES
from cotenant.model import Sample

TICK_NS = 10_000_000
PSI_WORKER_US = 2_500_000
"""A worker brings PSI totals up every 2 s (kernel/sched/psi.c); reading the file forces it."""


@pytest.mark.any_kernel
@pytest.mark.claim
def test_tiers_agree_on_a_still_tenant(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup], tmp_path: Path
) -> None:
    group = cgroup("/ct-tiers")
    process = group.spawn(sys.executable, "-c", HOLD, str(tmp_path / "file"))
    assert within(60, (tmp_path / "file.ready").exists)
    time.sleep(3)
    who = tenant(hierarchies, group.path, process.pid)
    with ExitStack() as stack:
        meters = {
            tier: stack.enter_context(metering(hierarchies, tier))
            for tier in kernel_tiers(hierarchies)
        }
        assert {tier: meter.tier for tier, meter in meters.items()} == {t: t for t in meters}
        by_files = meters.pop("files")

        def look() -> dict[str, Sample]:
            return {tier: of(meter.collect((who,)), who) for tier, meter in meters.items()}

        # The kernel moves pages from list to list whenever another process makes it do so.
        samples, files = at_rest(lambda: replace(of(by_files.collect((who,)), who), at_ns=0), look)
    for tier, sample in samples.items():
        for name in NAMES:
            assert getattr(sample.memory, name) == getattr(files.memory, name), (tier, name)
        assert sample.throttle == files.throttle, tier
        assert sample.pids == files.pids, tier
        assert sample.vm_bytes == files.vm_bytes, tier
        assert sample.cpu and files.cpu
        assert sample.cpu.usage_ns == pytest.approx(files.cpu.usage_ns, abs=TICK_NS)
        assert sample.cpu.user_ns == pytest.approx(files.cpu.user_ns, abs=TICK_NS)
        assert (sample.pressure is None) == (files.pressure is None), tier
        if sample.pressure and files.pressure:
            for name in sample.pressure.__struct_fields__:
                got, filed = getattr(sample.pressure, name), getattr(files.pressure, name)
                assert got == pytest.approx(filed, abs=PSI_WORKER_US), (tier, name)


@pytest.mark.any_kernel
@pytest.mark.claim
def test_tiers_agree_on_a_busy_tenant_within_one_tick(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> None:
    """Equal whenever it is stopped; what they tell of it in between lies between two stops.

    While it runs they agree in half of the looks or more: the files lag by a tick, and a hypervisor
    can hold back the tick of one CPU for as long as it likes.
    """
    group = cgroup("/ct-tiers-busy")
    process = group.spawn(*SPIN)
    who = tenant(hierarchies, group.path)
    with ExitStack() as stack:
        meters = {
            tier: stack.enter_context(metering(hierarchies, tier))
            for tier in kernel_tiers(hierarchies)
        }

        def usages() -> dict[str, int]:
            cpus = {tier: of(meter.collect((who,)), who).cpu for tier, meter in meters.items()}
            return {tier: cpu.usage_ns for tier, cpu in cpus.items() if cpu}

        def stopped() -> dict[str, int]:
            process.send_signal(signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
            return usages()

        before, apart = stopped(), []
        for _ in range(20):
            process.send_signal(signal.SIGCONT)
            time.sleep(0.05)
            began = time.monotonic_ns()
            running = usages()
            took = time.monotonic_ns() - began
            apart.append(max(running.values()) - min(running.values()) - took)
            after = stopped()
            assert set(running) == set(after) == set(meters)
            assert max(after.values()) - min(after.values()) <= TICK_NS
            assert min(running.values()) >= max(before.values()) - TICK_NS
            assert max(running.values()) <= min(after.values()) + TICK_NS
            before = after
    assert sorted(apart)[len(apart) // 2] <= TICK_NS
    assert max(after.values()) >= TICK_NS, "it did not run"


def memory_stat(group: Cgroup) -> dict[str, int]:
    """The cgroup's memory.stat, read here and now."""
    tree = group.hierarchies.of("memory")
    assert tree
    text = (tree.directory(group.path) / "memory.stat").read_text()
    return {name: int(value) for name, value in (line.split() for line in text.splitlines())}


@pytest.mark.file_tier
@pytest.mark.any_kernel
@pytest.mark.claim
def test_the_file_tier_meters_by_itself(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup], tmp_path: Path
) -> None:
    group = cgroup("/ct-files")
    process = group.spawn(sys.executable, "-c", HOLD, str(tmp_path / "file"))
    assert within(60, (tmp_path / "file.ready").exists)
    who = tenant(hierarchies, group.path, process.pid)
    with metering(hierarchies, "files") as meter:
        meter.collect((who,))
        snapshot, stat = at_rest(lambda: memory_stat(group), lambda: meter.collect((who,)))
    sample = of(snapshot, who)
    assert snapshot.tier == "files"
    assert sample.cpu and sample.cpu.usage_ns > 0
    assert sample.memory and (sample.memory.rss or 0) >= 24 << 20
    v1 = "total_cache" in stat
    assert sample.memory.cache == stat["total_cache" if v1 else "file"]
    # Before 5.15 the kernel keeps up to 32 pages of each CPU out of its books.
    assert sample.memory.cache >= (20 << 20) - 32 * 4096 * (os.cpu_count() or 1)
    assert sample.memory.rss == stat["total_rss" if v1 else "anon"]
    assert sample.pids and sample.pids.current == 1
    assert sample.throttle and sample.throttle.quota_us is None
    assert sample.vm_bytes and sample.vm_bytes > 24 << 20
    assert sample.traffic is None, "nobody counts at the cgroup here: None, not 0"
    memory = hierarchies.of("memory")
    if memory and memory.version == 1:
        assert sample.disks is None, "v1's files do not tell block IO: None, not 0"


@pytest.mark.any_kernel
@pytest.mark.claim
def test_the_places_of_memory_stat_were_proven_here(hierarchies: Hierarchies) -> None:
    """A host where the proof fails would quietly read 200 files a second."""
    with metering(hierarchies) as meter:
        assert meter._programs
        assert meter._programs.facts.places.known


@pytest.mark.any_kernel
@pytest.mark.claim
def test_with_programs_a_tenant_is_read_from_the_kernels_table(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> None:
    """The files give the same figures: that they are not what is compared must be proven once."""
    group = cgroup("/ct-table")
    who = tenant(hierarchies, group.path)
    with metering(hierarchies) as meter:
        sample = of(meter.collect((who,)), who)
        assert meter._slots is not None and meter._slots.of(who.key) is not None
        assert sample.memory is meter._seen[who.key].parts.memory
        assert sample.cpu is meter._seen[who.key].cpu


@pytest.mark.any_kernel
@pytest.mark.claim
def test_every_program_loads_and_attaches(hierarchies: Hierarchies) -> None:
    programs = Programs(hierarchies, probe(hierarchies, frozenset(), kfuncs=True))
    try:
        assert programs.unattached == []
        assert programs.counts_traffic
        assert programs.fileno() is not None
    finally:
        programs.close()


@pytest.mark.claim
def test_the_proof_may_fail_on_a_busy_host_but_not_each_time(
    hierarchies: Hierarchies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each collection would cost ten times as much for as long as the agent lives."""
    tried: list[int] = []

    def proven(*looks: object) -> bool:
        tried.append(1)
        return len(tried) == 2

    monkeypatch.setattr(states, "proven", proven)
    for known in (True, False):
        with metering(hierarchies) as meter:
            assert meter._programs
            assert meter._programs.facts.places.known == known
    assert len(tried) == 2 + TRIES
