"""Many tenants: all of them are metered, on every tier; past the table's room, by files."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator

import pytest
from tests.kernel.conftest import Cgroup, within
from tests.kernel.metering import SLEEP, SPIN, metering, of, tenant

from cotenant.kernel.cgroupfs import Hierarchies, Hierarchy
from cotenant.meter.read import Meter
from cotenant.model import Snapshot, Tenant

MANY = 10_000
FEW_DESCRIPTORS = 4096


def trees_that_matter(hierarchies: Hierarchies) -> list[Hierarchy]:
    """Where CPU time and memory are kept."""
    found = (hierarchies.unified, hierarchies.of("cpu"), hierarchies.of("memory"))
    return list({tree.number: tree for tree in found if tree}.values())


@pytest.fixture
def crowd(hierarchies: Hierarchies) -> Iterator[tuple[Tenant, ...]]:
    """Ten thousand empty cgroups below one."""
    paths = [f"/ct-crowd/{i}" for i in range(MANY)]
    trees = trees_that_matter(hierarchies)
    try:
        for tree in trees:
            top = tree.directory("/ct-crowd")
            top.mkdir()
            if tree.version == 2:
                (top / "cgroup.subtree_control").write_text(" ".join(
                    f"+{name}" for name in tree.controllers & {"cpu", "memory"}))  # fmt: skip
            for path in paths:
                os.mkdir(tree.directory(path))
        yield tuple(tenant(hierarchies, path) for path in paths)
    finally:
        for tree in trees:
            for path in (*paths, "/ct-crowd"):
                directory = tree.directory(path)
                if directory.exists():
                    directory.rmdir()


def test_ten_thousand_cgroups_are_all_metered_on_every_tier(
    hierarchies: Hierarchies, crowd: tuple[Tenant, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for tier in (None, "files"):
        if tier == "files":
            # Far fewer than one per tenant: the meter must live with what it is given.
            resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_DESCRIPTORS, hard))
            monkeypatch.setattr(resource, "getrlimit", lambda _: (FEW_DESCRIPTORS,) * 2)
        try:
            with metering(hierarchies, tier) as meter:
                snapshot = meter.collect(crowd)
                open_files = len(os.listdir("/proc/self/fd"))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert len(snapshot.samples) == MANY
        without = [s.tenant.path for s in snapshot.samples if s.cpu is None or s.memory is None]
        assert without == [], tier
        assert (snapshot.lost.slots, snapshot.lost.vanished) == (0, 0)
        assert open_files < FEW_DESCRIPTORS
    assert {s.cpu.usage_ns for s in snapshot.samples if s.cpu} == {0}


@pytest.mark.claim
def test_past_the_tables_room_tenants_are_counted_and_read_from_files(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> None:
    groups = [cgroup(f"/ct-room{i}") for i in range(5)]
    for group in groups:
        group.spawn(*SPIN)
    tenants = tuple(tenant(hierarchies, group.path) for group in groups)
    with metering(hierarchies) as meter:
        assert meter._programs
        del meter._programs._free[:-2]
        assert within(60, lambda: _all_worked(meter.collect(tenants)))
        snapshot = meter.collect(tenants)
        for who in tenants:
            sample = of(snapshot, who)
            assert sample.memory and (sample.memory.rss or 0) > 1 << 20
            assert sample.pids and sample.pids.current == 1
            assert sample.throttle is not None
        roomless = [s for s in snapshot.samples if s.traffic is None]
        assert len(roomless) == snapshot.lost.slots == 3
        snapshot = meter.collect(tenants[:4])
        assert snapshot.lost.slots == 3, "no tenant is counted twice"
        snapshot = meter.collect(tenants[2:])
        assert [s.traffic is None for s in snapshot.samples] == [False, False, True]


def _all_worked(snapshot: Snapshot) -> bool:
    """So long that none is still about to start."""
    return all(s.cpu and s.cpu.usage_ns > 200_000_000 for s in snapshot.samples)


@pytest.mark.claim
def test_a_tenant_the_kernels_table_refuses_is_read_from_files_and_counted(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry may be refused for want of memory: half a slot must not pass for a whole one."""
    who = tenant(hierarchies, cgroup("/ct-refused").path)
    with metering(hierarchies) as meter:
        assert meter._programs
        free = len(meter._programs._free)
        monkeypatch.setattr(meter._programs._slots, "put", lambda key, value: False)
        snapshot = meter.collect((who,))
        assert len(meter._programs._free) == free
    sample = of(snapshot, who)
    assert sample.memory is not None and sample.pids is not None and sample.cpu is not None
    assert snapshot.lost.slots == 1


@pytest.mark.any_kernel
@pytest.mark.claim
def test_the_way_of_the_last_walk_is_not_believed_when_things_change(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> None:
    """Births and deaths shift everyone's place, slots change hands: figures stay with their own."""
    groups = [cgroup(f"/ct-way{i}") for i in range(4)]
    held = [groups[i].spawn(*SLEEP) for i in range(4) for _ in range(i + 1)]
    assert len(held) == 10

    def tasks(meter: Meter, who: tuple[Tenant, ...]) -> list[int | None]:
        samples = {s.tenant.key: s for s in meter.collect(who).samples}
        return [p.current if (p := samples[t.key].pids) else None for t in who]

    with metering(hierarchies) as meter:
        first, *others = tenants = tuple(tenant(hierarchies, group.path) for group in groups)
        assert tasks(meter, tenants) == [1, 2, 3, 4]
        assert tasks(meter, tuple(others)) == [2, 3, 4], "one is a tenant no more"
        assert tasks(meter, (others[2], first)) == [4, 1], "and has another's slot now"
        groups[1].remove()
        new = cgroup("/ct-way-new")
        new.spawn(*SLEEP)
        newcomer = tenant(hierarchies, new.path)
        assert tasks(meter, (first, others[1], others[2])) == [1, 3, 4]
        assert tasks(meter, (newcomer, others[2], others[1], first)) == [1, 4, 3, 1]
        new.spawn(*SLEEP)
        assert tasks(meter, (newcomer, others[2], others[1], first)) == [2, 4, 3, 1]
