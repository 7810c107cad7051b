"""Synthetic snapshots: every value different, so that a swapped column shows."""

from __future__ import annotations

from itertools import count
from typing import Any

from cotenant.model import (
    Cpu,
    Disk,
    Interface,
    Kind,
    Lost,
    Machine,
    Memory,
    Pids,
    Pressure,
    Sample,
    Snapshot,
    Tenant,
    Throttle,
    Traffic,
)

NOW_NS = 1_000_000_000_000
UNIX = 1_790_000_000.25

MACHINE = Machine(
    cores=8,
    physical_cores=4,
    sockets=1,
    memory_bytes=16 << 30,
    swap_bytes=0,
    kernel="6.18.44",
    boot_id="boot",
    machine_id="machine",
    system_uuid="uuid",
    node="node-1",
)


def tenant(key: int, name: str = "", **more: Any) -> Tenant:
    given: dict[str, Any] = {
        "key": key,
        "name": name or f"web-{key}",
        "kind": Kind.CONTAINER,
        "path": f"/docker/{key:064x}",
        "cgroups": {1: key},
        "runtime": "docker",
        "image": "registry/app:1",
        "started_at": 1_700_000_000.5,
        "netns": 4_026_531_000 + key,
    }
    return Tenant(**(given | more))


HOST = Tenant(key=0, name="host", kind=Kind.HOST, path="/", cgroups={})


def sample(of: Tenant, start: int = 1, at_ns: int = NOW_NS, **more: Any) -> Any:
    """A Sample with every part there, its values counted up from `start`."""
    numbers = count(start)

    def fill(part: type, *first: Any) -> Any:
        rest = len(part.__struct_fields__) - len(first)  # type: ignore[attr-defined]
        return part(*first, *[next(numbers) for _ in range(rest)])

    given: dict[str, Any] = {
        "cpu": fill(Cpu),
        "throttle": fill(Throttle),
        "memory": fill(Memory),
        "pids": fill(Pids),
        "pressure": fill(Pressure),
        "traffic": fill(Traffic),
        "interfaces": (fill(Interface, "eth0"),),
        "disks": (fill(Disk, 254, 0, "/dev/vda"),),
        "vm_bytes": next(numbers),
        "space_bytes": next(numbers),
    }
    return Sample(tenant=of, at_ns=at_ns, **(given | more))


def snapshot(*samples: Sample, at_ns: int = NOW_NS, **more: Any) -> Snapshot:
    given: dict[str, Any] = {
        "unix_s": UNIX + (at_ns - NOW_NS) / 1e9,
        "tier": "iterator",
        "machine": MACHINE,
        "root": sample(HOST, 1_000_000),
        "lost": Lost(
            births=1, unwatched=8, slots=2, traffic=3, vanished=4, held=5, late=6, unknown=7
        ),
    }
    return Snapshot(at_ns=at_ns, samples=samples, **(given | more))
