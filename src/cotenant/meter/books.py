"""The files of one cgroup, kept open, and what stands in them on v1 and on v2.

A kept-open file is read with one `pread`; opening and closing it each time costs ten times that.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping

from cotenant.kernel.cgroupfs import Hierarchies, Hierarchy
from cotenant.meter.devices import device_name
from cotenant.model import Disk, Memory, Pressure, Throttle

UNLIMITED = 1 << 62
_SIZE = 16384

# memory.stat's names of model.Memory's fields. On v1 the hierarchical `total_` values are meant.
V1_STATES = {
    "total_cache": "cache", "total_rss": "rss", "total_rss_huge": "rss_huge",
    "total_shmem": "shmem", "total_mapped_file": "mapped_file", "total_dirty": "dirty",
    "total_writeback": "writeback", "total_swap": "swap", "total_inactive_file": "inactive_file",
    "total_active_file": "active_file", "total_pgpgin": "pgpgin", "total_pgpgout": "pgpgout",
    "total_pgfault": "pgfault", "total_pgmajfault": "pgmajfault",
}  # fmt: skip
V2_STATES = {
    "file": "cache", "anon": "rss", "anon_thp": "rss_huge", "shmem": "shmem",
    "file_mapped": "mapped_file", "file_dirty": "dirty", "file_writeback": "writeback",
    "inactive_file": "inactive_file", "active_file": "active_file", "kernel": "kernel",
    "pgfault": "pgfault", "pgmajfault": "pgmajfault",
}  # fmt: skip


class Descriptors:
    """How many files may be kept open: half of what this process may have."""

    def __init__(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.left = hard // 2


class Books:
    """The open files of one cgroup, by controller and file name; opened when first asked for.

    Once the descriptors are used up, a file is opened for each look: slower, never missing.
    """

    def __init__(
        self, hierarchies: Hierarchies, path: str, descriptors: Descriptors | None = None
    ) -> None:
        self._hierarchies = hierarchies
        self._path = path
        self._descriptors = descriptors or Descriptors()
        self._open: dict[str, int | None] = {}

    def text(self, controller: str, name: str) -> str | None:
        """The file's text; None where this host has no such file, or the cgroup is gone."""
        if name not in self._open:
            if self._descriptors.left <= 0:
                return self._once(controller, name)
            self._open[name] = self._opened(controller, name)
        fd = self._open[name]
        return None if fd is None else read_whole(fd)

    def _once(self, controller: str, name: str) -> str | None:
        fd = self._opened(controller, name)
        if fd is None:
            return None
        try:
            return read_whole(fd)
        finally:
            os.close(fd)
            self._descriptors.left += 1

    def number(self, controller: str, name: str) -> int | None:
        """The file's only number; None for "max" and for what is not there."""
        return number_in(self.text(controller, name))

    def table(self, controller: str, name: str) -> dict[str, int]:
        """A `name value` file as a mapping; empty where there is none."""
        return table_of(self.text(controller, name))

    def close(self) -> None:
        """Closes every file."""
        for fd in self._open.values():
            if fd is not None:
                os.close(fd)
                self._descriptors.left += 1
        self._open.clear()

    def _opened(self, controller: str, name: str) -> int | None:
        tree = tree_of(self._hierarchies, controller)
        if not tree:
            return None
        try:
            fd = os.open(tree.directory(self._path) / name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        self._descriptors.left -= 1
        return fd


def read_whole(fd: int) -> str | None:
    """What the file holds now; None where the cgroup is gone."""
    try:
        data = os.pread(fd, _SIZE, 0)
        while data and len(data) % _SIZE == 0 and (more := os.pread(fd, _SIZE, len(data))):
            data += more  # io.stat of a host with some 180 devices
        return data.decode("ascii", "replace")
    except OSError:
        return None


def tree_of(hierarchies: Hierarchies, controller: str) -> Hierarchy | None:
    """Where a controller's files are. PSI and, on v2, CPU time need no controller: the v2 tree."""
    if controller == "unified":
        return hierarchies.unified
    return hierarchies.of(controller)


def read_cpu(books: Books, *, v1: bool) -> tuple[int, int, int] | None:
    """Usage, user and system in ns from cpuacct (v1) or cpu.stat (v2 and the tree beside v1)."""
    usage = books.number("cpuacct", "cpuacct.usage") if v1 else None
    if usage is not None:
        user = books.number("cpuacct", "cpuacct.usage_user") or 0
        system = books.number("cpuacct", "cpuacct.usage_sys") or 0
        return usage, user, system
    stat = table_of(books.text("unified", "cpu.stat"))
    if "usage_usec" not in stat:
        return None
    user, system = stat.get("user_usec", 0), stat.get("system_usec", 0)
    return stat["usage_usec"] * 1000, user * 1000, system * 1000


def read_throttle(books: Books, *, v1: bool) -> Throttle | None:
    """Quota and throttling; None where the cgroup has no cpu controller."""
    stat = books.table("cpu", "cpu.stat")
    if "nr_periods" not in stat:
        return None
    if v1:
        throttled_ns = stat.get("throttled_time", 0)
        quota = books.number("cpu", "cpu.cfs_quota_us")
        period = books.number("cpu", "cpu.cfs_period_us") or 0
        shares = books.number("cpu", "cpu.shares")
    else:
        throttled_ns = stat.get("throttled_usec", 0) * 1000
        allowed, _, length = (books.text("cpu", "cpu.max") or "max 100000").partition(" ")
        quota, period = number_in(allowed), number_in(length) or 0
        weight = books.number("cpu", "cpu.weight")
        shares = None if weight is None else shares_of(weight)
    quota = None if quota is None or quota < 0 else quota
    periods, throttled = stat["nr_periods"], stat.get("nr_throttled", 0)
    return Throttle(periods, throttled, throttled_ns, quota, period, shares)


def shares_of(weight: int) -> int:
    """v1's shares for a v2 weight (kernel/sched/core.c, sched_weight_from_cgroup)."""
    return (weight * 1024 + 50) // 100


def read_states(books: Books, *, v1: bool) -> dict[str, int]:
    """memory.stat under model.Memory's names, and the values v2 keeps in files of their own."""
    stat = words_of(books.text("memory", "memory.stat") or "")
    found = {
        field: int(text)
        for name, field in (V1_STATES if v1 else V2_STATES).items()
        if (text := stat.get(name, "")).isdigit()
    }
    apart = ("kernel", "memory.kmem.usage_in_bytes") if v1 else ("swap", "memory.swap.current")
    value = books.number("memory", apart[1])
    if value is not None:
        found[apart[0]] = value
    return found


def read_memory(books: Books, *, v1: bool) -> Memory | None:
    """All memory values; None where the cgroup has no memory controller."""
    prefix = "memory." if not v1 else ""
    usage = books.number("memory", "memory.usage_in_bytes" if v1 else "memory.current")
    if usage is None:
        return None
    states = read_states(books, v1=v1)
    events: Mapping[str, int]
    if v1:
        limit = books.number("memory", "memory.limit_in_bytes")
        peak = books.number("memory", "memory.max_usage_in_bytes")
        failures = books.number("memory", "memory.failcnt")
        events = {"oom_kill": books.table("memory", "memory.oom_control").get("oom_kill", 0)}
    else:
        limit = books.number("memory", f"{prefix}max")
        peak = books.number("memory", f"{prefix}peak")
        failures = None
        events = books.table("memory", f"{prefix}events")
    return Memory(
        usage=usage,
        limit=None if limit is None or limit >= UNLIMITED else limit,
        max_usage=peak,
        failures=failures,
        **{name: states.get(name) for name in STATE_FIELDS},
        low_events=events.get("low"),
        high_events=events.get("high"),
        max_events=events.get("max"),
        oom_events=events.get("oom"),
        oom_kills=events.get("oom_kill"),
    )


STATE_FIELDS = (
    "cache", "rss", "rss_huge", "shmem", "mapped_file", "dirty", "writeback", "swap",
    "inactive_file", "active_file", "pgpgin", "pgpgout", "pgfault", "pgmajfault", "kernel",
)  # fmt: skip


def read_pressure(books: Books) -> Pressure | None:
    """PSI totals of the three resources, `some` and `full`; None where there is no such file."""
    values: list[int | None] = []
    for name in ("cpu.pressure", "memory.pressure", "io.pressure"):
        text = books.text("unified", name)
        totals = {
            line.split(" ", 1)[0]: line.rpartition("=")[2] for line in (text or "").splitlines()
        }
        values += [number_in(totals.get("some")), number_in(totals.get("full"))]
    return Pressure(*values) if any(value is not None for value in values) else None


def read_disks(text: str | None) -> tuple[Disk, ...] | None:
    """Devices in the text of an io.stat file; those never read nor written are left out."""
    if text is None:
        return None
    disks = []
    for line in text.splitlines():
        numbers, _, rest = line.partition(" ")
        pairs = rest.split()
        stat = {
            name: int(value)
            for name, _, value in (p.partition("=") for p in pairs)
            if value.isdigit()
        }
        major, _, minor = numbers.partition(":")
        if (stat.get("rios") or stat.get("wios")) and major.isdigit() and minor.isdigit():
            name = device_name(int(major), int(minor))
            counts = (stat.get(key, 0) for key in ("rbytes", "wbytes", "rios", "wios"))
            disks.append(Disk(int(major), int(minor), name, *counts))
    return tuple(disks)


def words_of(text: str) -> dict[str, str]:
    """`name value` lines as they stand: what `table_of` costs is mostly numbers nobody asks for."""
    words = text.split()
    if len(words) != 2 * text.count("\n"):
        return {name: str(value) for name, value in table_of(text).items()}
    return dict(zip(words[::2], words[1::2], strict=True))


def number_in(text: str | None) -> int | None:
    """The number `text` begins with; None for "max", for nothing and for words."""
    words = (text or "").split()
    try:
        return int(words[0]) if words else None
    except ValueError:
        return None


def table_of(text: str | None) -> dict[str, int]:
    """`name value` lines as a mapping; lines of another form are left out."""
    found = {}
    for line in (text or "").splitlines():
        name, _, value = line.partition(" ")
        if value.isdigit():
            found[name] = int(value)
    return found
