"""The last two minutes of every tenant, in memory, for as long as the screen is open."""

from __future__ import annotations

from array import array
from math import isnan, nan

from cotenant.cli.figures import Figures, figures
from cotenant.cli.source import Reading

LENGTH = 120
"""Samples kept of each tenant."""

KEPT = (
    "cpu_cores",
    "memory_bytes",
    "read_bytes_rate",
    "written_bytes_rate",
    "received_bytes_rate",
    "sent_bytes_rate",
)
"""The figures of which there is a history."""


class History:
    """Figures by tenant key, oldest first. A tenant that went away is forgotten at once.

    Kept as arrays of doubles (None as NaN): 1,000 tenants take 10 MB at most, as Python floats
    they would take 40.
    """

    def __init__(self) -> None:
        self._arrays: dict[int, tuple[array[float], ...]] = {}

    def note(self, reading: Reading) -> None:
        """Append a reading's figures."""
        held: dict[int, tuple[array[float], ...]] = {}
        for usage in reading.usages:
            key = usage.tenant.key
            arrays = self._arrays.get(key) or tuple(array("d") for _ in KEPT)
            _append(arrays, figures(usage))
            held[key] = arrays
        self._arrays = held

    def last(self, key: int, figure: str, count: int = LENGTH) -> list[float | None]:
        """Up to `count` newest values, oldest first; None where it was not measured."""
        arrays = self._arrays.get(key)
        if arrays is None:
            return []
        values = arrays[KEPT.index(figure)][-min(count, LENGTH) :]
        return [None if isnan(value) else value for value in values]


def _append(arrays: tuple[array[float], ...], row: Figures) -> None:
    for values, field in zip(arrays, KEPT, strict=True):
        value = getattr(row, field)
        values.append(nan if value is None else value)
        if len(values) >= 2 * LENGTH:
            del values[:LENGTH]
