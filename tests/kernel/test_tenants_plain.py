"""Plain cgroups, units, and the user's own names, in directories made for the test."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest
from tests.kernel.conftest import Cgroup, within

from cotenant.config import NamedTenant, Settings
from cotenant.errors import UnknownTenant
from cotenant.kernel import cgroupfs
from cotenant.kernel.cgroupfs import CgroupEvent
from cotenant.model import Kind, Tenant
from cotenant.tenants.registry import Registry

pytestmark = pytest.mark.kernel
TN = f"tn{os.getpid()}"
"""Two runs of these tests may stand side by side."""
Make = Callable[[str], Cgroup]


@pytest.fixture
def registry(hierarchies: cgroupfs.Hierarchies) -> Iterator[Registry]:
    made = Registry(hierarchies, Settings(), listen=False)
    yield made
    made.close()


def by_path(registry: Registry, path: str) -> Tenant | None:
    return next((tenant for tenant in registry.tenants if tenant.path == path), None)


def mine(tenants: list[Tenant]) -> list[Tenant]:
    """Others may be at work on this host."""
    return [tenant for tenant in tenants if tenant.path.startswith(f"/{TN}")]


def events(group: Cgroup, made: bool = True) -> list[CgroupEvent]:
    return [CgroupEvent(made, tree, id, group.path) for tree, id in group.ids.items()]


@pytest.mark.any_kernel
@pytest.mark.claim
def test_the_topmost_cgroup_with_processes_is_the_tenant(registry: Registry, cgroup: Make) -> None:
    group = cgroup(f"/{TN}-job")
    inner = cgroup(f"/{TN}-job/part")
    registry.scan()
    assert by_path(registry, f"/{TN}-job") is None, "it is empty"
    process = group.spawn("sleep", "100")
    inner.spawn("sleep", "100")
    born = mine(registry.scan().born)
    assert [tenant.path for tenant in born] == [f"/{TN}-job"]
    assert (born[0].name, born[0].kind) == (f"{TN}-job", Kind.CGROUP)
    assert born[0].main_pid == process.pid
    assert born[0].started_at is not None and abs(born[0].started_at - time.time()) < 60
    assert registry.find(f"pid:{process.pid}") == born


@pytest.mark.any_kernel
@pytest.mark.claim
def test_a_cgroup_without_processes_of_its_own_is_a_group(registry: Registry, cgroup: Make) -> None:
    """Until it gets one: then it is the tenant, and those below it are inside."""
    batch = cgroup(f"/{TN}-batch")
    for name in ("nightly", "hourly"):
        cgroup(f"/{TN}-batch/{name}").spawn("sleep", "100")
    born = mine(registry.scan().born)
    assert {t.name for t in born} == {f"{TN}-batch/nightly", f"{TN}-batch/hourly"}
    assert {t.groups for t in born} == {(f"{TN}-batch",)}
    process = batch.spawn("sleep", "100")
    changes = registry.scan()
    assert [t.name for t in mine(changes.born)] == [f"{TN}-batch"]
    assert {t.key for t in mine(changes.died)} == {t.key for t in born}
    process.kill()
    process.wait()
    changes = registry.scan()
    assert not mine(changes.born) and not mine(changes.died), "it stays until it is removed"


def test_a_process_in_one_v1_tree_alone_fills_the_cgroup(
    registry: Registry, cgroup: Make, hierarchies: cgroupfs.Hierarchies
) -> None:
    """On v1 a process may be in /job in one tree and in /job/part in another: /job holds it."""
    group, part = cgroup(f"/{TN}-split"), cgroup(f"/{TN}-split/part")
    process = part.spawn("sleep", "100")
    assert [t.name for t in mine(registry.scan().born)] == [f"{TN}-split/part"]
    tree = next((t for t in hierarchies.trees if "memory" in t.controllers), hierarchies.trees[0])
    (tree.directory(group.path) / "cgroup.procs").write_text(str(process.pid))
    changes = registry.scan()
    assert [t.name for t in mine(changes.born)] == [f"{TN}-split"]
    assert [t.name for t in mine(changes.died)] == [f"{TN}-split/part"]


def test_an_empty_cgroup_becomes_a_tenant_within_two_settles(
    registry: Registry, cgroup: Make
) -> None:
    registry.scan()
    group = cgroup(f"/{TN}-late")
    assert not registry.apply(events(group)).born
    assert not mine(registry.settle().born)
    group.spawn("sleep", "100")
    born = mine([*registry.settle().born, *registry.settle().born])
    assert [tenant.name for tenant in born] == [f"{TN}-late"]
    assert born[0].cgroups == group.ids


def test_a_cgroup_that_came_and_went_between_two_looks_was_a_tenant(
    registry: Registry, cgroup: Make
) -> None:
    registry.scan()
    group = cgroup(f"/{TN}-brief")
    told = [*events(group), *events(group, made=False)]
    changes = registry.apply(told)
    assert [t.name for t in changes.born] == [t.name for t in changes.died] == [f"{TN}-brief"]
    assert changes.died[0].cgroups == group.ids, "its last books are found by its ids"
    assert by_path(registry, f"/{TN}-brief") is None


def test_a_cgroup_is_gone_once_no_hierarchy_that_tells_has_it(
    hierarchies: cgroupfs.Hierarchies, cgroup: Make
) -> None:
    """On v1 only some trees are watched: the others would keep the dead until the next walk."""
    watched = frozenset({hierarchies.trees[0].number})
    registry = Registry(hierarchies, Settings(), listen=False, watched=watched)
    try:
        group = cgroup(f"/{TN}-ghost")
        group.spawn("sleep", "1000")
        registry.scan()
        gone = [event for event in events(group, made=False) if event.hierarchy in watched]
        assert [t.name for t in registry.apply(gone).died] == [f"{TN}-ghost"]
        registry.scan()
        assert by_path(registry, f"/{TN}-ghost") is None, "what is left of it is no tenant"
    finally:
        registry.close()


@pytest.mark.slow
def test_ten_thousand_plain_cgroups_cost_a_second(
    registry: Registry, hierarchies: cgroupfs.Hierarchies
) -> None:
    """All below one structural parent, each a tenant; told by events, and seen by a walk."""
    ids = [(f"/{TN}-many", 0), *((f"/{TN}-many/t{n}", n) for n in range(1, 10_001))]
    told = [CgroupEvent(True, tree.number, (1 << 50) + n, path)
            for path, n in ids for tree in hierarchies.trees]  # fmt: skip
    registry.scan()
    began = time.process_time()
    registry.apply(told)
    for path, _ in ids[1:]:
        registry._bear(path)
    changes = registry.settle()
    assert len(mine(changes.born)) == 10_000
    began = time.process_time() - began
    assert began < 3.0, f"{began:.2f} s of CPU"
    assert len(mine(registry.scan().died)) == 10_000, "they are not there"


@pytest.mark.any_kernel
@pytest.mark.claim
def test_units_and_slices(registry: Registry, cgroup: Make) -> None:
    cgroup(f"/{TN}.slice")
    cgroup(f"/{TN}.slice/tn-web@1.service")
    cgroup(f"/{TN}.slice/tn-data.mount")
    registry.scan()
    unit = by_path(registry, f"/{TN}.slice/tn-web@1.service")
    assert unit and (unit.name, unit.kind, unit.groups) == (
        "tn-web@1.service", Kind.SERVICE, (f"{TN}.slice",))  # fmt: skip
    assert by_path(registry, f"/{TN}.slice/tn-data.mount") is None, "no process is in it"
    assert by_path(registry, f"/{TN}.slice") is None


def test_names_clash_and_are_told_apart(registry: Registry, cgroup: Make) -> None:
    for path in (f"/{TN}-a.slice", f"/{TN}-b.slice"):
        cgroup(path)
        cgroup(f"{path}/{TN}-same.service")
    registry.scan()
    first = by_path(registry, f"/{TN}-a.slice/{TN}-same.service")
    second = by_path(registry, f"/{TN}-b.slice/{TN}-same.service")
    assert first and second and first.name == f"{TN}-same.service"
    assert second.name == f"{TN}-same.service~{second.cgroups[min(second.cgroups)]:08x}"


def test_a_path_used_again_is_another_tenant(
    registry: Registry, cgroup: Make, hierarchies: cgroupfs.Hierarchies
) -> None:
    path = f"/{os.getpid():064x}"
    old = cgroup(path)
    first = [t for t in registry.scan().born if t.path == path]
    for tree in hierarchies.trees:
        tree.directory(path).rmdir()
        tree.directory(path).mkdir()
    changes = registry.scan()
    second = [t for t in changes.born if t.path == path]
    assert first[0].key in [t.key for t in changes.died]
    assert first[0].key != second[0].key
    assert second[0].cgroups == old.ids


def test_strange_names_do_no_harm(registry: Registry, cgroup: Make) -> None:
    raw = f"/{TN}" + os.fsdecode(b'-a"b{}\xff \xed\x95\x9c')
    cgroup(raw).spawn("sleep", "100")
    registry.scan()
    tenant = by_path(registry, raw)
    assert tenant and tenant.name == TN + '-a"b{}\\xff 한'
    tenant.name.encode()


def test_own_names_by_path_and_by_process(registry: Registry, cgroup: Make) -> None:
    outer, inner = cgroup(f"/{TN}-own"), cgroup(f"/{TN}-own/part")
    outer_process, process = outer.spawn("sleep", "99"), inner.spawn("sleep", "99")
    registry.configure(
        Settings(
            tenants=(
                NamedTenant("part", pid=process.pid),
                NamedTenant("early", cgroup=f"{TN}-early/"),
                NamedTenant("root", cgroup="/"),
                NamedTenant("gone", pid=999_999_999),
            )
        )
    )
    registry.scan()
    part, around = by_path(registry, f"/{TN}-own/part"), by_path(registry, f"/{TN}-own")
    assert part and around and (part.name, part.parent) == ("part", around.key)
    assert around.main_pid == outer_process.pid
    about_root, about_gone = [c for c in registry.complaints if c.startswith("Tenant ")]
    assert "root cgroup" in about_root and "no process 999999999" in about_gone
    early = cgroup(f"/{TN}-early")
    assert [tenant.name for tenant in registry.apply(events(early)).born] == ["early"]
    process.kill()
    process.wait()
    registry.scan()
    assert registry.find("part")[0].key == part.key, "the name stays with the cgroup"
    registry.configure(Settings())
    registry.settle()
    with pytest.raises(UnknownTenant):
        registry.find("part")


def test_selectors_take_the_mount_path(
    registry: Registry, cgroup: Make, hierarchies: cgroupfs.Hierarchies
) -> None:
    group = cgroup(f"/{TN}-sel")
    group.spawn("sleep", "99")
    registry.scan()
    for tree in hierarchies.trees:
        assert registry.find(str(tree.directory(f"/{TN}-sel")))[0].name == f"{TN}-sel"
    with pytest.raises(UnknownTenant):
        registry.find("pid:1000000000")


def test_five_hundred_births_and_deaths_leave_nothing_behind(
    registry: Registry, hierarchies: cgroupfs.Hierarchies
) -> None:
    registry.scan()
    before = len(registry.tenants)
    for round in range(5):
        made = [CgroupEvent(True, tree.number, (1 << 50) + round * 1000 + n, f"/{TN}-x{n}")
                for n in range(100) for tree in hierarchies.trees]  # fmt: skip
        gone = [event._replace(made=False) for event in made]
        changes = registry.apply([*made, *gone])
        assert len(changes.born) == len(changes.died) == 100
        assert not mine(registry.settle().born)
    assert len(registry.tenants) == before  # nothing but events told of others meanwhile
    assert not registry._looker._waiting or all(
        f"{TN}-x" not in p for p in registry._looker._waiting
    )
    assert not any(f"{TN}-x" in path for path in registry._book.ids)
    assert not any(f"{TN}-x" in path for path in registry._book._claims)


def test_a_first_process_that_ends_is_followed(registry: Registry, cgroup: Make) -> None:
    group = cgroup(f"/{TN}-main")
    first, second = group.spawn("sleep", "99"), group.spawn("sleep", "99")
    registry.scan()
    first.kill()
    first.wait()
    assert within(60, lambda: registry.settle() is not None and (
        tenant := by_path(registry, f"/{TN}-main")) and tenant.main_pid == second.pid)  # fmt: skip
