"""Births, deaths and names over time, on a host made of files."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.tenants.recorded import ID, OTHER, Host

from cotenant.config import NamedTenant, Settings
from cotenant.errors import RuntimeSilent
from cotenant.kernel.cgroupfs import GONE, CgroupEvent
from cotenant.model import Kind
from cotenant.tenants import registry as registry_module
from cotenant.tenants.desk import Desk
from cotenant.tenants.facts import Facts, Files, Question
from cotenant.tenants.registry import Registry


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path, hybrid=True)


def event(made: bool, path: str, id: int = 7, hierarchy: int = 0) -> CgroupEvent:
    return CgroupEvent(made, hierarchy, id, path)


def test_unknown_ones_are_counted(host: Host) -> None:
    host.cgroup(f"/mine/{ID}", 42)
    host.cgroup(f"/docker/{OTHER}", 43)
    registry = host.registry()
    registry.scan(wait_s=5.0)
    kinds = {tenant.name: tenant.kind for tenant in registry.tenants}
    assert kinds == {
        f"unknown~{ID[:8]}": Kind.UNKNOWN,
        f"unknown~{OTHER[:8]}": Kind.CONTAINER,
    }
    assert registry.unknown == 2
    assert "unknown" in registry.complaints[0]


def test_the_same_path_in_two_trees_is_one_tenant(host: Host) -> None:
    registry = host.registry()
    path = f"/docker/{ID}"
    host.cgroup(path)
    ids = host.hierarchies.ids(path)
    changes = registry.apply([event(True, path, id, tree) for tree, id in ids.items()])
    (tenant,) = changes.born
    assert tenant.cgroups == ids and set(ids) == {0, 4}
    assert not registry.apply([event(False, path, ids[0], 0)]).died
    assert registry.apply([event(False, path, ids[4], 4)]).died == [tenant]


def test_a_death_that_one_tree_tells_is_one_when_no_other_has_it(host: Host) -> None:
    """Not every tree tells: on v1 a container is in ten of them, five of which are read."""
    path = f"/docker/{ID}"
    host.cgroup(path)
    registry = host.registry()
    (tenant,) = registry.scan().born
    told = event(False, path, tenant.cgroups[4], 4)
    (host.hierarchies.trees[1].directory(path) / "cgroup.procs").unlink()
    host.hierarchies.trees[1].directory(path).rmdir()
    assert not registry.apply([told]).died, "it is in the v2 tree still"
    assert not registry.settle().died
    (host.hierarchies.trees[0].directory(path) / "cgroup.procs").unlink()
    host.hierarchies.trees[0].directory(path).rmdir()
    assert registry.settle().died == [tenant], "which told nothing"
    assert not registry._parting


def test_one_that_lives_on_in_another_tree_is_let_be(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/docker/{ID}"
    host.cgroup(path)
    registry = host.registry()
    (tenant,) = registry.scan().born
    registry.apply([event(False, path, tenant.cgroups[4], 4)])
    assert registry._parting
    monkeypatch.setattr(registry_module, "PARTING_SECONDS", -1.0)
    assert not registry.settle().died and not registry._parting
    assert len(registry.tenants) == 1


def test_lives_too_short_for_an_id_are_told_each(host: Host) -> None:
    """Their directories were gone before their ids could be read: nothing is made up."""
    registry = host.registry()
    path = f"/docker/{ID}"
    for _ in range(2):
        changes = registry.apply(
            [event(True, path, GONE), event(True, path, GONE, 4),
             event(False, path, GONE), event(False, path, GONE, 4)]
        )  # fmt: skip
        (born,), (died,) = changes.born, changes.died
        assert born.key == died.key and died.cgroups == {}
    (one,) = registry.apply([event(True, path, GONE), event(True, path, 9, 4)]).born
    assert one.cgroups == {4: 9}
    (next,) = registry.apply([event(True, path, 8)]).born
    assert (next.key != one.key, next.cgroups) == (True, {0: 8}), "the one without an id has gone"


def test_a_second_tree_told_later_is_a_change(host: Host) -> None:
    registry = host.registry()
    path = f"/docker/{ID}"
    (born,) = registry.apply([event(True, path, 7, 0)]).born
    (changed,) = registry.apply([event(True, path, 9, 4)]).changed
    assert (changed.key, changed.cgroups) == (born.key, {0: 7, 4: 9})
    assert born.cgroups == {0: 7}, "tenants are replaced, never mutated"
    assert registry.tenants == (changed,)


def test_a_path_made_anew_without_a_word_of_its_end(host: Host) -> None:
    registry = host.registry()
    path = f"/docker/{ID}"
    (first,) = registry.apply([event(True, path, 7)]).born
    changes = registry.apply([event(True, path, 8)])
    assert changes.died == [first] and changes.born[0].key != first.key


def test_removals_of_strangers_are_nothing(host: Host) -> None:
    registry = host.registry()
    assert not registry.apply([event(False, "/docker/x"), event(False, f"/docker/{ID}")])


def test_a_scan_and_late_events_agree(host: Host) -> None:
    path = f"/docker/{ID}"
    host.cgroup(path)
    registry = host.registry()
    (born,) = registry.scan().born
    told = [event(True, path, id, tree) for tree, id in born.cgroups.items()]
    assert not registry.apply(told)
    host.remove(path)
    assert registry.scan().died == [born]
    assert not registry.apply([*told, *(e._replace(made=False) for e in told)])


def test_plain_cgroups_around_containers(host: Host) -> None:
    """`/mine` holds no process of its own: a group. When one comes, it is a tenant with a child."""
    host.cgroup(f"/mine/{ID}", 42)
    registry = host.registry()
    (inner,) = registry.scan().born
    assert (inner.parent, inner.groups) == (None, ("mine",))
    host.cgroup("/mine", 43)
    changes = registry.scan()
    (outer,), (moved,) = changes.born, changes.changed
    assert (outer.path, moved.key, moved.parent) == ("/mine", inner.key, outer.key)
    assert [tenant.path for tenant in registry.tenants] == ["/mine", f"/mine/{ID}"]


def names(registry: Registry) -> set[str]:
    return {tenant.name for tenant in registry.tenants}


@pytest.mark.parametrize("between", ["", "/x", "/mine.slice"])
def test_a_parent_without_processes_is_structure(host: Host, between: str) -> None:
    host.cgroup(f"/batch{between}")
    host.cgroup(f"/batch{between}/nightly", 42)
    host.cgroup(f"/batch{between}/hourly", 43)
    registry = host.registry()
    registry.scan()
    path = f"batch{between}"
    assert names(registry) == {f"{path}/nightly", f"{path}/hourly"}
    assert {tenant.groups for tenant in registry.tenants} == {tuple(path.split("/"))}


@pytest.mark.parametrize("between", ["", "/x", "/mine.slice"])
def test_what_is_below_one_with_processes_is_inside_it(host: Host, between: str) -> None:
    host.cgroup("/job", 43)
    host.cgroup(f"/job{between}/part", 42)
    registry = host.registry()
    (job,) = registry.scan().born
    assert (job.name, job.main_pid) == ("job", 43)
    assert not registry.settle() and not registry.scan()
    host.cgroup("/job/later", 44)
    assert not registry.scan().born


def test_one_that_ran_empty_stays_and_shows_who_is_inside(host: Host) -> None:
    host.cgroup("/job", 41)
    host.cgroup("/job/part", 42)
    registry = host.registry()
    (job,) = registry.scan().born
    host.process(41, "/")
    host.cgroup("/job")
    (changed,) = registry.scan().changed
    assert (changed.key, changed.main_pid) == (job.key, 42)
    host.process(42, "/")
    host.cgroup("/job/part")
    assert not registry.scan().died and names(registry) == {"job"}


@pytest.mark.parametrize("walk", [True, False])
def test_a_parent_that_gets_a_process_takes_over(host: Host, walk: bool) -> None:
    host.cgroup("/batch/nightly/deep", 42)
    host.cgroup("/batch/nightly", 43)
    host.cgroup("/batch")
    host.cgroup(f"/batch/{ID}", 45)
    registry = host.registry()
    nightly, container = sorted(registry.scan().born, key=lambda tenant: len(tenant.path))
    host.cgroup("/batch", 44)
    changes = registry.scan() if walk else registry.settle()
    (batch,), (moved,) = changes.born, changes.changed
    assert (batch.name, changes.died) == ("batch", [nightly])
    assert (moved.key, moved.parent) == (container.key, batch.key)
    assert not registry.scan()
    host.remove("/batch/nightly/deep")
    host.remove("/batch/nightly")
    assert not registry.scan(), "they were inside"


def test_a_parent_and_its_child_filled_at_once_are_one_tenant(host: Host) -> None:
    registry = host.registry()
    for path in ("/a", "/a/b"):
        host.cgroup(path)
        registry.apply([event(True, path, len(path))])
    host.cgroup("/a/b", 42)
    host.cgroup("/a", 43)
    changes = registry.settle()
    assert ([t.name for t in changes.born], changes.died) == (["a"], [])


def test_structure_that_goes_is_not_billed_for_those_that_were_in_it(host: Host) -> None:
    """Its figures hold theirs; one that nobody saw run and that had none below is billed."""
    registry = host.registry()
    told = [("+", "/a"), ("+", "/a/bc"), ("-", "/a/bc"), ("-", "/a"), ("+", "/old"), ("-", "/old")]
    changes = registry.apply([event(sign == "+", path, len(path)) for sign, path in told])
    assert [t.name for t in changes.born] == [t.name for t in changes.died] == ["a/bc", "old"]


def test_own_names_come_and_go_with_what_is_below(host: Host) -> None:
    host.cgroup("/batch")
    host.cgroup("/batch/one", 42)
    registry = host.registry()
    (one,) = registry.scan().born
    registry.configure(Settings(tenants=(NamedTenant("all", cgroup="/batch"),)))
    changes = registry.settle()
    assert ([t.name for t in changes.born], changes.died) == (["all"], [one])
    assert registry.find("all")[0].main_pid == 42, "of one inside"
    registry.configure(Settings())
    changes = registry.settle()
    assert [t.name for t in changes.died] == ["all"]
    assert [t.name for t in changes.born] == ["batch/one"]


def test_a_lost_removal_frees_those_inside(host: Host) -> None:
    """`/a` made anew, while `/a/b` lived on (in another tree, or its own events were lost)."""
    host.cgroup("/a", 41)
    host.cgroup("/a/b", 42)
    registry = host.registry()
    registry.scan()
    assert names(registry) == {"a"}
    host.process(41, "/")
    host.cgroup("/a")
    registry.apply([event(True, "/a", 1 << 60, tree.number) for tree in host.hierarchies.trees])
    registry.settle()
    assert names(registry) == {"a/b"}


def test_processes_of_a_group_are_the_hosts(host: Host) -> None:
    host.cgroup("/user.slice", 42)
    registry = host.registry()
    assert not registry.scan().born


def test_dockers_sockets_are_those_of_the_settings(host: Host, tmp_path: Path) -> None:
    """As the host knows them: below the prefix where its root is seen."""
    (tmp_path / "odd").mkdir()
    with socket.socket(socket.AF_UNIX) as docker:
        docker.bind(str(tmp_path / "odd/d.sock"))
        docker.listen()
        host.cgroup(f"/docker/{ID}", 42)
        settings = Settings(docker_sockets=("/none.sock", "/odd/d.sock"))
        registry = Registry(host.hierarchies, settings, host.root, listen=False)

        def answer() -> None:
            peer, _ = docker.accept()
            with peer:
                peer.recv(4096)
                body = f'[{{"Id": "{ID}", "Names": ["/web"], "Image": "nginx"}}]'
                peer.sendall(f"HTTP/1.0 200 OK\r\n\r\n{body}".encode())

        threading.Thread(target=answer, daemon=True).start()
        registry.scan(wait_s=5.0)
    assert [(t.name, t.image) for t in registry.tenants] == [("web", "nginx")]
    without = Registry(host.hierarchies, Settings(docker_sockets=()), host.root, listen=False)
    without.scan(wait_s=5.0)
    assert "not configured" in without.complaints[0]


def test_own_names(host: Host) -> None:
    host.cgroup("/batch/one", 42)
    host.cgroup("/batch/two", 43)
    registry = host.registry(NamedTenant("first", cgroup="/batch/one"), NamedTenant("web", pid=44))
    registry.scan()
    assert {t.name: (t.parent, t.groups) for t in registry.tenants} == {
        "first": (None, ("batch",)),
        "batch/two": (None, ("batch",)),
    }
    assert len(registry.complaints) == 1 and "no process 44" in registry.complaints[0]


def test_vanishing_processes_do_no_harm(host: Host) -> None:
    host.cgroup("/batch", 42)
    registry = host.registry()
    (tenant,) = registry.scan().born
    assert tenant.main_pid == 42
    for file in sorted((host.root / "proc/42").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() and not file.is_symlink() else file.unlink()
    (host.root / "proc/42").rmdir()
    host.cgroup("/batch")
    (changed,) = registry.settle().changed
    assert (changed.main_pid, changed.netns, changed.key) == (None, None, tenant.key)


PATHS = ["/docker", f"/docker/{ID}", f"/docker/{ID}/x.service", "/a", "/a/b", f"/a/{OTHER}",
         "/s.slice", "/s.slice/u.service", "/s.slice/m.mount"]  # fmt: skip
EVENTS = st.lists(
    st.builds(
        CgroupEvent,
        st.booleans(),
        st.sampled_from([0, 4]),
        st.integers(1, 6),
        st.sampled_from(PATHS),
    ),
    max_size=30,
)


@given(st.lists(EVENTS, max_size=4))
@settings(max_examples=60, deadline=None)
def test_changes_always_add_up(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[CgroupEvent]]
) -> None:
    """Whatever order events come in: born minus died is who lives, and names are unique."""
    registry = Host(tmp_path_factory.mktemp("host"), hybrid=True).registry()
    live: set[int] = set()
    for batch in batches:
        for changes in (registry.apply(batch), registry.settle()):
            born = {tenant.key for tenant in changes.born}
            died = {tenant.key for tenant in changes.died}
            assert not born & live and died <= live | born
            assert not {t.key for t in changes.changed} & (born | died)
            live = (live | born) - died
        assert {tenant.key for tenant in registry.tenants} == live
        names = [tenant.name for tenant in registry.tenants]
        assert len(set(names)) == len(names)
        seen: set[int | None] = {None}
        for tenant in registry.tenants:
            assert tenant.parent in seen
            seen.add(tenant.key)
    registry.close()


class Slow(Files):
    """A source that hangs, or fails, until the test lets it go on."""

    name = "slow"

    def __init__(self, error: Exception | None = None) -> None:
        self.may_go_on = threading.Event()
        self.error = error

    def knows(self, question: Question) -> bool:
        return True

    def ask(self, question: Question) -> Facts | None:
        assert self.may_go_on.wait(60)
        if self.error:
            raise self.error
        return Facts(name="late")


def test_a_hanging_source_holds_up_nobody() -> None:
    desk = Desk()
    slow = Slow()
    desk.open([slow])
    assert desk.ask(Question(1, ID, "/x"))
    desk.wait(0.05)
    assert desk.answers() == [] and desk.silent(0.01) == {"slow": 1}
    slow.may_go_on.set()
    desk.wait(30.0)
    assert [answer.facts and answer.facts.name for answer in desk.answers()] == ["late"]
    assert desk.silent(0.0) == {}
    desk.close()


@pytest.mark.parametrize("error", [RuntimeSilent("It is silent."), ZeroDivisionError("bug")])
def test_a_failing_source_is_complained_about(error: Exception) -> None:
    desk = Desk()
    slow = Slow(error)
    slow.may_go_on.set()
    desk.open([slow])
    desk.ask(Question(1, ID, "/x"))
    desk.wait(5.0)
    assert desk.answers()[0].facts is None
    assert str(error) in desk.complaints["slow"]
    desk.close()
