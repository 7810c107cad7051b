"""Tenants as plain cgroups below one parent, in every tree of the host: v1, hybrid or v2.

They are found again by that parent, so `remove` needs no list and works after a crash.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cotenant.demo.loads import Load
from cotenant.errors import CotenantError, HostCannot, NeedsRoot
from cotenant.kernel.cgroupfs import Hierarchies, Hierarchy, walk_tree

PARENT = "/cotenant-demo.slice"
"""A slice is a group and no tenant, so each cgroup in it is one of its own."""
CONTROLLERS = ("cpu", "cpuacct", "memory", "blkio", "io", "pids")
"""What cotenant meters by; v1 trees of other controllers are left alone."""
PERIOD_US = 100_000
DEATH_SECONDS = 10.0

Progress = Callable[[int, int], None]
Wrap = Callable[[Load], list[str]]

# A process must be in its cgroup before it takes memory, as v1 does not move charges: so the shell
# that becomes it goes there first. `cd /`: it must not hold on to anybody's directory.
_JOIN = 'cd /; while [ "$1" != -- ]; do echo $$ >"$1" || exit 1; shift; done; shift; exec "$@"'


class Cgroups:
    """Plain cgroups `PARENT/NAME`, each with one process in it (and what that starts).

    Raises NeedsRoot or HostCannot where cgroups cannot be made here.
    """

    by = "cgroup"

    def __init__(self, hierarchies: Hierarchies, parent: str = PARENT) -> None:
        self._trees = tuple(tree for tree in hierarchies.trees if _matters(tree))
        self._parent = parent
        self._wanted: dict[str, int] = {}

    def enabled(self) -> dict[str, list[str]]:
        """Controllers that `prepare` will enable at the v2 root, by the file that says so."""
        missing = {}
        for tree in self._trees:
            if tree.version == 2:
                file = tree.mount / "cgroup.subtree_control"
                has = set(file.read_text().split())
                missing[str(file)] = [c for c in _metered(tree) if c not in has]
        return {file: controllers for file, controllers in missing.items() if controllers}

    def prepare(self) -> None:
        """Make the parent in every tree, and have v2 account for what is below it."""
        for tree in self._trees:
            try:
                for folder in (tree.mount, tree.directory(self._parent)):
                    folder.mkdir(exist_ok=True)
                    if tree.version == 2:
                        _enable(folder, _metered(tree))
            except PermissionError:
                raise NeedsRoot("Making cgroups needs root.", "run it again with sudo") from None
            except OSError as error:
                raise HostCannot(f"No cgroup can be made in {tree.mount} ({error}).") from None

    def start(
        self, loads: Sequence[Load], progress: Progress, wrap: Wrap = Load.command
    ) -> list[str]:
        """Start them and see them in their cgroups; their paths. `wrap` makes the words to run."""
        for done, load in enumerate(loads, 1):
            self._wanted[load.name] = self._spawn(load, wrap(load))
            progress(done, len(loads))
        for load in loads:
            self._see(load.name)
        return [f"{self._parent}/{load.name}" for load in loads]

    def running(self) -> list[str]:
        """Names of those in which something runs."""
        return [
            name
            for name in self.names()
            if any(_pids(tree.directory(f"{self._parent}/{name}")) for tree in self._trees)
        ]

    def names(self) -> list[str]:
        """Names of those that are there."""
        found = set()
        for tree in self._trees:
            found |= {path.split("/")[1] for path, _ in walk_tree(tree.directory(self._parent))}
        return sorted(found)

    def remove(self, progress: Progress) -> list[str]:
        """Kill what runs in them, remove them in all trees; the names of those that were there."""
        names = self.names()
        self._kill()
        for done, name in enumerate(names, 1):
            self._rmdir(f"{self._parent}/{name}")
            progress(done, len(names))
        self._rmdir(self._parent)
        return names

    def _spawn(self, load: Load, words: list[str]) -> int:
        doors = []
        for tree in self._trees:
            folder = tree.directory(f"{self._parent}/{load.name}")
            folder.mkdir(exist_ok=True)
            _limit(tree, folder, load)
            doors.append(str(folder / "cgroup.procs"))
        null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
        shell = ["/bin/sh", "-c", _JOIN, "sh", *doors, "--", *words]
        return os.posix_spawn("/bin/sh", shell, os.environ, file_actions=null, setsid=True)

    def _see(self, name: str) -> None:
        """Wait until its process is in the cgroup in every tree."""
        pid = self._wanted[name]
        deadline = time.monotonic() + DEATH_SECONDS
        for tree in self._trees:
            while pid not in _pids(tree.directory(f"{self._parent}/{name}")):
                if os.waitpid(pid, os.WNOHANG)[0] or time.monotonic() > deadline:
                    raise CotenantError(f"The process of {name} did not get into {tree.mount}.")
                time.sleep(0.002)

    def _kill(self) -> None:
        """Kill until nothing is left: a process may fork while it is being killed."""
        deadline = time.monotonic() + DEATH_SECONDS
        while pids := self._alive():
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self._reap()
            if time.monotonic() > deadline:
                raise CotenantError(f"Processes {sorted(pids)[:5]} do not die.", "try again later")
            time.sleep(0.005)
        self._reap()

    def _alive(self) -> set[int]:
        # Every tree: one whose start failed half-way is in some of them only.
        # And those just started, which are still on their way into it.
        found = set(self._wanted.values())
        for tree in self._trees:
            top = tree.directory(self._parent)
            for path in ("", *(path for path, _ in walk_tree(top))):
                found |= _pids(top / path.lstrip("/"))
        return found - {os.getpid()}

    def _reap(self) -> None:
        for name, pid in list(self._wanted.items()):
            try:
                if os.waitpid(pid, os.WNOHANG)[0]:
                    del self._wanted[name]
            except ChildProcessError:
                del self._wanted[name]

    def _rmdir(self, path: str) -> None:
        deadline = time.monotonic() + DEATH_SECONDS
        for tree in self._trees:
            folder = tree.directory(path)
            below = [folder / inner.lstrip("/") for inner, _ in walk_tree(folder)]
            for each in sorted([*below, folder], reverse=True):
                while each.exists():
                    try:
                        each.rmdir()
                    except OSError as error:  # a dying process, or one that came late
                        if time.monotonic() > deadline:
                            raise CotenantError(f"{each} cannot be removed ({error}).") from None
                        self._kill()
                        time.sleep(0.005)


def give_back(enabled: dict[str, list[str]]) -> None:
    """Take back the controllers that `prepare` enabled; the kernel keeps those in use."""
    for file, controllers in enabled.items():
        for controller in controllers:
            try:
                Path(file).write_text(f"-{controller}")
            except OSError:  # somebody below uses it by now, so it is theirs
                continue


def _matters(tree: Hierarchy) -> bool:
    # A tree without controllers (name=systemd) is the one by which systemd tells sessions apart.
    return tree.version == 2 or not tree.controllers or bool(_metered(tree))


def _metered(tree: Hierarchy) -> list[str]:
    return [controller for controller in CONTROLLERS if controller in tree.controllers]


def _enable(folder: Path, controllers: list[str]) -> None:
    for controller in controllers:
        (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def _limit(tree: Hierarchy, folder: Path, load: Load) -> None:
    """Write the load's limits into whatever file of this tree they belong to."""
    files: dict[str, str] = {}
    if load.cpu_cores is not None and "cpu" in tree.controllers:
        quota = int(load.cpu_cores * PERIOD_US)
        if tree.version == 2:
            files["cpu.max"] = f"{quota} {PERIOD_US}"
        else:
            files |= {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": str(quota)}
    if load.memory_bytes is not None and "memory" in tree.controllers:
        name = "memory.max" if tree.version == 2 else "memory.limit_in_bytes"
        files[name] = str(load.memory_bytes)
    for name, value in files.items():
        (folder / name).write_text(value)


def _pids(folder: Path) -> set[int]:
    try:
        return {int(word) for word in (folder / "cgroup.procs").read_text().split()} - {0}
    except (OSError, ValueError):
        return set()
