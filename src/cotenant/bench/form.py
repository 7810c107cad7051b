"""The form every benchmark speaks: facts of the host, method, rows, bars, and what was skipped."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from msgspec import Struct

Value = str | int | float | None
Row = dict[str, Value]
"""One line of a table. `part` names the table; units are in the names of the rest."""


class Bar(Struct, frozen=True):
    """A figure that was set beforehand, and whether it holds. `peer`: against whom, if anyone."""

    name: str
    value: float
    unit: str
    compare: Literal["<=", ">="]
    bar: float
    holds: bool
    peer: str | None = None


class Skipped(Struct, frozen=True):
    """What was not measured, and why: never left out in silence."""

    name: str
    reason: str


class Result(Struct):
    """What a benchmark found."""

    bench: str
    host: dict[str, Value]
    method: str
    rows: list[Row] = []
    bars: list[Bar] = []
    skipped: list[Skipped] = []

    def skip(self, name: str, reason: str) -> None:
        """Note that `name` was not measured."""
        self.skipped.append(Skipped(name, reason))


def bar(
    name: str,
    value: float,
    unit: str,
    compare: Literal["<=", ">="],
    limit: float,
    peer: str | None = None,
) -> Bar:
    """`value` held against `limit`."""
    holds = value <= limit if compare == "<=" else value >= limit
    return Bar(name, rounded(value), unit, compare, limit, holds, peer)


def rounded(value: float) -> float:
    """Four figures: more would say less about a shared machine."""
    return float(f"{value:.4g}")


def milliseconds(ns: Iterable[float]) -> float:
    """Median of nanoseconds, in ms."""
    return rounded(statistics.median(ns) / 1e6)


def tables(rows: Sequence[Row]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Rows as tables: for each part its name, the heads, and the cells as text."""
    parts = dict.fromkeys(str(row["part"]) for row in rows)
    for part in parts:
        chosen = [row for row in rows if row["part"] == part]
        keys = list(dict.fromkeys(key for row in chosen for key in row if key != "part"))
        yield part, [head(key) for key in keys], [[cell(r.get(k)) for k in keys] for r in chosen]


def head(key: str) -> str:
    """A key as a column's head: `cpu_ms` is "cpu ms"."""
    return key.replace("_", " ")


def cell(value: Value) -> str:
    """A value as text: three figures, a dash for what was not measured."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else value


def judged(each: Bar) -> list[str]:
    """A bar as text: what, the value, what was asked, and whether it holds."""
    asked = f"{each.compare} {cell(each.bar)} {each.unit}".strip()
    return [each.name, f"{cell(each.value)} {each.unit}".strip(), asked, verdict(each)]


def verdict(each: Bar) -> str:
    """`holds` or `MISSED`."""
    return "holds" if each.holds else "MISSED"
