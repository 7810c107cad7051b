"""Pure: the bytes of one kernel record into the parts of a Sample."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from cotenant.kernel import records
from cotenant.meter.devices import device_name
from cotenant.model import Disk, Memory, Pids, Pressure, Throttle, Traffic

ABSENT = (1 << 64) - 1
"""METER_ABSENT: the kernel keeps no such counter, or knows no limit."""

RECORD = records.METER_RECORD_LAYOUT
_RECORD = struct.Struct(RECORD.format)
_PARTS = RECORD.fields.index("parts")
_CPU = RECORD.slice("cpu_usage_ns", "cpu_system_ns")
_THROTTLE = RECORD.slice("periods", "shares")
_MEMORY = RECORD.slice("memory_usage", "memory_kernel")
_PIDS = RECORD.slice("pids", "pids_limit")
_PRESSURE = RECORD.slice("pressure_us[0]", "pressure_us[5]")
_TRAFFIC = RECORD.slice("traffic.received_bytes", "traffic.sent_packets")
_VM = RECORD.fields.index("vm_bytes")


class Parts(NamedTuple):
    """What one record holds; None for what this collection did not fill.

    `cpu` is usage, user and system in ns as the kernel keeps them (see `cputime.split`).
    `states` tells whether `memory` has its memory.stat values.
    """

    cpu: tuple[int, ...] | None
    throttle: Throttle | None
    memory: Memory | None
    states: bool
    pids: Pids | None
    pressure: Pressure | None
    traffic: Traffic | None
    vm_bytes: int | None


NOTHING = Parts(None, None, None, False, None, None, None, None)


def decode(record: bytes) -> Parts:
    """The parts of a record."""
    return parts_of(_RECORD.unpack_from(record))


def parts_of(row: Sequence[int]) -> Parts:
    """The parts of an unpacked record."""
    filled = row[_PARTS]
    return Parts(
        tuple(row[_CPU]) if filled & records.METER_CPU else None,
        throttle_of(row[_THROTTLE]) if filled & records.METER_THROTTLE else None,
        memory_of(row[_MEMORY]) if filled & records.METER_MEMORY else None,
        filled & records.METER_STATES_PART != 0,
        pids_of(row[_PIDS]) if filled & records.METER_PIDS else None,
        Pressure(*row[_PRESSURE]) if filled & records.METER_PRESSURE else None,
        Traffic(*row[_TRAFFIC]) if filled & records.METER_TRAFFIC else None,
        row[_VM] if filled & records.METER_VM else None,
    )


def throttle_of(values: Sequence[int]) -> Throttle:
    """Quota and throttling, from the record's fields in order."""
    if values[3] == ABSENT:
        return Throttle(values[0], values[1], values[2], None, values[4], values[5])
    return Throttle(*values)


def memory_of(values: Sequence[int]) -> Memory:
    """Memory, from the record's fields in order, which is the order of model.Memory."""
    return Memory(*[None if value == ABSENT else value for value in values])  # type: ignore[arg-type]


def pids_of(values: Sequence[int]) -> Pids:
    """Tasks and their limit."""
    return Pids(values[0], None if values[1] == ABSENT else values[1])


def disks_of(entries: Sequence[tuple[int, ...]]) -> tuple[Disk, ...]:
    """One Disk per device, from (device, bytes read, written, reads, writes).

    On v1 a device is listed once per CPU and per cgroup inside the tenant: these are summed.
    """
    sums: dict[int, list[int]] = {}
    for device, *counts in entries:
        held = sums.setdefault(device, [0, 0, 0, 0])
        for i, count in enumerate(counts):
            held[i] += count
    return tuple(
        Disk(device >> 20, device & 0xFFFFF, device_name(device >> 20, device & 0xFFFFF), *counts)
        for device, counts in sums.items()
        if any(counts)
    )
