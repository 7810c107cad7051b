"""Making the tenants that a benchmark meters, and removing them whatever happens."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from cotenant.bench.turns import Progress
from cotenant.demo.cgroups import Cgroups
from cotenant.demo.containers import Containers
from cotenant.demo.engine import Engine, find_engine
from cotenant.demo.loads import idle
from cotenant.errors import RuntimeSilent
from cotenant.kernel.cgroupfs import Hierarchies

LABEL = "cotenant.bench"
"""Of the containers of a benchmark; its value is the benchmark's process id."""
PARENT = "/cotenant-bench-{}.slice"
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")

By = Literal["docker", "cgroup"]


class Ground:
    """Sleeping tenants made for one benchmark: `number` of them so far, more with `grow`.

    `by` tells how; `ids` are container ids, or paths of cgroups.
    """

    def __init__(self, ground: Containers | Cgroups, progress: Progress) -> None:
        self._ground = ground
        self._progress = progress
        self._known: set[str] = set()
        self.ids: list[str] = []
        self.by = ground.by
        self.number = 0

    def grow(self, number: int) -> None:
        """Make more, until there are `number`."""
        loads = [idle(n, 5, f"bench-{os.getpid()}") for n in range(self.number + 1, number + 1)]
        self.ids += self._ground.start(loads, self._progress)
        self._known |= set(self.ids)
        self.number = number

    def tell(self, progress: Progress) -> None:
        """Show how far the next `grow` is to `progress`."""
        self._progress = progress

    def owns(self, path: str) -> bool:
        """True for the path of a cgroup of one of these tenants."""
        if self.by == "cgroup":
            return path in self._known
        found = _CONTAINER_ID.search(path.rpartition("/")[2])
        return found is not None and found[0] in self._known


@contextlib.contextmanager
def ground(hierarchies: Hierarchies, by: By, progress: Progress) -> Iterator[Ground]:
    """Room for a benchmark's tenants; all of them are gone when the block is left, however.

    What a killed benchmark left behind goes first. Raises RuntimeSilent, HostCannot or NeedsRoot
    where tenants cannot be made `by` this.
    """
    clear(hierarchies)
    below: Containers | Cgroups
    if by == "docker":
        below = Containers(engine(), LABEL, str(os.getpid()))
    else:
        below = Cgroups(hierarchies, PARENT.format(os.getpid()))
    try:
        below.prepare()
        yield Ground(below, progress)
    finally:
        below.remove(progress)


def engine() -> Engine:
    """Docker, if it answers; else RuntimeSilent."""
    found = find_engine()
    if found is None:
        raise RuntimeSilent("Docker does not run here.")
    found.version()
    return found


def clear(hierarchies: Hierarchies) -> None:
    """Remove the tenants of benchmarks that no longer run."""
    with contextlib.suppress(RuntimeSilent):
        docker = engine()
        for value in {each.value for each in docker.labelled(LABEL)}:
            if not _runs(value):
                Containers(docker, LABEL, value).remove(_quiet)
    for tree in hierarchies.trees:
        for folder in tree.mount.glob(PARENT.format("*").lstrip("/")):
            if not _runs(folder.stem.rpartition("-")[2]):
                Cgroups(hierarchies, f"/{folder.name}").remove(_quiet)


def _runs(pid: str) -> bool:
    return Path("/proc", pid).is_dir()


def _quiet(_done: int, _total: int) -> None:
    """Say nothing: it is not what the user waits for."""
