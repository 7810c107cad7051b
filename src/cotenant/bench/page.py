"""Rendering /metrics: CPU time of a page, and how much is on it."""

from __future__ import annotations

import statistics

from cotenant.bench.form import Bar, Row, bar, milliseconds, rounded
from cotenant.bench.turns import Own, Progress, take_turns
from cotenant.bench.ways import Product
from cotenant.export.prometheus import Page

MOST_CPU_MS = 5.0


def measure(product: Product, rounds: int, told: Progress) -> tuple[Row, Bar]:
    """A page of every tenant, from a new snapshot each time, as after each sample."""
    page = Page()
    snapshots = [product.collect() for _ in range(2)]
    turn = 0

    def once() -> bytes:
        nonlocal turn
        turn += 1
        return page.render(snapshots[turn % 2])

    times = take_turns([Own("page", once)], rounds, told)["page"]
    text = page.render(snapshots[0])
    lines = text.count(b"\n")
    series = lines - text.count(b"\n#") - text.startswith(b"#")
    row: Row = {
        "part": "page",
        "what": "/metrics, text, uncompressed",
        "tenants": len(product.tenants),
        "series": series,
        "kb": rounded(len(text) / 1e3),
        "wall_ms": milliseconds(times.wall_ns),
        "cpu_ms": milliseconds(times.cpu_ns),
        "turns": rounds,
    }
    cpu_ms = statistics.median(times.cpu_ns) / 1e6
    return row, bar("rendering /metrics once", cpu_ms, "ms of CPU", "<=", MOST_CPU_MS)
