"""Births and deaths without tracepoints: told by watched directories, on every kernel."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.kernel.conftest import Cgroup, within
from tests.kernel.metering import SPIN, metering

from cotenant.agent.watch import Watch
from cotenant.config import Settings
from cotenant.kernel import inotify
from cotenant.kernel.cgroupfs import GONE, Hierarchies, walk_tree
from cotenant.meter.programs import read_trees
from cotenant.model import Sample

MANY = 1000
pytestmark = pytest.mark.claim


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Whoever senses by files, and never walks but once a day."""
    with Watch(Settings(tier="files", rescan_interval_s=86400.0), listen=True) as opened:
        yield opened


def paths(samples: tuple[Sample, ...]) -> list[str]:
    return [sample.tenant.path for sample in samples if sample.tenant.path.startswith("/ct-lives-")]


def watches_of_this_process() -> int:
    """What the kernel says: a line for each in the descriptors' fdinfo."""
    found = 0
    for entry in Path("/proc/self/fdinfo").iterdir():
        try:
            found += entry.read_text().count("inotify wd:")
        except FileNotFoundError:  # of the directory itself, while it is read
            continue
    return found


def each_directory_has_one(watch: Watch, hierarchies: Hierarchies) -> bool:
    """Whether there are as many watches as directories, the trees' roots among them.

    Others are born and die on this host meanwhile, and their directories are watched, too.
    """
    watch.meter.events()
    trees = read_trees(hierarchies)
    directories = sum(1 + sum(1 for _ in walk_tree(tree.mount)) for tree in trees)
    return watches_of_this_process() == directories


