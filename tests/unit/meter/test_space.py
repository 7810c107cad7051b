"""Disk space of a directory: as much as is allocated below it, and nothing else."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cotenant.meter import space
from cotenant.meter.space import Space, used_bytes


def write(path: Path, size: int = 64 << 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    os.sync()
    return path


def allocated(*paths: Path) -> int:
    return sum(os.lstat(path).st_blocks * 512 for path in paths)


def test_all_that_is_allocated_below_a_directory_counts(tmp_path):
    files = [write(tmp_path / "a"), write(tmp_path / "b/c", 5), write(tmp_path / "b/d/e")]
    assert used_bytes(str(tmp_path)) == allocated(*files, tmp_path / "b", tmp_path / "b/d")


def test_a_hole_takes_no_space(tmp_path):
    with open(tmp_path / "hole", "wb") as file:
        file.truncate(1 << 30)
    assert used_bytes(str(tmp_path)) < 1 << 20


def test_hard_links_count_once(tmp_path):
    first = write(tmp_path / "a", 1 << 20)
    for i in range(5):
        os.link(first, tmp_path / f"link{i}")
    assert used_bytes(str(tmp_path)) == allocated(first)


def test_symbolic_links_are_not_followed(tmp_path):
    write(tmp_path / "outside/big", 1 << 20)
    layer = tmp_path / "layer"
    layer.mkdir()
    (layer / "dir").symlink_to(tmp_path / "outside")
    (layer / "file").symlink_to(tmp_path / "outside/big")
    (layer / "loop").symlink_to(layer)
    assert used_bytes(str(layer)) < 64 << 10


def test_other_file_systems_are_left_out(tmp_path, monkeypatch):
    write(tmp_path / "own")
    write(tmp_path / "mounted/big", 1 << 20)
    here = os.lstat(tmp_path).st_dev

    class Entry:
        """A directory entry that seems to lie on another file system below `mounted`."""

        def __init__(self, entry: os.DirEntry[str]) -> None:
            self.entry, self.path = entry, entry.path

        def stat(self, follow_symlinks: bool) -> os.stat_result:
            found = self.entry.stat(follow_symlinks=follow_symlinks)
            if "mounted" not in self.path:
                return found
            return os.stat_result((*found[:2], here + 1, *found[3:]), {
                "st_blocks": found.st_blocks})  # fmt: skip

        def is_dir(self, follow_symlinks: bool) -> bool:
            return self.entry.is_dir(follow_symlinks=follow_symlinks)

    scandir = os.scandir

    class Scan:
        def __init__(self, path: str) -> None:
            self.entries = scandir(path)

        def __enter__(self) -> Scan:
            return self

        def __exit__(self, *_: object) -> None:
            self.entries.close()

        def __iter__(self):
            return iter([Entry(entry) for entry in self.entries])

    expected = allocated(tmp_path / "own")
    monkeypatch.setattr(os, "scandir", Scan)
    assert used_bytes(str(tmp_path)) == expected


def test_what_vanishes_in_mid_walk_is_left_out(tmp_path, monkeypatch):
    kept = write(tmp_path / "a")
    goes = write(tmp_path / "gone/b").parent
    scandir = os.scandir

    def scan(path: str):
        if path == str(goes):
            raise FileNotFoundError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    assert used_bytes(str(tmp_path)) == allocated(kept, goes)


def test_a_layer_that_is_not_there_is_an_error_and_not_zero(tmp_path):
    with pytest.raises(FileNotFoundError):
        used_bytes(str(tmp_path / "nowhere"))


def test_a_long_walk_pauses(tmp_path, monkeypatch):
    for i in range(600):
        (tmp_path / str(i)).touch()
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    used_bytes(str(tmp_path))
    assert len(pauses) == 2


# --- the thread


@pytest.fixture
def walked(monkeypatch) -> Callable[[str], bool]:
    """Waits until a directory was walked once more; walks are told, not timed."""
    told = threading.Condition()
    seen: list[str] = []
    monkeypatch.setattr(space, "used_bytes", lambda path: walk(path))

    def walk(path: str) -> int:
        size = used_bytes(path)
        with told:
            seen.append(path)
            told.notify_all()
        return size

    def wait(path: str) -> bool:
        with told:
            return told.wait_for(lambda: path in seen, 10)

    return wait


def test_layers_are_walked_beside_and_forgotten_with_their_tenant(tmp_path, walked):
    one, two = write(tmp_path / "1/a").parent, write(tmp_path / "2/b").parent
    own = Space(0.01)
    assert own.of(1) is None, "not measured yet"
    own.want({1: str(one), 2: str(two), 3: str(tmp_path / "nowhere")})
    assert walked(str(two)) and walked(str(one))
    own.close()
    assert own._thread
    own._thread.join(10)
    assert own.of(1) == allocated(one / "a") and own.of(2) == allocated(two / "b")
    assert own.of(3) is None
    own.want({2: str(two)})
    assert own.of(1) is None and own.of(2) is not None


def test_no_thread_runs_where_there_is_nothing_to_walk():
    own = Space(0.01)
    own.want({})
    assert own._thread is None
    own.close()
