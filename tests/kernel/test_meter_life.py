"""Births and deaths: nothing that lived is lost, nothing that vanished breaks a collection."""

from __future__ import annotations

import gc
import os
import resource
import sys
from collections.abc import Callable

import pytest
from tests.kernel.conftest import Cgroup, within
from tests.kernel.metering import SPIN, booked_ns, final_of, metering, of, tenant
from tests.kernel.test_meter_network import DATAGRAMS, IP_UDP, PAYLOAD, SEND

from cotenant.agent.watch import Watch
from cotenant.config import Settings
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.model import Sample


@pytest.mark.any_kernel
@pytest.mark.claim
def test_fifty_milliseconds_are_billed(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> None:
    """A tenant that was never sampled alive has its CPU time in its final record."""
    with metering(hierarchies) as meter:
        group = cgroup("/ct-brief")
        who = tenant(hierarchies, group.path)
        process = group.spawn(*SPIN)
        assert within(60, lambda: booked_ns(group) >= 50_000_000, 0.001), "it did not run"
        process.kill()
        process.wait()
        meter.collect((who,))
        booked = booked_ns(group)
        group.remove()
        final = _final(meter, (who,), who)
    assert final.final and final.cpu
    assert final.cpu.usage_ns == pytest.approx(booked, rel=0.01)
    assert booked >= 50_000_000
    assert final.memory and (final.memory.max_usage or 0) > 0


@pytest.mark.any_kernel
@pytest.mark.claim
def test_a_tenant_known_only_after_its_death_is_billed(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> None:
    """Events of a birth and a death may be read together."""
    with metering(hierarchies) as meter:
        group = cgroup("/ct-gone")
        who = tenant(hierarchies, group.path)
        assert group.spawn(sys.executable, "-c", SEND, "127.0.0.1").wait(60) == 0
        group.remove()
        final = _final(meter, (who,), who)
    assert final.traffic and final.traffic.sent_bytes == DATAGRAMS * (PAYLOAD + IP_UDP)
    assert final.cpu and final.cpu.usage_ns > 1e6


def _final(meter, tenants, who) -> Sample:
    found: list[Sample] = []

    def look() -> bool:
        meter.events()
        sample = final_of(meter.collect(tenants), who)
        found.extend([sample] if sample else [])
        return bool(found)

    assert within(60, look), "no final record came"
    return found[0]


@pytest.mark.any_kernel
@pytest.mark.claim
def test_births_and_deaths_are_told_in_every_hierarchy(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> None:
    with metering(hierarchies) as meter:
        group = cgroup("/ct-told")
        ids = group.ids
        group.remove()
        events = [e for e in meter.events() if e.path == "/ct-told"]
    born = {e.hierarchy: e.id for e in events if e.made}
    died = {e.hierarchy: e.id for e in events if not e.made}
    assert born == died
    assert born.items() <= ids.items()
    memory = hierarchies.of("memory")
    assert memory and memory.number in born


@pytest.mark.any_kernel
@pytest.mark.claim
def test_a_cgroup_that_vanishes_in_mid_read_is_counted(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> None:
    stays, goes = cgroup("/ct-stays"), cgroup("/ct-goes")
    tenants = (tenant(hierarchies, stays.path), tenant(hierarchies, goes.path))
    for tier in (None, "files"):
        with metering(hierarchies, tier) as meter:
            meter.collect(tenants)
            if tier is None:
                goes.remove()
            snapshot = meter.collect(tenants)
            assert of(snapshot, tenants[0]).memory is not None
            assert of(snapshot, tenants[1]).memory is None
            assert snapshot.lost.vanished >= 1


def test_five_hundred_tenants_born_and_gone_leave_nothing_behind(
    hierarchies: Hierarchies,
) -> None:
    """Each is billed by a final record; memory and descriptors are as before."""
    with metering(hierarchies) as meter:

        def generation(numbers: range) -> int:
            groups = [Cgroup(hierarchies, f"/ct-churn{i}") for i in numbers]
            tenants = tuple(tenant(hierarchies, g.path) for g in groups)
            meter.collect(tenants)
            for group in groups:
                group.remove()
            finals: set[int] = set()

            def all_told() -> bool:
                meter.events()
                finals.update(s.tenant.key for s in meter.collect(tenants).finals)
                return len(finals) == len(tenants)

            within(60, all_told)
            meter.collect(())
            return len(finals)

        assert generation(range(50)) == 50  # warm: caches and pools are filled
        gc.collect()
        descriptors = len(os.listdir("/proc/self/fd"))
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        told = sum(generation(range(at, at + 50)) for at in range(0, 500, 50))
        gc.collect()
        assert told == 500
        assert within(30, lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident < 8 << 10  # kB
        assert meter._slots is not None and meter._slots.held == 0 and not meter._seen
        assert meter.collect(()).lost.births == 0


@pytest.mark.any_kernel
@pytest.mark.claim
def test_one_found_by_a_walk_ends_with_its_death(cgroup: Callable[[str], Cgroup]) -> None:
    """The walk saw it in every tree; only those that are read tell its death."""
    group = cgroup("/ct-walked")
    group.spawn("sleep", "1000")
    with Watch(Settings(rescan_interval_s=86400.0), listen=True) as watch:

        def lives() -> bool:
            return any(s.tenant.path == group.path for s in watch.snapshot().samples)

        assert lives()
        group.remove()
        assert within(60, lambda: not lives())
