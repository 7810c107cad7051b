"""The peer that reads files gives the values that are in them, and closes what it opens."""

from __future__ import annotations

import os
from pathlib import Path

from cotenant.bench.peers.files import Files
from cotenant.kernel.cgroupfs import Hierarchies, Hierarchy
from cotenant.model import Kind, Tenant

V1 = {
    "cpuacct.usage": "500\n",
    "cpu.stat": "nr_periods 4\nnr_throttled 2\nthrottled_time 9\nnr_bursts 0\n",
    "cpu.cfs_quota_us": "-1\n",
    "memory.usage_in_bytes": "4096\n",
    "memory.stat": "cache 1\ntotal_cache 2\ntotal_rss 3\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    "pids.max": "max\n",
}
V2 = {
    "cpu.stat": "usage_usec 7\nuser_usec 4\nsystem_usec 3\n",
    "cpu.max": "30000 100000\n",
    "memory.max": "max\n",
    "memory.stat": "anon 5\nfile 6\n",
    "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n",
    "cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=11\nfull avg10=0.00 total=12\n",
}


def tenant() -> Tenant:
    return Tenant(1, "t", Kind.CGROUP, "/t", {}, main_pid=os.getpid())


def files(mount: Path, version: int, controllers: set[str], texts: dict[str, str]) -> Files:
    (mount / "t").mkdir()
    for name, text in texts.items():
        (mount / "t" / name).write_text(text)
    tree = Hierarchy(version - 1, version, mount, frozenset(controllers))
    return Files(Hierarchies([tree]), [tenant()])


def test_v1_values(tmp_path: Path) -> None:
    values = files(tmp_path, 1, {"cpu", "cpuacct", "memory", "pids"}, V1).once()["t"]
    vm_bytes = values.pop("vm_bytes")
    assert vm_bytes is not None and vm_bytes > 1 << 20
    assert values == {
        "cpuacct.usage": 500,
        "nr_periods": 4,
        "nr_throttled": 2,
        "throttled_time": 9,
        "cpu.cfs_quota_us": -1,
        "memory.usage_in_bytes": 4096,
        "total_cache": 2,
        "total_rss": 3,
        "oom_kill": 1,
        "pids.max": None,
    }


def test_v2_values(tmp_path: Path) -> None:
    values = files(tmp_path, 2, {"cpu", "memory", "io", "pids"}, V2).once()["t"]
    values.pop("vm_bytes")
    assert values == {
        "usage_usec": 7,
        "user_usec": 4,
        "system_usec": 3,
        "quota_us": 30000,
        "period_us": 100000,
        "memory.max": None,
        "anon": 5,
        "file": 6,
        "8:0 rbytes": 1,
        "8:0 wbytes": 2,
        "8:0 rios": 3,
        "8:0 wios": 4,
        "8:0 dbytes": 0,
        "8:0 dios": 0,
        "cpu.pressure some": 11,
        "cpu.pressure full": 12,
    }


def test_a_tenant_that_goes_leaves_its_values_out_and_no_file_open(tmp_path: Path) -> None:
    reader = files(tmp_path, 1, {"memory"}, V1)
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "t" / "memory.stat").unlink()
    assert "total_rss" not in reader.once()["t"]
    assert len(os.listdir("/proc/self/fd")) == before
