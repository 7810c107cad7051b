"""A child with few capabilities: tries all that metering does, prints what worked as JSON.

Arguments: the tenant's cgroup path, its first process (of another user, in a network namespace of
its own), and a directory that only root may enter, which holds a listening socket of root's and a
directory of yet another user's.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from cotenant.kernel import cgroupfs
from cotenant.kernel.support import State, sockets
from cotenant.meter.read import Meter
from cotenant.meter.space import used_bytes
from cotenant.model import Kind, Tenant
from cotenant.tenants.procs import Processes


def main(path: str, pid: int, private: str) -> dict[str, object]:
    """What worked, by name."""
    hierarchies = cgroupfs.find()
    netns = Processes(Path("/")).netns(pid)
    who = Tenant(1, "x", Kind.CGROUP, path, hierarchies.ids(path), main_pid=pid, netns=netns)
    meter = Meter(hierarchies)
    try:
        meter.collect((who,))
        snapshot = meter.collect((who,))
        sample = snapshot.samples[0]
        return {
            "programs": meter.tier != "files",
            "why": str(meter.why_files or ""),
            "hint": meter.why_files.hint if meter.why_files else None,
            "lives": meter.fileno() is not None,
            "packets": sample.traffic is not None and snapshot.root.traffic is not None,
            "namespace": netns is not None,
            "interface": [interface.name for interface in sample.interfaces or ()],
            "cpu": sample.cpu is not None and sample.cpu.usage_ns > 0,
            "memory": sample.memory is not None and (sample.memory.rss or 0) > 0,
            "tasks": sample.pids.current if sample.pids else None,
            "size": sample.vm_bytes or 0,
            "arguments": Processes(Path("/")).arguments(pid)[:1],
            "space": _allowed(lambda: used_bytes(f"{private}/layer")),
            "inside": _allowed(lambda: list(Path(f"/proc/{pid}/root{private}/layer").iterdir())),
            "socket": _allowed(lambda: _connect(f"{private}/socket")),
            "check": sockets("docker", [Path(private) / "socket"])[0].state is State.OK,
        }
    finally:
        meter.close()


def _connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(path)


def _allowed(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
