"""What `top` prints where it is no live table: the table once, or a JSON object per sample."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import msgspec
from rich.console import Console
from rich.text import Text

from cotenant.cli import summary
from cotenant.cli.rows import View, arrange, matches, order
from cotenant.cli.source import Reading, Source
from cotenant.cli.table import table
from cotenant.cli.talk import colourful, say
from cotenant.model import Delay, Usage

PIPED_WIDTH = 100
"""Cells of a table that no terminal shows."""


def print_once(source: Source, view: View, interval_s: float) -> None:
    """Print the table of two samples `interval_s` apart, as wide as the terminal."""
    reading = next(readings(source, interval_s, 1))
    say(f"cotenant: rates between two samples {reading.whole.seconds or 0:.1f} s apart")
    terminal = sys.stdout.isatty()
    console = Console(
        width=None if terminal else PIPED_WIDTH,
        no_color=not colourful(sys.stdout),
        highlight=False,
        soft_wrap=False,
    )
    figures = "  ".join(f"{word} {figure}" for word, figure in summary.totals(reading))
    console.print(Text(f"{summary.host(reading)} · {summary.tenants(reading)}", overflow="fold"))
    console.print(Text(figures, overflow="fold"))
    console.print()
    rows = arrange(reading.usages, view, reading.delays)
    console.print(table(rows, console.width, waits=reading.noise is not None))
    if missing := summary.lost(reading):
        say(f"cotenant: missing or late: {missing}")


def print_json(source: Source, view: View, interval_s: float, count: int | None) -> None:
    """Print one JSON object per sample, each on a line, `count` of them or without end."""
    for reading in readings(source, interval_s, count):
        sys.stdout.buffer.write(msgspec.json.encode(document(reading, view)) + b"\n")
        sys.stdout.buffer.flush()


def readings(source: Source, interval_s: float, count: int | None) -> Iterator[Reading]:
    """`count` readings that have rates, `interval_s` apart; without end where count is None."""
    given = 0
    last = 0
    due = time.monotonic()
    while count is None or given < count:
        reading = source.read()
        while reading.snapshot.at_ns <= last:  # the agent has sampled nothing new since
            time.sleep(0.05)
            reading = source.read()
        last = reading.snapshot.at_ns
        if reading.whole.seconds is not None:
            given += 1
            yield reading
        if count is None or given < count:
            due = max(due + interval_s, time.monotonic())
            time.sleep(max(due - time.monotonic(), 0))


def document(reading: Reading, view: View) -> dict[str, object]:
    """A reading as plain dicts: the host, what is missing, the tenants in the view's order."""
    from cotenant.export import records

    snapshot = reading.snapshot
    by_key = order(view, reading.delays)
    kept: list[Usage] = [
        usage for usage in reading.usages if all(matches(usage.tenant, w) for w in view.words)
    ]
    return {
        "at": snapshot.unix_s,
        "tier": snapshot.tier,
        "machine": records.plain(snapshot.machine),
        "host": records.usage_record(reading.whole),
        "tenants": [
            records.usage_record(usage) | {"waits": _waits(reading.delays.get(usage.tenant.key))}
            for usage in sorted(kept, key=by_key)
        ],
        "unattributed": records.disks(snapshot.unattributed),
        "lost": records.plain(snapshot.lost),
    }


def _waits(delay: Delay | None) -> dict[str, object] | None:
    """What it waited for a CPU in the last seconds, and for which neighbour most."""
    if delay is None:
        return None
    worst = delay.culprit
    name = worst.culprit.name if worst and worst.culprit else None
    return {
        "seconds": delay.seconds,
        "waits": delay.waits,
        "waited_ns": delay.waited_ns,
        "p50_ns": delay.p50_ns,
        "p99_ns": delay.p99_ns,
        "worst": name and name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        "worst_ns": worst.ns if worst else 0,
    }