@pytest.mark.any_kernel
@pytest.mark.file_tier
def test_births_and_deaths_are_told_with_the_ids_the_kernel_knows(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> None:
    with metering(hierarchies, "files") as meter:
        assert meter.fileno() is not None and meter.tidings.all_told
        group = cgroup("/ct-lives-told")
        below = cgroup("/ct-lives-told/below")
        born = [e for e in meter.events() if e.path.startswith("/ct-lives-told")]
        ids = {"/ct-lives-told": group.ids, "/ct-lives-told/below": below.ids}
        below.remove()
        group.remove()
        died = [e for e in meter.events() if e.path.startswith("/ct-lives-told")]
    trees = {tree.number for tree in read_trees(hierarchies)}
    expected = {(path, tree, ids[path][tree]) for path in ids for tree in trees}
    assert {(e.path, e.hierarchy, e.id) for e in born if e.made} == expected
    assert {(e.path, e.hierarchy, e.id) for e in died if not e.made} == expected
    assert len(born) == len(died) == len(expected)


@pytest.mark.any_kernel
@pytest.mark.file_tier
def test_a_tenant_born_and_dead_between_two_samples_is_told(
    watch: Watch, cgroup: Callable[[str], Cgroup]
) -> None:
    """Nothing was read of it, so nothing is claimed but that it lived."""
    before = watch.snapshot().lost.vanished
    cgroup("/ct-lives-brief").remove()
    snapshot = watch.snapshot()
    assert paths(snapshot.finals) == ["/ct-lives-brief"] and paths(snapshot.samples) == []
    final = next(s for s in snapshot.finals if s.tenant.path == "/ct-lives-brief")
    assert final.final and (final.cpu, final.memory, final.traffic) == (None, None, None)
    assert final.tenant.cgroups == {}, "no id is made up"
    unread = [s for s in snapshot.finals if s.cpu is None]  # others may have had such lives, too
    assert snapshot.lost.vanished == before + len(unread)
    assert paths(watch.snapshot().finals) == [], "it is told once"


@pytest.mark.any_kernel
@pytest.mark.file_tier
def test_the_last_look_at_the_dead_is_kept_as_the_final_record(
    watch: Watch, cgroup: Callable[[str], Cgroup]
) -> None:
    group = cgroup("/ct-lives-last")
    group.spawn(*SPIN)

    def seen() -> Sample | None:
        return next((s for s in watch.snapshot().samples if s.tenant.path == group.path), None)

    def worked() -> bool:
        sample = seen()
        return sample is not None and sample.cpu is not None and sample.cpu.usage_ns > 50_000_000

    assert within(60, worked)
    last = seen()
    assert last and last.cpu and last.memory
    group.remove()
    died_ns = time.monotonic_ns()
    snapshot = watch.snapshot()
    final = next(s for s in snapshot.finals if s.tenant.path == group.path)
    assert paths(snapshot.samples) == [], "no walk was needed to see that it is gone"
    assert final.cpu == last.cpu and final.memory == last.memory
    assert final.at_ns == last.at_ns < died_ns, "as old as it is"


@pytest.mark.any_kernel
@pytest.mark.file_tier
def test_a_thousand_births_are_told(watch: Watch, hierarchies: Hierarchies) -> None:
    """And their deaths; no watch and no descriptor is left behind."""
    watch.snapshot()
    gc.collect()  # else what earlier tests left open may be closed meanwhile
    assert within(30, lambda: each_directory_has_one(watch, hierarchies))
    descriptors = len(os.listdir("/proc/self/fd"))
    top = Cgroup(hierarchies, "/ct-lives-crowd")
    every = [
        tree.directory(f"{top.path}/{number:04}")
        for tree in read_trees(hierarchies)
        for number in range(MANY)
    ]
    told: dict[str, int] = {}
    try:
        for directory in every:
            directory.mkdir()
        for event in watch.meter.events():
            if event.made and event.path.startswith("/ct-lives-crowd/"):
                told[event.path] = told.get(event.path, 0) + 1
                assert event.id != GONE
        assert watches_of_this_process() > MANY
        assert within(30, lambda: each_directory_has_one(watch, hierarchies))
    finally:
        for directory in every:
            directory.rmdir()
        top.remove()
    assert len(told) == MANY
    assert set(told.values()) == {len(read_trees(hierarchies))}
    gone = {e.path for e in watch.meter.events() if not e.made}
    assert len([path for path in gone if path.startswith("/ct-lives-crowd/")]) == MANY
    assert watch.snapshot().lost.births == 0
    assert within(30, lambda: each_directory_has_one(watch, hierarchies))
    assert within(30, lambda: len(os.listdir("/proc/self/fd")) <= descriptors)


@pytest.mark.any_kernel
@pytest.mark.file_tier
def test_out_of_watches_the_trees_are_walked_and_it_is_said(
    cgroup: Callable[[str], Cgroup], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inotify, "allowed", lambda: 2)  # one watch: a tree's root
    with Watch(Settings(tier="files", rescan_interval_s=86400.0), listen=True) as watch:
        assert watches_of_this_process() == 1
        outer = cgroup("/ct-lives-unwatched")
        watch.snapshot()
        assert watch.snapshot().lost.unwatched > 0
        inner = cgroup("/ct-lives-unwatched/inner")
        inner.spawn("sleep", "1000")
        assert within(60, lambda: paths(watch.snapshot().samples) == [inner.path])
        assert watches_of_this_process() == 1
        inner.remove()
        finals: list[str] = []

        def told() -> bool:
            finals.extend(paths(watch.snapshot().finals))
            return inner.path in finals

        assert within(60, told), "a death found by a walk has its final too"
        outer.remove()
    assert watches_of_this_process() == 0


def test_a_full_queue_is_counted_and_made_up_for_by_a_walk(
    watch: Watch, cgroup: Callable[[str], Cgroup]
) -> None:
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    group = cgroup("/ct-lives-flood")
    tree = group.hierarchies.unified or group.hierarchies.trees[0]
    if tree.number not in {t.number for t in read_trees(group.hierarchies)}:
        tree = read_trees(group.hierarchies)[0]
    watch.snapshot()
    passing = tree.directory(group.path) / "passing"
    for _ in range(most // 2 + 100):
        passing.mkdir()
        passing.rmdir()
    survivor = cgroup("/ct-lives-survivor")
    survivor.spawn("sleep", "1000")
    assert watch.snapshot().lost.births == 1
    assert within(60, lambda: "/ct-lives-survivor" in paths(watch.snapshot().samples))
    survivor.remove()
    assert within(60, lambda: "/ct-lives-survivor" not in paths(watch.snapshot().samples))


@pytest.mark.any_kernel
@pytest.mark.file_tier
def test_a_container_made_tree_by_tree_is_read_in_all_of_them(
    watch: Watch, hierarchies: Hierarchies
) -> None:
    """A sample may fall between two trees: what was not there then is read later."""
    trees = read_trees(hierarchies)
    path = "/docker-ct-" + "ab" * 32 + ".scope"
    memory = hierarchies.of("memory")
    order = sorted(trees, key=lambda tree: tree == memory)
    try:
        for tree in order:
            tree.directory(path).mkdir()
            watch.snapshot()
        sample = next(s for s in watch.snapshot().samples if s.tenant.path == path)
        assert sample.memory is not None and sample.pids is not None
    finally:
        for tree in order:
            if tree.directory(path).exists():
                tree.directory(path).rmdir()
