"""The cgroup trees of this host: v1, hybrid or v2, found in mountinfo, walked as directories.

A cgroup has one path in all trees and an id of its own in each: the inode number of its directory,
which on 64-bit kernels is the kernel's `kn->id` (fs/kernfs, `kernfs_ino`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

V1_CONTROLLERS = frozenset(
    "cpu cpuacct cpuset memory devices freezer blkio pids net_cls net_prio perf_event hugetlb"
    " rdma misc".split()
)
UNIFIED = 0
"""Hierarchy number of the v2 tree (kernel/cgroup/cgroup.c: the default root is made first)."""
GONE = 0
"""Stands for the id of a cgroup that was gone before it could be looked at; no cgroup has it."""


class Hierarchy(Struct, frozen=True):
    """One mounted cgroup tree.

    `number` is the kernel's hierarchy id (0 for v2), `mount` where it is seen from here,
    `controllers` what it accounts for (on v2: those enabled at the root).
    """

    number: int
    version: int
    mount: Path
    controllers: frozenset[str]

    def directory(self, path: str) -> Path:
        """Directory of the cgroup `path` ("/" is the root) in this tree."""
        return self.mount / path.lstrip("/")


class CgroupDir(NamedTuple):
    """A cgroup found by walking: its path and its id in every hierarchy that has it."""

    path: str
    ids: dict[int, int]


class CgroupEvent(NamedTuple):
    """A cgroup that was made or removed, as a tracepoint or a watched directory tells it."""

    made: bool
    hierarchy: int
    id: int
    path: str


class Hierarchies:
    """All cgroup trees of the host.

    `layout` is "v1", "hybrid" (v1 trees and a v2 tree beside them) or "v2".
    """

    def __init__(self, trees: list[Hierarchy]) -> None:
        self.trees = tuple(sorted(trees, key=lambda tree: tree.number))
        self.unified = next((tree for tree in trees if tree.version == 2), None)
        versions = {tree.version for tree in trees}
        self.layout = "hybrid" if versions == {1, 2} else "v2" if versions == {2} else "v1"

    def of(self, controller: str) -> Hierarchy | None:
        """The tree that accounts for `controller`: its v1 tree, else the v2 tree if it has it."""
        for tree in self.trees:
            if tree.version == 1 and controller in tree.controllers:
                return tree
        if self.unified and controller in self.unified.controllers:
            return self.unified
        return None

    def walk(self) -> Iterator[CgroupDir]:
        """Every cgroup below the root in any tree, parents before children."""
        found: dict[str, dict[int, int]] = {}
        for tree in self.trees:
            for path, number in walk_tree(tree.mount):
                found.setdefault(path, {})[tree.number] = number
        for path in sorted(found, key=lambda p: (p.count("/"), p)):
            yield CgroupDir(path, found[path])

    def ids(self, path: str) -> dict[int, int]:
        """Id of the cgroup `path` in each hierarchy that has it; empty when it is gone."""
        ids = {}
        for tree in self.trees:
            try:
                ids[tree.number] = os.stat(tree.directory(path)).st_ino
            except OSError:
                continue
        return ids

    def pids(self, path: str) -> list[int]:
        """Processes directly in the cgroup `path`, from whichever tree has any; [] when gone."""
        for tree in sorted(self.trees, key=lambda tree: tree.version != 2):
            try:
                text = (tree.directory(path) / "cgroup.procs").read_text()
            except OSError:
                continue
            pids = [int(word) for word in text.split() if word != "0"]
            if pids:
                return pids
        return []

    def pids_below(self, path: str) -> list[int]:
        """Processes in the cgroup `path` and in all below it; a process may end meanwhile."""
        below = {
            f"{path}{more}" for tree in self.trees for more, _ in walk_tree(tree.directory(path))
        }
        return [pid for each in {path, *below} for pid in self.pids(each)]


def walk_tree(mount: Path) -> Iterator[tuple[str, int]]:
    """Path and id of every cgroup below `mount`; those that vanish in mid-walk are left out."""
    pending = [("", str(mount))]
    while pending:
        path, directory = pending.pop()
        for child in children(directory):
            below = f"{path}/{child.name}"
            yield below, child.inode()
            pending.append((below, child.path))


def children(directory: str) -> list[os.DirEntry[str]]:
    """The cgroups straight below one; [] when it is gone."""
    try:
        # kernfs counts subdirectories in the link count (kernfs_refresh_inode): 2 is none, and
        # most cgroups have none. Listing the files of a leaf costs 15 times as much.
        if os.stat(directory).st_nlink == 2:
            return []
        with os.scandir(directory) as entries:
            return [e for e in entries if e.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def find(host_root: Path = Path("/")) -> Hierarchies:
    """The cgroup trees of the host whose root is seen at `host_root` (a prefix in a container)."""
    numbers = _v1_numbers(host_root)
    trees: dict[int, Hierarchy] = {}
    for line in _lines(_self(host_root) / "mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kind, *_, options = [before.split(" "), *after.split(" ")]
        if kind not in ("cgroup", "cgroup2") or fields[3] != "/":
            continue
        mount = host_root / _unescape(fields[4]).lstrip("/")
        tree = _unified(mount) if kind == "cgroup2" else _v1(mount, options, numbers)
        if tree:
            trees.setdefault(tree.number, tree)
    return Hierarchies(list(trees.values()))


def _unified(mount: Path) -> Hierarchy | None:
    try:
        controllers = frozenset((mount / "cgroup.controllers").read_text().split())
    except OSError:
        return None
    return Hierarchy(UNIFIED, 2, mount, controllers)


def _v1(mount: Path, options: str, numbers: dict[str, int]) -> Hierarchy | None:
    words = options.split(",")
    controllers = V1_CONTROLLERS.intersection(words)
    key = ",".join(sorted(controllers)) or next((w for w in words if w.startswith("name=")), "")
    if key not in numbers:
        return None
    return Hierarchy(numbers[key], 1, mount, controllers)


def _v1_numbers(host_root: Path) -> dict[str, int]:
    """Hierarchy id by its controllers (sorted, comma-joined) or `name=`."""
    numbers = {}
    for line in _lines(_self(host_root) / "cgroup"):
        number, words, _ = line.split(":", 2)
        if words:
            numbers[",".join(sorted(words.split(",")))] = int(number)
    return numbers


def _self(host_root: Path) -> Path:
    """Own entry in /proc; seen through a prefix, the host's first process stands for it."""
    return host_root / ("proc/self" if host_root == Path("/") else "proc/1")


def _lines(path: Path) -> list[str]:
    """Lines as the kernel ends them: names in between may hold any other byte."""
    return path.read_text(errors="surrogateescape").rstrip("\n").split("\n")


def _unescape(text: str) -> str:
    r"""Mountinfo writes blanks as octal: `\040`."""
    return text.encode("latin-1", "backslashreplace").decode("unicode_escape")
