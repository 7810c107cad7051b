"""Births and deaths from watched directories; plain ones stand for cgroup trees here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.meter.trees import v1, v2

from cotenant.errors import KernelRefused
from cotenant.kernel.cgroupfs import GONE, CgroupEvent
from cotenant.kernel.inotify import OVERFLOW, Inotify, Seen
from cotenant.meter import lives as lives_module
from cotenant.meter.lives import Lives, open_lives
from cotenant.meter.tidings import Tidings


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    (tmp_path / "old/one").mkdir(parents=True)
    opened = Lives(v2(tmp_path).trees, Inotify(20))
    yield opened
    opened.close()


def number(path: Path) -> int:
    return path.stat().st_ino


def made(path: str, id: int) -> CgroupEvent:
    return CgroupEvent(True, 0, id, path)


def removed(path: str, id: int) -> CgroupEvent:
    return CgroupEvent(False, 0, id, path)


def test_who_lived_before_is_not_told_but_their_death_is(lives: Lives, tmp_path: Path):
    assert lives.events() == []
    one = number(tmp_path / "old/one")
    (tmp_path / "old/one").rmdir()
    assert lives.events() == [removed("/old/one", one)]


def test_a_birth_is_told_with_its_id_and_all_below_it(lives: Lives, tmp_path: Path):
    deep = tmp_path / "new/a/b"
    deep.mkdir(parents=True)
    ids = {path: number(tmp_path / path[1:]) for path in ("/new", "/new/a", "/new/a/b")}
    assert lives.events() == [made(path, id) for path, id in ids.items()]
    (deep / "c").mkdir()
    assert lives.events() == [made("/new/a/b/c", number(deep / "c"))]


def test_files_are_nothing(lives: Lives, tmp_path: Path):
    (tmp_path / "file").write_text("")
    (tmp_path / "file").unlink()
    assert lives.events() == []


def test_one_that_is_gone_already_is_told_without_an_id(lives: Lives, tmp_path: Path):
    (tmp_path / "brief").mkdir()
    (tmp_path / "brief").rmdir()
    assert lives.events() == [made("/brief", GONE), removed("/brief", GONE)]


def test_two_lives_at_one_path_are_two(lives: Lives, tmp_path: Path):
    path = tmp_path / "again"
    path.mkdir()
    first = number(path)
    assert lives.events() == [made("/again", first)]
    (tmp_path / "holds the number").mkdir()
    lives.events()
    path.rmdir()
    (tmp_path / "takes it").mkdir()
    path.mkdir()
    told = [event for event in lives.events() if event.path == "/again"]
    assert told == [removed("/again", first), made("/again", number(path))]


def test_the_death_of_an_elder_is_not_that_of_the_living(lives: Lives, tmp_path: Path):
    """The first of two at a path is gone when its birth is read: the second's id is seen."""
    path = tmp_path / "twice"
    path.mkdir()
    path.rmdir()
    (tmp_path / "takes the number").mkdir()
    path.mkdir()
    told = [event for event in lives.events() if event.path == "/twice"]
    assert told == [made("/twice", number(path))]
    assert lives.vanished == 1


def test_watches_go_with_their_directories(lives: Lives, tmp_path: Path):
    before = lives._inotify.held
    for _ in range(50):
        (tmp_path / "a/b").mkdir(parents=True)
        lives.events()
        assert lives._inotify.held == before + 2
        (tmp_path / "a/b").rmdir()
        (tmp_path / "a").rmdir()
        lives.events()
    assert lives._inotify.held == before and lives.unwatched == set()
    assert len(lives._places) == len(lives._watches) == before


def test_dropped_events_are_counted_and_answered_by_a_walk(
    lives: Lives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    one = number(tmp_path / "old/one")
    (tmp_path / "old/one").rmdir()
    (tmp_path / "new/below").mkdir(parents=True)
    queue = list(lives._inotify.read())
    assert queue
    monkeypatch.setattr(lives._inotify, "read", lambda: iter([Seen(-1, OVERFLOW, "")]))
    assert lives.events() == [
        removed("/old/one", one),
        made("/new", number(tmp_path / "new")),
        made("/new/below", number(tmp_path / "new/below")),
    ]
    assert lives.missed == 1
    monkeypatch.undo()
    (tmp_path / "new/below/later").mkdir()
    assert [event.path for event in lives.events()] == ["/new/below/later"]


def test_a_moved_one_is_looked_for_everywhere(lives: Lives, tmp_path: Path):
    """v1 lets cgroups be renamed; nobody's tracepoint tells it."""
    one = number(tmp_path / "old/one")
    os.rename(tmp_path / "old/one", tmp_path / "old/other")
    assert lives.events() == [removed("/old/one", one), made("/old/other", one)]
    assert lives.missed == 1
    (tmp_path / "old/other/below").mkdir()
    assert [event.path for event in lives.events()] == ["/old/other/below"]


def test_without_a_watch_left_a_directory_is_counted_until_there_is_one(tmp_path: Path):
    lives = Lives(v2(tmp_path).trees, Inotify(4))
    for name in "abcd":
        (tmp_path / name).mkdir()
    assert len(lives.events()) == 4, "their parent is watched: they are told themselves"
    assert lives.unwatched == {(0, "/d")}
    (tmp_path / "d/unseen").mkdir()
    assert lives.events() == []
    ids = {name: number(tmp_path / name) for name in ("a", "b", "d/unseen")}
    for name in "ab":
        (tmp_path / name).rmdir()
    assert lives.events() == [
        removed("/a", ids["a"]),
        removed("/b", ids["b"]),
        made("/d/unseen", ids["d/unseen"]),
    ]
    assert lives.unwatched == set()
    lives.close()


def test_where_nothing_can_be_watched_whole_trees_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lives_module, "Inotify", lambda: Inotify(0))
    tidings = Tidings(v1(tmp_path), None, counting=True)
    assert (tidings.unwatched, tidings.all_told) == (1, False)
    tidings.close()

    def refused() -> Inotify:
        raise KernelRefused("none")

    monkeypatch.setattr(lives_module, "Inotify", refused)
    tidings = Tidings(v1(tmp_path), None, counting=True)
    assert (tidings.fileno(), tidings.unwatched, tidings.all_told) == (None, 1, False)
    assert open_lives(v1(tmp_path).trees) is None
    assert Tidings(v1(tmp_path), None, counting=False).unwatched == 0


def test_nothing_stays_open(tmp_path: Path):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        lives = Lives(v2(tmp_path).trees, Inotify())
        lives.close()
    assert len(os.listdir("/proc/self/fd")) == before
