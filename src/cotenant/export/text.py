"""ebpf-mon's form: a line per value, `<tenant>_<resource> <value>`.

The first 13 resources are the ones ebpf-mon printed, in its order and under its names. It gave
memory in bytes, events as counts and `VmSize` in KiB (`total_vm << (PAGE_SHIFT - 10)`, metric.c);
here `VmSize` is in bytes like the rest. Resources of our own follow, with the unit in the name
unless they are bytes of memory or plain counts.
"""

from __future__ import annotations

import re
from operator import attrgetter
from typing import Any

from cotenant.model import Disk, Interface, Sample, Snapshot

EBPF_MON: tuple[tuple[str, str], ...] = (
    ("cache", "memory.cache"),
    ("rss", "memory.rss"),
    ("rss_huge", "memory.rss_huge"),
    ("shmem", "memory.shmem"),
    ("mapped_file", "memory.mapped_file"),
    ("dirty", "memory.dirty"),
    ("writeback", "memory.writeback"),
    ("swap", "memory.swap"),
    ("pgpgin", "memory.pgpgin"),
    ("pgpgout", "memory.pgpgout"),
    ("pgfault", "memory.pgfault"),
    ("pgmajfault", "memory.pgmajfault"),
    ("VmSize", "sample.vm_bytes"),
)
"""ebpf-mon's resource names and where the value is in a Sample, in ebpf-mon's order."""

OURS: tuple[tuple[str, str], ...] = (
    ("cpu_usage_ns", "cpu.usage_ns"),
    ("cpu_user_ns", "cpu.user_ns"),
    ("cpu_system_ns", "cpu.system_ns"),
    ("cpu_periods", "throttle.periods"),
    ("cpu_throttled_periods", "throttle.throttled_periods"),
    ("cpu_throttled_ns", "throttle.throttled_ns"),
    ("cpu_quota_us", "throttle.quota_us"),
    ("cpu_period_us", "throttle.period_us"),
    ("cpu_shares", "throttle.shares"),
    ("memory_usage", "memory.usage"),
    ("memory_limit", "memory.limit"),
    ("memory_max_usage", "memory.max_usage"),
    ("memory_working_set", "memory.working_set"),
    ("memory_failures", "memory.failures"),
    ("memory_kernel", "memory.kernel"),
    ("inactive_file", "memory.inactive_file"),
    ("active_file", "memory.active_file"),
    ("memory_low_events", "memory.low_events"),
    ("memory_high_events", "memory.high_events"),
    ("memory_max_events", "memory.max_events"),
    ("memory_oom_events", "memory.oom_events"),
    ("memory_oom_kills", "memory.oom_kills"),
    ("tasks", "pids.current"),
    ("tasks_limit", "pids.limit"),
    ("pressure_cpu_some_us", "pressure.cpu_some_us"),
    ("pressure_cpu_full_us", "pressure.cpu_full_us"),
    ("pressure_memory_some_us", "pressure.memory_some_us"),
    ("pressure_memory_full_us", "pressure.memory_full_us"),
    ("pressure_io_some_us", "pressure.io_some_us"),
    ("pressure_io_full_us", "pressure.io_full_us"),
    ("received_bytes", "traffic.received_bytes"),
    ("received_packets", "traffic.received_packets"),
    ("sent_bytes", "traffic.sent_bytes"),
    ("sent_packets", "traffic.sent_packets"),
    ("space_bytes", "sample.space_bytes"),
)
"""Further resources, and where the value is in a Sample."""

INTERFACE = tuple(f for f in Interface.__struct_fields__ if f != "name")
"""Resources of each interface: `interface:<interface>:<field>`."""

DISK = tuple(f for f in Disk.__struct_fields__ if f not in ("major", "minor", "device"))
"""Resources of each block device: `disk:<device>:<field>`."""

UNATTRIBUTED = ("written_bytes", "writes")
"""Resources of each block device, written for nobody: `unattributed_disk:<device>:<field>`."""

_ODD = re.compile(rb"[^A-Za-z0-9_.:/-]")


def render(snapshot: Snapshot) -> bytes:
    """Every live tenant of the snapshot, a line per value that was measured.

    A value that is None has no line. Nested tenants have lines too, contained in their parent's;
    the whole host and tenants that died have none, as in ebpf-mon. What cgroup v1 charges to
    nobody stands under a name that no tenant can have (tenants/names.py).
    """
    lines: list[str] = []
    for sample in snapshot.samples:
        _append(lines, sample)
    for disk in snapshot.unattributed or ():
        word = escape(disk.device)
        for field in UNATTRIBUTED:
            lines.append(f"unattributed_disk:{word}:{field} {getattr(disk, field)}\n")
    return "".join(lines).encode("ascii")


def escape(name: str) -> str:
    r"""The name with each UTF-8 byte outside `[A-Za-z0-9_.:/-]` as `\xNN`: one word, reversible."""
    raw = name.encode("utf-8", "surrogateescape")
    return _ODD.sub(lambda odd: b"\\x%02x" % odd.group()[0], raw).decode("ascii")


def _append(lines: list[str], sample: Sample) -> None:
    name = escape(sample.tenant.name)
    for part_name, fields in _PLAN:
        part: Any = sample if part_name == "sample" else getattr(sample, part_name)
        if part is None:
            continue
        for resource, value in zip(fields[0], fields[1](part), strict=True):
            if value is not None:
                lines.append(f"{name}_{resource} {value}\n")
    for interface in sample.interfaces or ():
        word = escape(interface.name)
        for field in INTERFACE:
            lines.append(f"{name}_interface:{word}:{field} {getattr(interface, field)}\n")
    for disk in sample.disks or ():
        word = escape(disk.device)
        for field in DISK:
            lines.append(f"{name}_disk:{word}:{field} {getattr(disk, field)}\n")


def _plan() -> list[tuple[str, tuple[list[str], Any]]]:
    """Neighbouring resources of the same part, with one getter that reads all their fields."""
    plan: list[tuple[str, list[str], list[str]]] = []
    for resource, source in EBPF_MON + OURS:
        part, field = source.split(".")
        if not plan or plan[-1][0] != part:
            plan.append((part, [], []))
        plan[-1][1].append(resource)
        plan[-1][2].append(field)
    return [(part, (words, _getter(fields))) for part, words, fields in plan]


def _getter(fields: list[str]) -> Any:
    """Reads the fields of a part as a tuple, also when there is only one (attrgetter would not)."""
    if len(fields) == 1:
        return lambda part: (getattr(part, fields[0]),)
    return attrgetter(*fields)


_PLAN = _plan()
