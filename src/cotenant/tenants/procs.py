"""What /proc tells of tenants: who is in which cgroup, since when, in which network.

Every look may find its process gone: that is None, never an error.
"""

from __future__ import annotations

import os
from pathlib import Path

from cotenant.kernel.cgroupfs import Hierarchies

_TICKS = os.sysconf("SC_CLK_TCK")


class Processes:
    """The host's processes, seen through its /proc below `host_root`."""

    def __init__(self, host_root: Path = Path("/")) -> None:
        self.proc = str(host_root / "proc")
        self._boot = self._boot_time()
        # A process with capabilities that we lack may not be looked at, even by root.
        self.host_netns = self.netns(1) or self.netns(os.getpid(), "/proc")

    def census(self) -> dict[int, list[str]]:
        """Paths of every process's cgroups over all hierarchies, by process id, lowest first.

        One pass over /proc costs 20 us a process; reading cgroup.procs of 10,000 cgroups in ten
        v1 trees would cost half a second. Processes of the same cgroups share one list.
        """
        seen: dict[bytes, list[str]] = {}
        homes: dict[int, list[str]] = {}
        for pid in self.pids():
            data = self._read(f"{self.proc}/{pid}/cgroup")
            paths = seen.get(data)
            if paths is None:
                paths = seen[data] = paths_in(data)
            homes[pid] = paths
        return homes

    def pids(self) -> list[int]:
        """Every process, lowest first; [] when /proc cannot be read."""
        try:
            return sorted(int(name) for name in os.listdir(self.proc) if name.isdigit())
        except OSError:
            return []

    def cgroup_of(self, pid: int) -> str | None:
        """The path `pid` is accounted at: the deepest over all hierarchies, "/" for the root."""
        paths = paths_in(self._read(f"{self.proc}/{pid}/cgroup"))
        return max(paths, key=lambda path: path.count("/") if path != "/" else 0, default=None)

    def is_in(self, pid: int, path: str) -> bool:
        """Whether the process is in the cgroup `path` or below it, in any hierarchy."""
        paths = paths_in(self._read(f"{self.proc}/{pid}/cgroup"))
        return any(home == path or home.startswith(path + "/") for home in paths)

    def netns(self, pid: int, proc: str | None = None) -> int | None:
        """Inode of its network namespace; None when the process is gone or may not be looked at."""
        try:
            link = os.readlink(f"{proc or self.proc}/{pid}/ns/net")
            return int(link[5:-1])
        except (OSError, ValueError):
            return None

    def comm(self, pid: int) -> str:
        """Its name, at most 15 characters; empty when it is gone."""
        return self._read(f"{self.proc}/{pid}/comm").decode("utf-8", "replace").rstrip("\n")

    def arguments(self, pid: int) -> list[str]:
        """Its command line; [] when it is gone. May block while the process maps memory."""
        data = self._read(f"{self.proc}/{pid}/cmdline", 1 << 16)
        return os.fsdecode(data).rstrip("\0").split("\0") if data else []

    def started_at(self, pid: int) -> float | None:
        """When it was started, as Unix time, to 10 ms; None when it is gone."""
        stat = self._read(f"{self.proc}/{pid}/stat")
        try:
            # The second field may hold blanks and brackets: count from the last bracket (proc(5)).
            ticks = int(stat[stat.rindex(b")") + 2 :].split(b" ", 20)[19])
        except (ValueError, IndexError):
            return None
        return self._boot + ticks / _TICKS

    def _boot_time(self) -> float:
        for line in self._read(f"{self.proc}/stat", 1 << 20).splitlines():
            if line.startswith(b"btime "):
                return float(line.split()[1])
        return 0.0

    @staticmethod
    def _read(path: str, limit: int = 1 << 14) -> bytes:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            return os.read(fd, limit)
        except OSError:
            return b""
        finally:
            os.close(fd)


def paths_in(data: bytes) -> list[str]:
    """Distinct cgroup paths in the text of /proc/PID/cgroup; those already removed left out."""
    paths = dict.fromkeys(os.fsdecode(line.split(b":", 2)[2]) for line in data.splitlines()
                          if line.count(b":") >= 2)  # fmt: skip
    return [path for path in paths if not path.endswith(" (deleted)")]


def first_pid(hierarchies: Hierarchies, path: str, budget: int = 32) -> int | None:
    """Lowest process id in the cgroup `path`, or in the first directory below it that has one.

    Looks into at most `budget` directories, breadth first.
    """
    mounts = [str(tree.mount) for tree in sorted(hierarchies.trees, key=lambda t: -t.version)]
    pending, at = [path], 0
    while at < len(pending) and at < budget:
        here = pending[at]
        at += 1
        for mount in mounts:
            pids = pids_in(f"{mount}{here}")
            if pids:
                return min(pids)
        below = {name for mount in mounts for name in _directories(f"{mount}{here}")}
        pending.extend(f"{here}/{name}" for name in sorted(below))
    return None


def pids_in(directory: str) -> list[int]:
    """Processes straight in the cgroup at `directory`; [] when it is empty or gone.

    0 stands for processes outside our own pid namespace: left out.
    """
    try:
        fd = os.open(f"{directory}/cgroup.procs", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        return [int(word) for word in os.read(fd, 1 << 16).split()[:4096] if word != b"0"]
    except (OSError, ValueError):
        return []
    finally:
        os.close(fd)


def _directories(path: str) -> list[str]:
    try:
        # kernfs counts subdirectories in the link count (kernfs_refresh_inode): 2 is none.
        if os.stat(path).st_nlink == 2:
            return []
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
