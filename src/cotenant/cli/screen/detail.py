"""All that is known of one tenant, as text: who it is, its last two minutes, every value."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, get_type_hints

from msgspec import Meta, Struct
from rich.text import Text

from cotenant.cli import show
from cotenant.cli.columns import BY_KEY
from cotenant.cli.palette import SIGNS, Palette
from cotenant.cli.screen.history import LENGTH, History
from cotenant.model import Delay, Disk, Interface, Kind, Memory, Sample, Tenant, Usage
from cotenant.noise.words import duration, name_of

CHARTS = (
    ("CPU %", "cpu_cores", show.percent),
    ("MEMORY", "memory_bytes", show.amount),
    ("READ/s", "read_bytes_rate", show.amount),
    ("WRITE/s", "written_bytes_rate", show.amount),
    ("RX/s", "received_bytes_rate", show.amount),
    ("TX/s", "sent_bytes_rate", show.amount),
)
CHART_HEIGHT = 3
MOST_PARTS = 8
"""For so many, whom a tenant waited for is told one by one."""
_WORKING_SET = BY_KEY["memory"].describes
WIDE = 76
"""From this width on two charts stand side by side."""

_WHO = (
    "kind", "runtime", "id", "image", "namespace", "pod", "container", "groups", "path",
    "started_at", "main_pid", "netns", "rootfs", "labels", "cgroups",
)  # fmt: skip


def detail(
    usage: Usage, history: History, palette: Palette, width: int, delay: Delay | None = None
) -> Text:
    """The whole page of one tenant, `width` cells wide; `delay`: what it waited, where sensed."""
    page = Text()
    for line in _head(usage, palette, width):
        page.append_text(line).append("\n")
    page.append("\n")
    for line in _charts(usage.tenant.key, history, palette, width):
        page.append_text(line).append("\n")
    for line in waits(delay, palette, width) if delay else ():
        page.append_text(line).append("\n")
    for line in _values(usage, palette, width):
        page.append_text(line).append("\n")
    return page


def _head(usage: Usage, palette: Palette, width: int) -> Iterator[Text]:
    tenant = usage.tenant
    sign = SIGNS[tenant.kind]
    yield Text.assemble(
        (f"{sign} ", palette.kinds[tenant.kind]),
        (show.name(tenant.name, max(width - 2, 1)), f"bold {palette.text}"),
    )
    for field in _WHO:
        told = _who(field, getattr(tenant, field))
        if told:
            label = str((_metas(Tenant)[field].extra or {}).get("label") or field)
            told = show.name(told, max(width - 17, 1))
            yield Text.assemble((f"  {label:<15}", palette.dim), (told, palette.text))


def _who(field: str, value: Any) -> str:
    """A fact about a tenant in words; empty where nothing is known of it."""
    if value is None or value == () or value == {}:
        return ""
    if field == "started_at":
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
    if isinstance(value, Kind):
        return value.value
    if isinstance(value, dict):
        return "  ".join(f"{key}={one}" for key, one in value.items())
    return " / ".join(value) if isinstance(value, tuple) else str(value)


def _charts(key: int, history: History, palette: Palette, width: int) -> Iterator[Text]:
    across = 2 if width >= WIDE else 1
    each = (width - 3 * (across - 1)) // across
    blocks = [
        _chart(head, history.last(key, figure), told, palette, each)
        for head, figure, told in CHARTS
    ]
    for start in range(0, len(blocks), across):
        for parts in zip(*blocks[start : start + across], strict=True):
            yield Text("   ").join(parts)


def _chart(
    head: str,
    values: list[float | None],
    told: Callable[[float | None], str],
    palette: Palette,
    width: int,
) -> list[Text]:
    """A head with newest and highest value, and bars over CHART_HEIGHT lines, newest last."""
    known = [value for value in values if value is not None]
    peak = max(known, default=None)
    title = Text.assemble(
        (f"{head} ", palette.head), (told(values[-1] if values else None), "bold")
    )
    title.append(f"  peak {told(peak)}", palette.dim)
    title.truncate(width, pad=True)
    lines = [title]
    each = max(round(LENGTH / width), 1)
    for bars in upright(squeezed(values, each)[-width:], peak or 0.0, CHART_HEIGHT):
        lines.append(Text(bars.rjust(width), f"{palette.calm} on {palette.panel}"))
    lines.append(Text(" " * width))
    return lines


def squeezed(values: list[float | None], each: int) -> list[float | None]:
    """The highest of every `each` values, counted from the newest; None where none was measured."""
    first = len(values) % each
    starts = range(first - each if first else 0, len(values), each)
    runs = [[v for v in values[max(at, 0) : at + each] if v is not None] for at in starts]
    return [max(run, default=None) for run in runs]


def upright(values: list[float | None], highest: float, height: int) -> list[str]:
    """Bars over `height` lines, topmost first; a zero is the thinnest bar, a None none at all."""
    steps = height * 8
    levels = [
        None if value is None else max(round(value / highest * steps) if highest > 0 else 0, 1)
        for value in values
    ]
    lines = []
    for line in range(height - 1, -1, -1):
        cells = []
        for level in levels:
            filled = 0 if level is None else min(max(level - line * 8, 0), 8)
            cells.append(show.BARS[filled - 1] if filled else " ")
        lines.append("".join(cells))
    return lines


def waits(delay: Delay, palette: Palette, width: int) -> Iterator[Text]:
    """What it waited for a CPU in the last seconds, and for whom."""
    yield Text(f"waits for a CPU, last {delay.seconds:.0f} s", f"bold {palette.head}")
    waited = f"{duration(delay.waited_ns)} in {show.count(delay.waits)} waits"
    lengths = [
        f"{name} {duration(ns)}"
        for name, ns in (("p50", delay.p50_ns), ("p99", delay.p99_ns))
        if ns is not None
    ]
    yield Text(show.shorten("  " + "  ".join([waited, *lengths]), width), palette.text)
    for part in delay.parts[:MOST_PARTS]:
        share = part.ns / delay.waited_ns if delay.waited_ns else 0.0
        line = Text.assemble(
            (f"  {show.percent(share):>5} %  ", palette.text),
            (show.name(name_of(part), max(width - 40, 8)), palette.text),
        )
        took = f"  took the CPU from it {part.preempted} times" if part.preempted else ""
        line.append(took, palette.dim)
        line.truncate(width, overflow="ellipsis")
        yield line
    yield Text()


def _values(usage: Usage, palette: Palette, width: int) -> Iterator[Text]:
    """Every measured value in the words of the model, under those of its part."""
    yield from _part("Rates", usage, palette, width)
    sample = usage.sample
    for field in Sample.__struct_fields__:
        value = getattr(sample, field)
        title = _metas(Sample)[field].description or field
        if field in ("tenant", "at_ns", "final"):
            continue
        if isinstance(value, tuple):
            for one in value:
                yield from _part(f"{title}: {_named(one)}", one, palette, width)
        elif isinstance(value, Struct):
            yield from _part(title, value, palette, width)
        elif value is None and field not in ("vm_bytes", "space_bytes"):
            yield Text()
            yield Text.assemble((title, f"bold {palette.head}"), (f"  {show.DASH}", palette.dim))
    yield from _part("More", sample, palette, width)


def _named(one: Any) -> str:
    return show.name(one.name if isinstance(one, Interface) else one.device, 40)


def _part(title: str, part: Struct, palette: Palette, width: int) -> Iterator[Text]:
    yield Text()
    yield Text(title, f"bold {palette.head}")
    if isinstance(part, Memory):
        yield _line(_WORKING_SET, value_of(part.working_set, "bytes", ""), palette, width)
    for field, meta in _metas(type(part)).items():
        value = getattr(part, field)
        if not isinstance(value, int | float | None) or _left_out(part, field):
            continue
        unit = str((meta.extra or {}).get("unit", ""))
        told = value_of(value, unit, field)
        yield _line(meta.description or field, told, palette, width, dim=not value)


def _line(says: str, told: str, palette: Palette, width: int, *, dim: bool = False) -> Text:
    """One value: the figure, and what it says."""
    line = Text.assemble(
        (f"{told:>16}", palette.dim if dim else palette.text), (f"  {says}", palette.text)
    )
    line.truncate(width, overflow="ellipsis")
    return line


def _left_out(part: Struct, field: str) -> bool:
    """What identifies a part, or is shown elsewhere, is no value of it."""
    if isinstance(part, Disk):
        return field in ("major", "minor", "device")
    if isinstance(part, Sample):
        return field not in ("vm_bytes", "space_bytes")
    return field in ("sample", "name")


def value_of(value: float | None, unit: str, field: str) -> str:
    """A value of the model in its unit: `1.5 G`, `3.2 s`, `12.5 %`; a dash where there is none."""
    if value is None:
        return "no limit" if field in ("limit", "quota_us") else show.DASH
    if unit in ("bytes", "bytes/s"):
        return show.amount(value) + ("/s" if unit == "bytes/s" else "")
    if unit in ("ns", "us", "s"):
        return show.duration(value / {"ns": 1e9, "us": 1e6, "s": 1.0}[unit])
    if unit == "cores" or field.endswith("_share"):
        return f"{show.percent(value)} %"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}" if value else "0"


@cache
def _metas(of: type[Struct]) -> dict[str, Meta]:
    """What the model says of each field of a record that it says anything of."""
    hints = get_type_hints(of, include_extras=True)
    found = {field: getattr(hints[field], "__metadata__", ()) for field in of.__struct_fields__}
    return {field: metas[0] for field, metas in found.items() if metas}
