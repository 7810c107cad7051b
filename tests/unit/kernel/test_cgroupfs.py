"""Cgroup trees are found wherever they are mounted, and walked whatever their names are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cotenant.kernel import cgroupfs
from cotenant.kernel.cgroupfs import Hierarchies, find, walk_tree

V2 = (
    "22 28 0:21 / /proc rw,nosuid shared:12 - proc proc rw\n"
    "34 24 0:29 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 "
    "rw,nsdelegate,memory_recursiveprot\n",
    "0::/init.scope\n",
)
V1 = (
    "31 23 0:28 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755\n"
    "33 31 0:29 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd\n"
    "36 31 0:32 / /sys/fs/cgroup/cpu,cpuacct rw shared:15 - cgroup cgroup rw,cpu,cpuacct\n"
    "37 31 0:33 / /sys/fs/cgroup/memory rw shared:16 - cgroup cgroup rw,memory\n"
    "38 31 0:34 / /sys/fs/cgroup/blkio rw shared:17 - cgroup cgroup rw,blkio\n"
    "39 31 0:35 / /sys/fs/cgroup/pids rw shared:18 - cgroup cgroup rw,pids\n"
    "40 31 0:36 / /sys/fs/cgroup/net_cls,net_prio rw shared:19 - cgroup cgroup "
    "rw,net_cls,net_prio\n",
    "12:pids:/\n11:net_cls,net_prio:/\n9:blkio:/\n7:cpu,cpuacct:/\n3:memory:/\n"
    "1:name=systemd:/init.scope\n",
)
HYBRID = (
    V1[0] + "41 31 0:38 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n",
    V1[1] + "0::/init.scope\n",
)


def host(root: Path, recorded: tuple[str, str], mounts: dict[str, str]) -> Hierarchies:
    """A host below `root`; `mounts`: cgroup.controllers of each v2 mount."""
    process = root / "proc/1"
    process.mkdir(parents=True)
    (process / "mountinfo").write_bytes(os.fsencode(recorded[0]))
    (process / "cgroup").write_text(recorded[1] + "0::/\x0c:\u2028\n")
    for mount, controllers in mounts.items():
        (root / mount).mkdir(parents=True, exist_ok=True)
        (root / mount / "cgroup.controllers").write_text(controllers)
    return find(root)


def test_v2(tmp_path):
    found = host(tmp_path, V2, {"sys/fs/cgroup": "cpuset cpu io memory pids\n"})
    assert found.layout == "v2"
    [tree] = found.trees
    assert (tree.number, tree.version, tree.mount) == (0, 2, tmp_path / "sys/fs/cgroup")
    assert found.unified is tree is found.of("memory") is found.of("cpu")
    assert found.of("cpuacct") is None and found.of("blkio") is None


def test_v1_with_controllers_mounted_together(tmp_path):
    found = host(tmp_path, V1, {})
    assert found.layout == "v1" and found.unified is None
    assert [tree.number for tree in found.trees] == [1, 3, 7, 9, 11, 12]
    cpu = found.of("cpu")
    assert cpu is not None and cpu is found.of("cpuacct")
    assert (cpu.number, sorted(cpu.controllers)) == (7, ["cpu", "cpuacct"])
    systemd = found.trees[0]
    assert systemd.controllers == frozenset() and systemd.mount.name == "systemd"
    assert found.of("io") is None


def test_hybrid_takes_v1s_tree_where_it_has_the_controller(tmp_path):
    found = host(tmp_path, HYBRID, {"sys/fs/cgroup/unified": "hugetlb\n"})
    assert found.layout == "hybrid"
    assert found.unified is not None and found.unified.mount.name == "unified"
    memory, huge = found.of("memory"), found.of("hugetlb")
    assert memory and memory.version == 1
    assert huge is found.unified
    assert found.trees[0] is found.unified


def test_a_prefix_stands_before_every_mount_in_a_container(tmp_path):
    """The host's root at /host: its first process tells the host's mounts, ours are not asked."""
    found = host(tmp_path / "host", V2, {"sys/fs/cgroup": "memory\n"})
    assert found.trees[0].mount == tmp_path / "host/sys/fs/cgroup"
    assert found.trees[0].directory("/docker/a") == tmp_path / "host/sys/fs/cgroup/docker/a"


def test_a_part_of_a_tree_that_is_mounted_is_not_the_tree(tmp_path):
    """In a container without a cgroup namespace, docker mounts its own cgroup over the tree."""
    inner = V2[0].replace(" / /sys/fs", " /docker/0123 /sys/fs")
    assert host(tmp_path, (inner, V2[1]), {"sys/fs/cgroup": "memory\n"}).trees == ()


def test_a_tree_mounted_twice_is_one_tree_and_the_first_mount_counts(tmp_path):
    second = V2[0].splitlines()[1].replace("/sys/fs/cgroup", "/run/second")
    found = host(tmp_path, (V2[0] + second + "\n", V2[1]),
                 {"sys/fs/cgroup": "memory\n", "run/second": "memory\n"})  # fmt: skip
    assert [tree.mount for tree in found.trees] == [tmp_path / "sys/fs/cgroup"]


def test_a_tree_hidden_from_us_is_left_out(tmp_path):
    assert host(tmp_path, V2, {}).trees == ()
    assert Hierarchies([]).layout == "v1"


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (r"with\040blank", "with blank"), (r"tab\011x", "tab\tx"), (r"line\012x", "line\nx"),
        (r"back\134slash", "back\\slash"), ("한국어", "한국어"), ("é", "é"), (r"한\040é", "한 é"),
        ("form\x0cfeed\x85", "form\x0cfeed\x85"), ("\udcff", "\udcff"),
    ],
)  # fmt: skip
def test_what_mountinfo_escapes_is_what_the_directory_is_called(tmp_path, written, name):
    recorded = (V2[0].replace("/sys/fs/cgroup", f"/mnt/{written}"), V2[1])
    found = host(tmp_path, recorded, {f"mnt/{name}": "memory\n"})
    assert [tree.mount for tree in found.trees] == [tmp_path / "mnt" / name]


def test_a_mount_of_others_with_a_name_that_is_no_text_does_no_harm(tmp_path):
    foreign = "99 28 8:1 / /media/\udcff\udcfe rw - ext4 /dev/sda1 rw\n"
    nameless = "98 28 0:77 / /mnt/x rw -  tmpfs  rw\n"
    split = "97 28 0:78 / /mnt/\u2028\x0c\x1e rw shared:1 master:2 - tmpfs a\\040b rw\n"
    found = host(
        tmp_path, (foreign + nameless + split + V2[0], V2[1]), {"sys/fs/cgroup": "memory\n"}
    )
    assert len(found.trees) == 1


# --- walking

HOSTILE = [
    'a"b{}', "line\nbreak", "tab\t", " ", "한국어", "\x1b[31m", "x" * 255, "-rf", "%s{0}", "$(id)",
    os.fsdecode(b"\xff\xfe"), "a\\040b", "cgroup.procs",
]  # fmt: skip


def trees(root: Path, *paths: str) -> Hierarchies:
    """Two trees; every path in both, but for the last, which is in the second alone."""
    made = []
    for number in (0, 5):
        mount = root / str(number)
        for path in paths if number else paths[:-1]:
            (mount / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        mount.mkdir(exist_ok=True)
        (mount / "cgroup.procs").write_text("")
        version = 1 if number else 2
        made.append(cgroupfs.Hierarchy(number, version, mount, frozenset()))
    return Hierarchies(made)


def test_every_cgroup_is_walked_whatever_its_name(tmp_path):
    paths = [f"/{name}/{inner}" for name in HOSTILE[:4] for inner in HOSTILE]
    found = trees(tmp_path, *paths, "/only-here")
    walked = {group.path: group.ids for group in found.walk()}
    assert set(walked) == {*paths, *(f"/{name}" for name in HOSTILE[:4]), "/only-here"}
    for path, ids in walked.items():
        assert ids == found.ids(path)
    assert walked["/only-here"].keys() == {5}


def test_parents_come_before_their_children(tmp_path):
    found = trees(tmp_path, "/b/a/z", "/a-x/y", "/a/b/c/d", "/x")
    order = [group.path for group in found.walk()]
    for path in order:
        above = path.rpartition("/")[0]
        assert not above or order.index(above) < order.index(path)


def test_links_to_directories_are_not_cgroups(tmp_path):
    found = trees(tmp_path, "/a", "/b")
    for tree in found.trees:
        (tree.mount / "loop").symlink_to(tree.mount)
        (tree.mount / "a/deep").mkdir(exist_ok=True)
    assert {group.path for group in found.walk()} == {"/a", "/a/deep", "/b"}


def test_a_cgroup_that_vanishes_in_mid_walk_is_left_out(tmp_path, monkeypatch):
    found = trees(tmp_path, "/a/b", "/c/d", "/x")
    scandir = os.scandir

    def scan(path: str):
        if path.endswith("/c"):
            raise FileNotFoundError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    assert {group.path for group in found.walk()} == {"/a", "/a/b", "/c", "/x"}
    assert list(walk_tree(tmp_path / "nowhere")) == []


def test_processes_are_those_of_whichever_tree_has_any(tmp_path):
    found = trees(tmp_path, "/a", "/b")
    assert found.pids("/a") == [] and found.pids("/gone") == []
    (tmp_path / "5/a/cgroup.procs").write_text("7\n0\n9\n")
    (tmp_path / "0/a/cgroup.procs").write_text("0\n")
    assert found.pids("/a") == [7, 9], "0 is a process of another pid namespace"
    (tmp_path / "0/a/cgroup.procs").write_text("8\n")
    assert found.pids("/a") == [8], "the v2 tree is asked first"


def test_a_cgroup_that_is_gone_has_no_id(tmp_path):
    found = trees(tmp_path, "/a", "/b")
    assert found.ids("/gone") == {}
    assert found.ids("/a").keys() == {0, 5}
