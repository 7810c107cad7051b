"""Whose a cgroup is: of tenants told of late, of nested cgroups, of the dead."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from cotenant.kernel.cgroupfs import Hierarchies, Hierarchy
from cotenant.model import HOST, Kind, Tenant
from cotenant.profile.owners import Owners

TREE = 4


class Host:
    """A tree of cgroups, and processes in them."""

    def __init__(self, folder: Path) -> None:
        self.mount, self.proc = folder / "cgroup", folder / "proc"
        self.mount.mkdir()
        tree = Hierarchy(TREE, 1, self.mount, frozenset({"cpu", "cpuacct"}))
        self.owners = Owners(Hierarchies([tree]), TREE, self.proc)

    def cgroup(self, path: str) -> int:
        made = self.mount / path
        made.mkdir(parents=True, exist_ok=True)
        return made.stat().st_ino

    def process(self, tgid: int, path: str) -> None:
        (self.proc / str(tgid)).mkdir(parents=True)
        text = f"9:memory:/elsewhere\n{TREE}:cpu,cpuacct:/{path}\n"
        (self.proc / str(tgid) / "cgroup").write_text(text)

    def end(self, tgid: int) -> None:
        (self.proc / str(tgid) / "cgroup").unlink()

    def tenant(self, path: str, key: int = 1) -> Tenant:
        return Tenant(key, path, Kind.CONTAINER, f"/{path}", {TREE: self.cgroup(path), 9: 1})


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_the_innermost_tenant_around_a_cgroup_has_it(host: Host) -> None:
    outer, inner = host.tenant("a"), host.tenant("a/b/c", 2)
    host.owners.follow([outer, inner])
    for number, path in enumerate(("a/b", "a/b/c/d", "else")):
        host.process(number, path)
    assert host.owners.owner(host.cgroup("a"), 99) is outer
    assert host.owners.owner(host.cgroup("a/b"), 0) is outer
    assert host.owners.owner(host.cgroup("a/b/c/d"), 1) is inner
    assert host.owners.owner(host.cgroup("else"), 2) is HOST
    assert host.owners.owner(host.cgroup("nobody"), 77) is HOST


def test_a_cgroup_is_asked_for_again_when_others_are_told_of(host: Host) -> None:
    host.process(5, "a/b")
    at = host.cgroup("a/b")
    assert host.owners.owner(at, 5) is HOST
    assert not host.owners.follow(())
    outer, inner = host.tenant("a"), host.tenant("a/b", 2)
    assert host.owners.follow([outer])
    assert host.owners.owner(at, 5) is outer
    assert host.owners.follow([outer, inner])
    assert host.owners.owner(at, 5) is inner
    assert not host.owners.follow([outer]), "who died stays known"
    assert host.owners.owner(at, 5) is inner


def test_a_process_that_moved_says_nothing_of_where_it_was(host: Host) -> None:
    host.process(5, "a/b")
    host.process(6, "")
    before, now, inside = host.cgroup("else"), host.cgroup("a/b"), host.tenant("a")
    host.owners.follow([inside])
    assert host.owners.owner(before, 5) is HOST
    assert host.owners.owner(host.mount.stat().st_ino, 5) is HOST
    assert host.owners.owner(host.mount.stat().st_ino, 6) is HOST
    assert host.owners.owner(now, 5) is inside
    around = host.tenant("else", 2)
    assert host.owners.follow([inside, around])
    assert host.owners.owner(before, 5) is around


def test_what_a_dead_process_cannot_tell_any_more_is_as_it_was(host: Host) -> None:
    """Though its tenant is called otherwise by now."""
    host.process(5, "a/b")
    at, outer = host.cgroup("a/b"), host.tenant("a")
    host.owners.follow([outer])
    assert host.owners.owner(at, 5) is outer
    host.end(5)
    named = replace(outer, name="web")
    assert host.owners.follow([named])
    assert host.owners.owner(at, 5) is named
    assert host.owners.follow([named, host.tenant("z", 3)])
    assert host.owners.owner(at, 5) is named


def test_it_tells_whether_any_answer_may_change_with_the_next_telling(host: Host) -> None:
    host.process(5, "a/b")
    host.process(6, "else")
    host.owners.follow([host.tenant("a")])
    host.owners.owner(host.cgroup("a"), 99)
    host.owners.owner(host.cgroup("a/b"), 5)
    assert not host.owners.doubted, "of a tenant, and in one"
    for cgroup, tgid, doubted in (
        (host.cgroup("else"), 6, True),
        (host.cgroup("else"), 6, False),  # it was looked at already
        (host.cgroup("gone"), 77, True),
    ):
        host.owners.doubted = False
        host.owners.owner(cgroup, tgid)
        assert host.owners.doubted == doubted
