"""The lines above the live table: the host, its totals, whose figures these are, what is lost."""

from __future__ import annotations

from msgspec import Struct
from rich.cells import cell_len
from rich.text import Text

from cotenant.cli import show, summary
from cotenant.cli.columns import BY_KEY
from cotenant.cli.figures import figures
from cotenant.cli.palette import ALARM_SHARE, WARN_SHARE, Palette
from cotenant.cli.rows import Grouping, View, matches
from cotenant.cli.source import Reading


class State(Struct, frozen=True):
    """What the lines tell beside the reading itself."""

    how: str
    age_s: float
    interval_s: float
    paused: bool = False
    trouble: str = ""


def lines(reading: Reading, view: View, state: State, palette: Palette, width: int) -> Text:
    """The lines, each at most `width` cells; what matters least goes first where room is short."""
    made = [
        _sides(_host(reading, palette), _origin(state, palette), width),
        _fitting(_totals(reading, palette), width),
        _fitting(_asked(reading, view, palette), width),
    ]
    if state.trouble:
        made.append(Text(show.shorten(f"▲ {show.name(state.trouble)}", width), palette.alarm))
    if missing := summary.lost(reading):
        made.append(Text(show.shorten(f"▲ missing or late: {missing}", width), palette.warn))
    return Text("\n").join(made)


def _host(reading: Reading, palette: Palette) -> list[Text]:
    machine = reading.snapshot.machine
    return [
        Text.assemble(
            ("cotenant ", f"bold {palette.calm}"), (show.name(machine.node, 24), palette.text)
        ),
        Text(f"{machine.cores} {'core' if machine.cores == 1 else 'cores'}", palette.head),
        Text(f"Linux {machine.kernel}", palette.dim),
    ]


def _origin(state: State, palette: Palette) -> list[Text]:
    """Whose figures these are, least telling last."""
    late = state.age_s > 2.5 * state.interval_s and not state.paused
    age_s = max(state.age_s, 0.0)
    age = f"{age_s:.1f} s old" if age_s < 60 else f"{show.duration(age_s)} old"
    dot = Text("○ late", palette.warn) if late or state.trouble else Text("● live", palette.calm)
    parts = [
        Text("‖ paused", palette.warn) if state.paused else dot,
        Text(age, palette.warn if late else palette.head),
        Text(state.how, palette.dim),
    ]
    return parts


def _totals(reading: Reading, palette: Palette) -> list[Text]:
    sums = figures(reading.whole)
    machine = reading.snapshot.machine
    cpu = None if sums.cpu_cores is None else sums.cpu_cores / machine.cores
    memory = None if sums.memory_bytes is None else sums.memory_bytes / machine.memory_bytes
    told = dict(summary.totals(reading))
    parts = [
        _gauge("CPU", cpu, told["CPU"], palette),
        _gauge("MEM", memory, told["memory"], palette),
        _figure("read", told["read"], palette),
        _figure("write", told["write"], palette),
        _figure("rx", told["rx"], palette),
        _figure("tx", told["tx"], palette),
    ]
    return parts


def _gauge(word: str, share: float | None, told: str, palette: Palette) -> Text:
    colour = palette.calm
    if share is not None and share >= WARN_SHARE:
        colour = palette.alarm if share >= ALARM_SHARE else palette.warn
    bar = show.meter(share, 10).rstrip()
    return Text.assemble(
        (f"{word} ", palette.head),
        (bar, colour),
        ("━" * (10 - len(bar)), palette.track),
        (f" {told}", palette.text),
    )


def _figure(word: str, told: str, palette: Palette) -> Text:
    return Text.assemble((f"{word} ", palette.head), (told, palette.text))


def _asked(reading: Reading, view: View, palette: Palette) -> list[Text]:
    arrow = "▲" if view.reverse else "▼"
    told = summary.tenants(reading)
    if view.words:
        found = sum(all(matches(u.tenant, word) for word in view.words) for u in reading.usages)
        told = f"{found} of {told}"
    parts = [
        Text(told, palette.text),
        Text(f"by {BY_KEY[view.sort].head} {arrow}", palette.head),
    ]
    if view.words:
        words = " ".join(show.name(word, 24) for word in view.words)
        parts.insert(1, Text(f"filter: {words}", palette.warn))
    if view.grouping is not Grouping.NONE:
        parts.insert(1, Text(f"grouped by {view.grouping.value}", palette.head))
    return parts


def _fitting(parts: list[Text], width: int) -> Text:
    """As many of the parts, from the first on, as fit between them."""
    line = Text()
    for part in parts:
        if cell_len(line.plain) + (3 if line else 0) + cell_len(part.plain) > width:
            break
        line = line.append("   ").append_text(part) if line else Text().append_text(part)
    return line


def _sides(left: list[Text], right: list[Text], width: int) -> Text:
    """Parts from the left and, set to the right, as many of the others as there is room for."""
    line = _fitting(left, width)
    for count in range(len(right), 0, -1):
        tail = Text(" · ").join(right[:count])
        room = width - cell_len(line.plain) - cell_len(tail.plain)
        if room < 2 and count > 1:
            continue
        if room < 2:
            line = _fitting(left[:1], width)
            room = width - cell_len(line.plain) - cell_len(tail.plain)
        return line.append(" " * room).append_text(tail) if room >= 2 else line
    return line
