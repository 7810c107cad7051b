"""From two Snapshots to Usage: rates, and the row `host` that makes the rows sum to the root."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from cotenant.model import (
    HOST,
    UNATTRIBUTED,
    Cpu,
    Disk,
    Memory,
    Pids,
    Sample,
    Snapshot,
    Traffic,
    Usage,
)

_T = TypeVar("_T")


def usages(now: Snapshot, before: Snapshot | None) -> list[Usage]:
    """Usage of every tenant, parents before children, the row `host` last.

    Before it, where the kernel wrote back what v1 charges to nobody, the row `unattributed`.
    Rows without a parent sum to the whole host, except where the host's own figure is coarser than
    its tenants' (CPU time of a v2 root is counted by ticks): then `host` reads 0, not less.
    """
    past = {s.tenant.key: s for s in before.samples} if before else {}
    rows = [between(sample, past.get(sample.tenant.key)) for sample in now.samples]
    ended = [between(sample, past.get(sample.tenant.key)) for sample in now.finals]
    own = [row for row in (*rows, *ended) if row.tenant.parent is None]
    nobodys = _nobodys(now, before)
    return [*rows, *nobodys, _host(whole(now, before), rest(now), [*own, *nobodys])]


def _nobodys(now: Snapshot, before: Snapshot | None) -> list[Usage]:
    if not now.unattributed:
        return []
    sample = Sample(UNATTRIBUTED, now.at_ns, disks=now.unattributed)
    if before is None:
        return [Usage(sample)]
    return [between(sample, Sample(UNATTRIBUTED, before.at_ns, disks=before.unattributed))]


def _host(whole_host: Usage, sample: Sample, own: list[Usage]) -> Usage:
    """Rates of the rest: the host's less the tenants'.

    The counters' own growth would not do: when a tenant dies, all it ever used falls to the rest at
    once.
    """

    def left(name: str) -> float | None:
        total = getattr(whole_host, name)
        return None if total is None else max(total - sum(getattr(u, name) or 0 for u in own), 0.0)

    return Usage(
        sample,
        seconds=whole_host.seconds,
        cpu_cores=left("cpu_cores"),
        cpu_user_cores=left("cpu_user_cores"),
        cpu_system_cores=left("cpu_system_cores"),
        read_bytes_rate=left("read_bytes_rate"),
        written_bytes_rate=left("written_bytes_rate"),
        received_bytes_rate=left("received_bytes_rate") if sample.traffic is None else None,
        sent_bytes_rate=left("sent_bytes_rate") if sample.traffic is None else None,
        major_faults_rate=left("major_faults_rate"),
    )


def whole(now: Snapshot, before: Snapshot | None) -> Usage:
    """Usage of the whole host."""
    return between(now.root, before.root if before else None)


def rest(snapshot: Snapshot) -> Sample:
    """The sample of `host`: the root less every tenant that is not nested in another.

    Nor is what nobody is charged for the host's.
    """
    own = [s for s in snapshot.samples if s.tenant.parent is None]
    root = snapshot.root
    return Sample(
        HOST,
        root.at_ns,
        cpu=_less(root.cpu, (s.cpu for s in own), _cpu_less),
        memory=_less(root.memory, (s.memory for s in own), _memory_less),
        pids=_less(root.pids, (s.pids for s in own), _pids_less),
        traffic=_less(root.traffic, (s.traffic for s in own), _traffic_less),
        disks=_disks_less(root.disks, [snapshot.unattributed or (), *(s.disks or () for s in own)]),
    )


def between(now: Sample, before: Sample | None) -> Usage:
    """One tenant's usage: rates where both samples measured the counter and time passed."""
    if before is None or now.at_ns <= before.at_ns:
        return Usage(now)
    seconds = (now.at_ns - before.at_ns) / 1e9
    return Usage(
        now,
        seconds=seconds,
        cpu_cores=_rate(now.cpu, before.cpu, lambda c: c.usage_ns, seconds * 1e9),
        cpu_user_cores=_rate(now.cpu, before.cpu, lambda c: c.user_ns, seconds * 1e9),
        cpu_system_cores=_rate(now.cpu, before.cpu, lambda c: c.system_ns, seconds * 1e9),
        throttled_share=_throttled_share(now, before),
        read_bytes_rate=_rate(
            now.disks, before.disks, lambda d: sum(x.read_bytes for x in d), seconds
        ),
        written_bytes_rate=_rate(
            now.disks, before.disks, lambda d: sum(x.written_bytes for x in d), seconds
        ),
        received_bytes_rate=_network_rate(now, before, "received_bytes", seconds),
        sent_bytes_rate=_network_rate(now, before, "sent_bytes", seconds),
        major_faults_rate=_rate(now.memory, before.memory, lambda m: m.pgmajfault, seconds),
    )


