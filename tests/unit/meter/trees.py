"""Cgroup trees made of plain directories, with the kernel's files in them as recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cotenant.kernel.cgroupfs import Hierarchies, Hierarchy
from cotenant.model import Kind, Tenant

V1 = {
    "cpuacct.usage": "5000000000\n",
    "cpuacct.usage_user": "3000000000\n",
    "cpuacct.usage_sys": "1000000000\n",
    "cpu.stat": "nr_periods 40\nnr_throttled 7\nthrottled_time 123456789\n"
    "nr_bursts 0\nburst_time 0\nwait_sum 9999\n",
    "cpu.cfs_quota_us": "150000\n",
    "cpu.cfs_period_us": "100000\n",
    "cpu.shares": "512\n",
    "memory.usage_in_bytes": "52428800\n",
    "memory.limit_in_bytes": "9223372036854771712\n",
    "memory.max_usage_in_bytes": "62914560\n",
    "memory.failcnt": "3\n",
    "memory.kmem.usage_in_bytes": "1044480\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    "memory.stat": "cache 1\nrss 2\nswap 9\nhierarchical_memory_limit 9223372036854771712\n"
    "total_cache 101\ntotal_rss 102\ntotal_rss_huge 103\ntotal_shmem 104\n"
    "total_mapped_file 105\ntotal_dirty 106\ntotal_writeback 107\n"
    "total_workingset_refault_anon 0\ntotal_swap 108\ntotal_pgpgin 109\ntotal_pgpgout 110\n"
    "total_pgfault 111\ntotal_pgmajfault 112\ntotal_inactive_anon 4\ntotal_inactive_file 113\n"
    "total_active_file 114\ntotal_unevictable 0\n",
    "pids.current": "12\n",
    "pids.max": "max\n",
}
"""What one cgroup's files held on a v1 host (6.18), all controllers together."""

V2 = {
    "cpu.stat": "usage_usec 5000000\nuser_usec 3000000\nsystem_usec 1000000\nnice_usec 0\n"
    "nr_periods 40\nnr_throttled 7\nthrottled_usec 123456\nnr_bursts 0\nburst_usec 0\n",
    "cpu.max": "150000 100000\n",
    "cpu.weight": "100\n",
    "memory.current": "52428800\n",
    "memory.max": "max\n",
    "memory.peak": "62914560\n",
    "memory.swap.current": "108\n",
    "memory.events": "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 0\n",
    "memory.stat": "anon 102\nfile 101\nkernel 115\nkernel_stack 16384\npagetables 40960\n"
    "sock 0\nvmalloc 0\nshmem 104\nfile_mapped 105\nfile_dirty 106\nfile_writeback 107\n"
    "swapcached 55\nanon_thp 103\nfile_thp 0\nshmem_thp 0\ninactive_anon 1\nactive_anon 2\n"
    "inactive_file 113\nactive_file 114\nunevictable 0\npgfault 111\npgmajfault 112\n",
    "pids.current": "12\n",
    "pids.max": "max\n",
    "cpu.pressure": "some avg10=0.00 avg60=0.12 avg300=0.00 total=11\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=12\n",
    "memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=13\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=14\n",
    "io.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=15\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=16\n",
    "io.stat": "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n"
    "4095:9 rbytes=0 wbytes=0 rios=0 wios=0 dbytes=0 dios=0\n4095:7 \n",
}
"""The same on a v2 host (6.12)."""

ALL = frozenset({"cpu", "cpuacct", "memory", "pids", "blkio", "io"})


def v1(mount: Path) -> Hierarchies:
    """A host with all controllers in one v1 tree."""
    return Hierarchies([Hierarchy(3, 1, mount, ALL)])


def v2(mount: Path) -> Hierarchies:
    """A host with nothing but v2."""
    return Hierarchies([Hierarchy(0, 2, mount, ALL - {"cpuacct", "blkio"})])


def fill(directory: Path, files: Mapping[str, str | bytes]) -> None:
    """Makes the directory and writes the files into it."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        data = text.encode() if isinstance(text, str) else text
        (directory / name).write_bytes(data)


def tenant(path: str = "/a", key: int = 1, **more: object) -> Tenant:
    """A tenant in the cgroup at `path`."""
    given: dict[str, object] = {"cgroups": {3: 100 + key}} | more
    return Tenant(key=key, name=path[1:], kind=Kind.CGROUP, path=path, **given)  # type: ignore[arg-type]
