"""The same values read from the cgroup files by a careful Python programmer.

Open, read, parse, close, one file after the other. Nothing silly: raw descriptors instead of file
objects, paths put together once, bytes parsed without a copy to text, plain dicts as the result. It
shares no code with the product's own file tier, which keeps files open.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from cotenant.bench.turns import Own
from cotenant.kernel.cgroupfs import Hierarchies, Hierarchy
from cotenant.model import Tenant

Values = dict[str, int | None]
Parser = Callable[[str, bytes, Values], None]

_SIZE = 16384
_PAGE = os.sysconf("SC_PAGE_SIZE")

_V1_MEMORY = (
    "total_cache", "total_rss", "total_rss_huge", "total_shmem", "total_mapped_file",
    "total_dirty", "total_writeback", "total_swap", "total_inactive_file", "total_active_file",
    "total_pgpgin", "total_pgpgout", "total_pgfault", "total_pgmajfault",
)  # fmt: skip
_V2_MEMORY = (
    "file", "anon", "anon_thp", "shmem", "file_mapped", "file_dirty", "file_writeback",
    "inactive_file", "active_file", "pgfault", "pgmajfault",
)  # fmt: skip
_V1_FILES = {
    "cpuacct": ("cpuacct.usage", "cpuacct.usage_user", "cpuacct.usage_sys"),
    "cpu": ("cpu.stat", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.shares"),
    "memory": (
        "memory.usage_in_bytes", "memory.limit_in_bytes", "memory.max_usage_in_bytes",
        "memory.failcnt", "memory.stat", "memory.oom_control",
    ),
    "pids": ("pids.current", "pids.max"),
}  # fmt: skip
_V2_FILES = {
    "cpu": ("cpu.stat", "cpu.max", "cpu.weight"),
    "memory": (
        "memory.current", "memory.max", "memory.peak", "memory.stat", "memory.events",
        "memory.swap.current",
    ),
    "io": ("io.stat",),
    "pids": ("pids.current", "pids.max"),
}  # fmt: skip
_PRESSURE = ("cpu.pressure", "memory.pressure", "io.pressure")


class Files:
    """Reads every file of every tenant; `once` gives a dict of values for each tenant's name."""

    def __init__(self, hierarchies: Hierarchies, tenants: Sequence[Tenant]) -> None:
        self._plans = [(t.name, _plan(hierarchies, t)) for t in tenants]

    def once(self) -> dict[str, Values]:
        """Open, read, parse and close them all. A file that is gone leaves its values out."""
        found: dict[str, Values] = {}
        for name, plan in self._plans:
            values: Values = {}
            for path, key, parse in plan:
                try:
                    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                except OSError:
                    continue
                try:
                    parse(key, os.read(fd, _SIZE), values)
                except OSError:
                    continue
                finally:
                    os.close(fd)
            found[name] = values
        return found

    def way(self) -> Own:
        """This, to be timed."""
        return Own("files", self.once)


def _plan(hierarchies: Hierarchies, tenant: Tenant) -> list[tuple[str, str, Parser]]:
    """Path, name and parser of every file of one tenant that is there."""
    wanted: list[tuple[Hierarchy | None, str]] = []
    trees = {tree.number: tree for tree in hierarchies.trees}
    for tree in trees.values():
        for controller, names in (_V1_FILES if tree.version == 1 else _V2_FILES).items():
            if controller in tree.controllers:
                wanted += [(tree, name) for name in names]
        if tree.version == 2:
            wanted += [(tree, name) for name in _PRESSURE]
    paths = [
        (str(tree.directory(tenant.path) / name), name) for tree, name in wanted if tree is not None
    ]
    if tenant.main_pid is not None:
        paths.append((f"/proc/{tenant.main_pid}/statm", "statm"))
    there = [(path, name) for path, name in paths if os.path.exists(path)]
    return [(path, name, _PARSERS.get(name, _number)) for path, name in there]


def _number(key: str, text: bytes, values: Values) -> None:
    """A file with one number in it, or `max`."""
    values[key] = None if text.startswith(b"max") else int(text)


def _table(names: Sequence[str]) -> Parser:
    """A parser of `name value` lines that keeps the values of `names`."""
    wanted = {name.encode(): name for name in names}

    def parse(_key: str, text: bytes, values: Values) -> None:
        for line in text.splitlines():
            word, _, number = line.partition(b" ")
            if word in wanted:
                values[wanted[word]] = int(number)

    return parse


def _quota(_key: str, text: bytes, values: Values) -> None:
    """v2's cpu.max: the quota or `max`, and the period."""
    quota, _, period = text.partition(b" ")
    values["quota_us"] = None if quota == b"max" else int(quota)
    values["period_us"] = int(period)


def _io(_key: str, text: bytes, values: Values) -> None:
    """v2's io.stat: a line for each device, with `name=value` pairs."""
    for line in text.splitlines():
        device, *pairs = line.decode().split()
        for pair in pairs:
            name, _, value = pair.partition("=")
            values[f"{device} {name}"] = int(value)


def _pressure(key: str, text: bytes, values: Values) -> None:
    """PSI: `some` and `full`, of which the total is kept."""
    for line in text.splitlines():
        values[f"{key} {line[:4].decode()}"] = int(line.rpartition(b"=")[2])


def _statm(_key: str, text: bytes, values: Values) -> None:
    """The first number of statm is the virtual size, in pages."""
    values["vm_bytes"] = int(text.partition(b" ")[0]) * _PAGE


_PARSERS: dict[str, Parser] = {
    "cpu.stat": _table((
        "usage_usec", "user_usec", "system_usec",
        "nr_periods", "nr_throttled", "throttled_time", "throttled_usec",
    )),
    "memory.stat": _table((*_V1_MEMORY, *_V2_MEMORY)),
    "memory.oom_control": _table(("oom_kill",)),
    "memory.events": _table(("low", "high", "max", "oom", "oom_kill")),
    "cpu.max": _quota,
    "io.stat": _io,
    "statm": _statm,
    **dict.fromkeys(_PRESSURE, _pressure),
}  # fmt: skip
