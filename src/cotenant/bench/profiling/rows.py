"""What many turns of the profilers come to: what each sees, and what that costs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from cotenant.bench.form import Bar, Row, bar, rounded
from cotenant.bench.profiling.judge import Seen
from cotenant.bench.profiling.product import NAME
from cotenant.bench.profiling.tools import Took
from cotenant.bench.profiling.victims import GO, HASH, WEB, XZ

LEAST_PERCENT = 99.0
HZ = 99


def seen_of(turns: Sequence[Took]) -> dict[str, Seen]:
    """Of all turns together, by program."""
    found: dict[str, Seen] = {}
    for turn in turns:
        for name, seen in turn.seen.items():
            found.setdefault(name, Seen()).join(seen)
    return found


def seeing(tool: str, turns: Sequence[Took]) -> Row:
    """What it sees: whole stacks of each program, Python frames with the GIL held and without."""
    found = seen_of(turns)
    total = Seen()
    for seen in found.values():
        total.join(seen)
    return {
        "part": "what they see",
        "tool": tool,
        "whole_percent": _percent(total.whole, total.samples),
        **{f"whole_{name}": _whole(found.get(name)) for name in (WEB, HASH, XZ, GO)},
        "python_with_gil": _python(found.get(WEB)),
        "python_without_gil": _python(found.get(HASH)),
        "samples": total.samples,
    }


def _whole(seen: Seen | None) -> float | None:
    return _percent(seen.whole, seen.samples) if seen else None


def _python(seen: Seen | None) -> float | None:
    return _percent(seen.python, seen.samples) if seen else None


def _percent(part: int, whole: int) -> float | None:
    return rounded(part / whole * 100) if whole else None


def cost_us(turn: Took) -> tuple[float, float, float] | None:
    """Microseconds of CPU a sample: in the kernel at ticks, by its process, to end and be read.

    A tick is a sample where there is a clock; else samples are counted in the output.
    """
    watched = turn.watched
    if not turn.told:
        return None
    told = turn.told * watched.seconds / watched.ran_s
    samples = watched.ticked.runs or told
    kernel = watched.ticked.ns / samples / 1e3
    after = (watched.end_ns + turn.read_ns) / turn.told / 1e3
    return kernel, watched.steady_ns / samples / 1e3, after


def costing(tool: str, turns: Sequence[Took]) -> Row:
    """What it costs: medians of the turns; all of it also as a share of a CPU at 99 Hz."""
    costs = [cost for turn in turns if (cost := cost_us(turn))]
    row: Row = {"part": "what they cost", "tool": tool}
    if not costs:
        return row
    kernel, own, after = (statistics.median(values) for values in zip(*costs, strict=True))
    total = statistics.median(sum(cost) for cost in costs)
    clocked = any(turn.watched.ticked.runs for turn in turns)
    sizes = [turn.bytes / turn.told for turn in turns if turn.told]
    return row | {
        "kernel_us": rounded(kernel) if clocked else None,
        "process_us": rounded(own),
        "reading_us": rounded(after),
        "sample_us": rounded(total),
        "cpu_percent_at_99_hz": rounded(total * HZ / 1e4),
        "times_ours": None,
        "bytes_a_sample": rounded(statistics.median(sizes)),
        "turns": len(turns),
    }


def rows(took: dict[str, list[Took]]) -> list[Row]:
    """Two tables, a row in each for every profiler."""
    seen = [seeing(tool, turns) for tool, turns in took.items()]
    costs = [costing(tool, turns) for tool, turns in took.items()]
    ours = next((row.get("sample_us") for row in costs if row["tool"] == NAME), None)
    for row in costs:
        total = row.get("sample_us")
        if isinstance(ours, float) and isinstance(total, float):
            row["times_ours"] = rounded(total / ours)
    return [*seen, *costs]


def bars(found: Sequence[Row]) -> list[Bar]:
    """What was asked of our own stacks."""
    made = []
    for row in found:
        if row["part"] != "what they see" or row["tool"] != NAME:
            continue
        for name, key in (
            ("stacks that reach the thread's start", "whole_percent"),
            ("Python threads with Python frames, GIL held", "python_with_gil"),
            ("Python threads with Python frames, GIL released", "python_without_gil"),
        ):
            value = row[key]
            if isinstance(value, float):
                made.append(bar(name, value, "%", ">=", LEAST_PERCENT))
    return made