def _rate(
    now: _T | None, before: _T | None, value: Callable[[_T], int | None], per: float
) -> float | None:
    """Growth of a counter; None unless measured twice. A counter that fell began anew: 0."""
    if now is None or before is None:
        return None
    new, old = value(now), value(before)
    if new is None or old is None:
        return None
    return max(new - old, 0) / per


def _network_rate(now: Sample, before: Sample, field: str, seconds: float) -> float | None:
    """By interface where the tenant has a namespace of its own, else as counted at the cgroup."""
    if now.interfaces is not None and before.interfaces is not None:
        return _rate(
            now.interfaces,
            before.interfaces,
            lambda xs: sum(getattr(x, field) for x in xs),
            seconds,
        )
    return _rate(now.traffic, before.traffic, lambda t: getattr(t, field), seconds)


def _throttled_share(now: Sample, before: Sample) -> float | None:
    if now.throttle is None or before.throttle is None:
        return None
    periods = now.throttle.periods - before.throttle.periods
    if periods <= 0:
        return 0.0
    throttled = now.throttle.throttled_periods - before.throttle.throttled_periods
    return min(max(throttled, 0), periods) / periods


def _less(
    root: _T | None, parts: Iterable[_T | None], subtract: Callable[[_T, list[_T]], _T]
) -> _T | None:
    if root is None:
        return None
    return subtract(root, [part for part in parts if part is not None])


def _left(total: int | None, parts: Iterable[int | None]) -> int | None:
    return None if total is None else max(total - sum(part or 0 for part in parts), 0)


def _cpu_less(root: Cpu, parts: list[Cpu]) -> Cpu:
    return Cpu(
        _left(root.usage_ns, (p.usage_ns for p in parts)) or 0,
        _left(root.user_ns, (p.user_ns for p in parts)),
        _left(root.system_ns, (p.system_ns for p in parts)),
    )


_SUMMED = (
    "cache", "rss", "rss_huge", "shmem", "mapped_file", "dirty", "writeback", "swap",
    "inactive_file", "active_file", "pgpgin", "pgpgout", "pgfault", "pgmajfault", "kernel",
)  # fmt: skip


def _memory_less(root: Memory, parts: list[Memory]) -> Memory:
    left = {name: _left(getattr(root, name), (getattr(p, name) for p in parts)) for name in _SUMMED}
    return Memory(
        usage=_left(root.usage, (p.usage for p in parts)) or 0,
        limit=None,
        max_usage=None,
        failures=None,
        low_events=None,
        high_events=None,
        max_events=None,
        oom_events=None,
        oom_kills=None,
        **left,
    )


def _pids_less(root: Pids, parts: list[Pids]) -> Pids:
    return Pids(_left(root.current, (p.current for p in parts)) or 0, None)


def _traffic_less(root: Traffic, parts: list[Traffic]) -> Traffic:
    return Traffic(
        _left(root.received_bytes, (p.received_bytes for p in parts)) or 0,
        _left(root.received_packets, (p.received_packets for p in parts)) or 0,
        _left(root.sent_bytes, (p.sent_bytes for p in parts)) or 0,
        _left(root.sent_packets, (p.sent_packets for p in parts)) or 0,
    )


def _disks_less(
    root: tuple[Disk, ...] | None, parts: list[tuple[Disk, ...]]
) -> tuple[Disk, ...] | None:
    if root is None:
        return None
    rest = []
    for disk in root:
        same = [d for p in parts for d in p if (d.major, d.minor) == (disk.major, disk.minor)]
        rest.append(
            Disk(
                disk.major,
                disk.minor,
                disk.device,
                _left(disk.read_bytes, (d.read_bytes for d in same)) or 0,
                _left(disk.written_bytes, (d.written_bytes for d in same)) or 0,
                _left(disk.reads, (d.reads for d in same)) or 0,
                _left(disk.writes, (d.writes for d in same)) or 0,
            )
        )
    return tuple(rest)
