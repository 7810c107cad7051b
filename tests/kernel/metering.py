"""What the meter's kernel tests share: tenants of test cgroups, victims that do one thing."""

from __future__ import annotations

import ctypes
import itertools
import os
import platform
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tests.kernel.conftest import Cgroup

from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.meter.read import Meter
from cotenant.model import Kind, Sample, Snapshot, Tenant

_KEYS = itertools.count(1)
L = TypeVar("L")
B = TypeVar("B")

SPIN = (sys.executable, "-c", "while True: pass")
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
SLEEP = ("sleep", "1000")


def tenant(hierarchies: Hierarchies, path: str, main_pid: int | None = None) -> Tenant:
    """A tenant for the cgroup at `path`."""
    return Tenant(
        next(_KEYS), path[1:], Kind.CGROUP, path, hierarchies.ids(path), main_pid=main_pid
    )


def booked_by_version(hierarchies: Hierarchies, path: str) -> dict[int, int]:
    """CPU time of a cgroup, by version of the tree that books it: cpuacct.usage on v1, cpu.stat on
    v2, which tells whole microseconds.
    """
    found = {}
    for tree in hierarchies.trees:
        folder = tree.directory(path)
        if tree.version == 2:
            text = (folder / "cpu.stat").read_text()
            found[2] = int(dict(line.split() for line in text.splitlines())["usage_usec"]) * 1000
        elif "cpuacct" in tree.controllers:
            found[1] = int((folder / "cpuacct.usage").read_text())
    return found


def booked_ns(group: Cgroup) -> int:
    """The cgroup's own CPU time, of v1's tree where there is one."""
    books = booked_by_version(group.hierarchies, group.path)
    return books[min(books)]


@contextmanager
def metering(hierarchies: Hierarchies, tier: str | None = None) -> Iterator[Meter]:
    """An open meter; the best tier of this host unless one is named."""
    meter = Meter(hierarchies, tier)
    assert tier or meter.tier != "files", meter.why_files
    try:
        yield meter
    finally:
        meter.close()


@contextmanager
def task_clock(pid: int) -> Iterator[Callable[[], int]]:
    """A clock of the time that process `pid` ran, in ns, up to the moment it is read.

    perf's software counter PERF_COUNT_SW_TASK_CLOCK. The CPU clock of another process
    (clock_getcpuclockid) does not tell its running slice: thread_group_cputime, kernel/sched.
    """
    software, clock, size = 1, 1, 112
    attributes = struct.pack("=IIQ", software, size, clock).ljust(size, b"\0")
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(_PERF_EVENT_OPEN[platform.machine()], attributes, pid, -1, -1, 0)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    try:
        yield lambda: int.from_bytes(os.read(fd, 8), sys.byteorder)
    finally:
        os.close(fd)


def of(snapshot: Snapshot, who: Tenant) -> Sample:
    """The tenant's sample."""
    return next(s for s in snapshot.samples if s.tenant.key == who.key)


def at_rest(book: Callable[[], B], look: Callable[[], L]) -> tuple[L, B]:
    """What a look saw while the book did not move, and the book. Waits until it does not."""
    deadline = time.monotonic() + 60
    while True:
        before, seen = book(), look()
        after = book()
        if before == after:
            return seen, before
        assert time.monotonic() < deadline, f"it does not come to rest: {before}, {after}"


def final_of(snapshot: Snapshot, who: Tenant) -> Sample | None:
    """The tenant's last sample, if it is in this snapshot."""
    return next((s for s in snapshot.finals if s.tenant.key == who.key), None)


def kernel_tiers(hierarchies: Hierarchies) -> list[str]:
    """The tiers this host's kernel has, best first; the file tier is in every list."""
    with metering(hierarchies) as meter:
        best = meter.tier
    return ["kfunc", "iterator", "files"] if best == "kfunc" else ["iterator", "files"]
