"""The figures of one row, flat: what columns, totals, groups and histories are made from."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from cotenant.model import Delay, Usage


class Figures(Struct, frozen=True):
    """What a row shows; None = not measured. The limits are None also where there is no limit."""

    cpu_cores: float | None = None
    cpu_limit_cores: float | None = None
    throttled_share: float | None = None
    memory_bytes: float | None = None
    memory_limit_bytes: float | None = None
    read_bytes_rate: float | None = None
    written_bytes_rate: float | None = None
    received_bytes_rate: float | None = None
    sent_bytes_rate: float | None = None
    major_faults_rate: float | None = None
    space_bytes: float | None = None
    tasks: float | None = None
    limit_means: bool = True
    """False for a sum, of which a limit or a throttled share would say nothing."""
    wait_p99_ns: float | None = None
    worst_share: float | None = None
    """What part of its waiting the worst neighbour has."""
    worst: str = ""
    unlimited_memory: bool = False
    """True where memory was measured and has no limit."""

    @property
    def memory_share(self) -> float | None:
        """Working set as a share of the limit, 0 to 1; None without a limit."""
        if self.memory_bytes is None or not self.memory_limit_bytes:
            return None
        return self.memory_bytes / self.memory_limit_bytes


SUMMED = (
    "cpu_cores",
    "memory_bytes",
    "read_bytes_rate",
    "written_bytes_rate",
    "received_bytes_rate",
    "sent_bytes_rate",
    "major_faults_rate",
    "space_bytes",
    "tasks",
)
"""The figures of which the sum over tenants means something."""


def figures(usage: Usage, delay: Delay | None = None) -> Figures:
    """What a row shows of one tenant's usage, and of its waits where they were sensed."""
    sample = usage.sample
    worst = delay.culprit if delay else None
    throttle, memory, pids = sample.throttle, sample.memory, sample.pids
    return Figures(
        cpu_cores=usage.cpu_cores,
        cpu_limit_cores=(
            throttle.quota_us / throttle.period_us
            if throttle and throttle.quota_us and throttle.period_us
            else None
        ),
        throttled_share=usage.throttled_share,
        memory_bytes=memory.working_set if memory else None,
        memory_limit_bytes=memory.limit if memory else None,
        read_bytes_rate=usage.read_bytes_rate,
        written_bytes_rate=usage.written_bytes_rate,
        received_bytes_rate=usage.received_bytes_rate,
        sent_bytes_rate=usage.sent_bytes_rate,
        major_faults_rate=usage.major_faults_rate,
        space_bytes=sample.space_bytes,
        tasks=pids.current if pids else None,
        unlimited_memory=memory is not None and memory.limit is None,
        wait_p99_ns=delay.p99_ns if delay else None,
        worst_share=worst.ns / delay.waited_ns if delay and worst and delay.waited_ns else None,
        worst=worst.culprit.name if worst and worst.culprit else "",
    )


def total(parts: Iterable[Figures]) -> Figures:
    """The sum of rows that do not contain each other; None where none of them was measured."""
    held = list(parts)
    made = Figures(limit_means=False)
    for field in SUMMED:
        values = [value for part in held if (value := getattr(part, field)) is not None]
        made = replace(made, **{field: sum(values)}) if values else made
    return made
