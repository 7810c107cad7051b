"""A Sample as one flat row of integers, so that whole columns can be written at once."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from msgspec.structs import astuple

from cotenant.export import cadvisor, cotenant
from cotenant.model import Cpu, Memory, Pids, Pressure, Sample, Throttle, Traffic

Row = tuple[Any, ...]

_PARTS: tuple[tuple[str, type[Struct]], ...] = (
    ("cpu", Cpu),
    ("throttle", Throttle),
    ("memory", Memory),
    ("pids", Pids),
    ("pressure", Pressure),
    ("traffic", Traffic),
)
_EXTRA = (
    "memory.working_set",
    "sample.vm_bytes",
    "sample.space_bytes",
    "start_ms",
    "seen_ms",
    "one",
)

COLUMNS: dict[str, int] = {
    source: index
    for index, source in enumerate(
        [f"{word}.{field}" for word, part in _PARTS for field in part.__struct_fields__]
        + list(_EXTRA)
    )
}
"""Where in a row the value of each source is."""


def _nones(part: type[Struct]) -> Row:
    return (None,) * len(part.__struct_fields__)


_NO_CPU, _NO_THROTTLE, _NO_MEMORY, _NO_PIDS, _NO_PRESSURE, _NO_TRAFFIC = (
    _nones(part) for _, part in _PARTS
)


def row(sample: Sample, seen_ms: int) -> Row:
    """The sample's values in the order of COLUMNS; None where there is none.

    `seen_ms` is when the tenant was last seen, as Unix milliseconds.
    """
    cpu, throttle, memory = sample.cpu, sample.throttle, sample.memory
    pids, pressure, traffic = sample.pids, sample.pressure, sample.traffic
    start = sample.tenant.started_at
    return (
        *(_NO_CPU if cpu is None else astuple(cpu)),
        *(_NO_THROTTLE if throttle is None else _throttle(throttle)),
        *(_NO_MEMORY if memory is None else astuple(memory)),
        *(_NO_PIDS if pids is None else astuple(pids)),
        *(_NO_PRESSURE if pressure is None else astuple(pressure)),
        *(_NO_TRAFFIC if traffic is None else astuple(traffic)),
        None if memory is None else memory.working_set,
        sample.vm_bytes,
        sample.space_bytes,
        None if start is None else int(start * 1000),
        seen_ms,
        1,
    )


def host_row(sample: Sample, seen_ms: int, memory_bytes: int) -> Row:
    """The row of the whole host: its memory limit is the memory it has, as in cAdvisor."""
    values = list(row(sample, seen_ms))
    if sample.memory is not None:
        values[COLUMNS["memory.limit"]] = memory_bytes
    return tuple(values)


_LIVE_ONLY = frozenset(
    COLUMNS[series.source]
    for one in cadvisor.CONTAINER + cotenant.TENANT
    if one.type == "gauge"
    for series in one.series
) - {COLUMNS["start_ms"], COLUMNS["seen_ms"], COLUMNS["one"]}


def final_row(sample: Sample, seen_ms: int) -> Row:
    """The row of a tenant that died: what it used stays, what it held is gone with it."""
    values = row(sample, seen_ms)
    return tuple([None if at in _LIVE_ONLY else value for at, value in enumerate(values)])


def _throttle(throttle: Throttle) -> Row:
    """Without a quota there are no quota periods to count: cAdvisor has no line then either."""
    if throttle.quota_us is not None:
        return astuple(throttle)
    return (None, None, None, None, throttle.period_us, throttle.shares)
