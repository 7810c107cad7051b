"""The whole host: its facts, and its own row of figures, which no cgroup's book holds."""

from __future__ import annotations

import os
import platform
import re
import time
from pathlib import Path

from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.meter.books import (
    Books,
    read_cpu,
    read_disks,
    read_memory,
    read_pressure,
    read_whole,
    table_of,
)
from cotenant.meter.cputime import Rising
from cotenant.model import Cpu, Interface, Kind, Machine, Memory, Pids, Sample, Tenant

_SIZES = re.compile(r"^(MemTotal|MemFree|SwapTotal|SwapFree): +(\d+) kB$", re.M)
_CLOCK_MONOTONIC_COARSE = 6  # include/uapi/linux/time.h; Python has no name for it
ROOT = Tenant(key=0, name="/", kind=Kind.HOST, path="/", cgroups={})
"""Stands for the whole host: cAdvisor's row `id="/"`."""


def machine(host_root: Path = Path("/")) -> Machine:
    """Facts of this host."""
    memory = _sizes((host_root / "proc/meminfo").read_text())
    cores, sockets = _topology(host_root)
    return Machine(
        cores=os.cpu_count() or 1,
        physical_cores=len(cores) or (os.cpu_count() or 1),
        sockets=len(sockets) or 1,
        memory_bytes=memory.get("MemTotal", 0),
        swap_bytes=memory.get("SwapTotal", 0),
        kernel=platform.release(),
        boot_id=_line(host_root / "proc/sys/kernel/random/boot_id"),
        machine_id=_line(host_root / "etc/machine-id"),
        system_uuid=_line(host_root / "sys/class/dmi/id/product_uuid"),
        node=platform.node(),
    )


def booked_every_ns(host_root: Path = Path("/")) -> int:
    """How often the scheduler books a task that keeps its CPU: with every tick.

    Once a second where some CPUs run without (`nohz_full`: kernel/sched/core.c,
    `sched_tick_remote`). The tick is what the coarse clock advances by
    (kernel/time/posix-timers.c, KTIME_LOW_RES).
    """
    without_ticks = _line(host_root / "sys/devices/system/cpu/nohz_full")
    if without_ticks not in ("", "(null)"):
        return 1_000_000_000
    return round(time.clock_getres(_CLOCK_MONOTONIC_COARSE) * 1e9)


class HostReader:
    """Reads the whole host's figures from the root cgroup's files and from /proc."""

    def __init__(self, hierarchies: Hierarchies, host_root: Path = Path("/")) -> None:
        self._books = Books(hierarchies, "/")
        self._proc = {name: _opened(host_root / "proc" / name) for name in ("loadavg", "meminfo")}
        memory, cpuacct = hierarchies.of("memory"), hierarchies.of("cpuacct")
        self._memory_v1 = memory is not None and memory.version == 1
        self._cpuacct_v1 = cpuacct is not None and cpuacct.version == 1

    def cpu(self) -> tuple[int, int, int] | None:
        """CPU time of everything in ns. On v2 it is sampled by ticks, so not finer than these."""
        return read_cpu(self._books, v1=self._cpuacct_v1)

    def sample(self, at_ns: int) -> Sample:
        """The host's row but for CPU time, interfaces and counted traffic.

        Reading the root's memory.stat folds all pending per-CPU memory counts into the books
        (mm/memcontrol.c, mem_cgroup_flush_stats).
        """
        return Sample(
            ROOT,
            at_ns,
            memory=read_memory(self._books, v1=True) if self._memory_v1 else self._memory(),
            pids=self._pids(),
            pressure=read_pressure(self._books),
            disks=read_disks(self._books.text("io", "io.stat")),
        )

    def whole(
        self, read: Sample, counted: Sample, interfaces: tuple[Interface, ...], rising: Rising
    ) -> Sample:
        """The host's row: `read` here, and what only the programs `counted`.

        Its CPU time is read last, so that the tenants' never add up to more.
        """
        cpu = self.cpu()
        return Sample(
            ROOT,
            read.at_ns,
            cpu=Cpu(*rising.rise(ROOT.key, *cpu)) if cpu else None,
            memory=read.memory,
            pids=read.pids,
            pressure=read.pressure,
            traffic=counted.traffic,
            interfaces=interfaces,
            disks=read.disks if read.disks is not None else counted.disks,
        )

    def close(self) -> None:
        """Closes the files."""
        self._books.close()
        for fd in self._proc.values():
            if fd is not None:
                os.close(fd)
        self._proc = dict.fromkeys(self._proc)

    def _text(self, name: str) -> str:
        """A file of /proc, kept open: to open it costs ten times what a look costs."""
        fd = self._proc[name]
        return (read_whole(fd) or "") if fd is not None else ""

    def _memory(self) -> Memory | None:
        """v2 has no memory.current at the root: used is what is not free, as cAdvisor says it."""
        info = _sizes(self._text("meminfo"))
        if not info.keys() >= {"MemTotal", "MemFree"}:
            return None
        stat = table_of(self._books.text("memory", "memory.stat"))
        events = self._books.table("memory", "memory.events")
        return Memory(
            usage=info["MemTotal"] - info["MemFree"],
            limit=None,
            max_usage=None,
            failures=None,
            cache=stat.get("file"),
            rss=stat.get("anon"),
            rss_huge=stat.get("anon_thp"),
            shmem=stat.get("shmem"),
            mapped_file=stat.get("file_mapped"),
            dirty=stat.get("file_dirty"),
            writeback=stat.get("file_writeback"),
            swap=info["SwapTotal"] - info["SwapFree"] if "SwapFree" in info else None,
            inactive_file=stat.get("inactive_file"),
            active_file=stat.get("active_file"),
            pgpgin=None,
            pgpgout=None,
            pgfault=stat.get("pgfault"),
            pgmajfault=stat.get("pgmajfault"),
            low_events=None,
            high_events=None,
            max_events=None,
            oom_events=None,
            oom_kills=events.get("oom_kill"),
            kernel=stat.get("kernel"),
        )

    def _pids(self) -> Pids | None:
        """Tasks of the host: the second number after the slash in /proc/loadavg."""
        fields = self._text("loadavg").split()
        return Pids(int(fields[3].partition("/")[2]), None) if len(fields) > 3 else None


def _sizes(meminfo: str) -> dict[str, int]:
    """The few lines of /proc/meminfo that are asked for, in bytes."""
    return {name: int(size) * 1024 for name, size in _SIZES.findall(meminfo)}


def _opened(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _topology(host_root: Path) -> tuple[set[tuple[str, str]], set[str]]:
    """Physical cores as (socket, core), and sockets."""
    cores: set[tuple[str, str]] = set()
    for directory in (host_root / "sys/devices/system/cpu").glob("cpu[0-9]*/topology"):
        socket = _line(directory / "physical_package_id")
        cores.add((socket, _line(directory / "core_id")))
    return cores, {socket for socket, _ in cores}


def _line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
