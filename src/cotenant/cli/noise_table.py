"""The two tables of `noise`: the victims, and who makes whom wait. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from cotenant.cli import show
from cotenant.cli.columns import GAP
from cotenant.cli.palette import SIGNS, SLOW_NS, SLOWEST_NS, Palette
from cotenant.model import KERNEL, Delay, Kind, NoiseReport, Part, Tenant
from cotenant.noise.words import duration, name_of

LOUD, LOUDEST = 0.25, 0.5
"""From these shares of a victim's waiting on, a culprit is orange, then vermilion."""
UNFAIR = 1.2
TITLE = (14, 24)
CULPRIT = (6, 14)
"""Least and most cells of a victim's and a culprit's name."""
MOST_CULPRITS = 8


class Column(Struct, frozen=True):
    """One column; the lower its rank, the longer it stays as the terminal narrows."""

    head: str
    width: int
    rank: int
    text: Callable[[Delay, NoiseReport, Palette], tuple[str, str]]
    left: bool = False


def suffering(report: NoiseReport, first: Sequence[int] = ()) -> list[Delay]:
    """Whoever waited: the tenants `first` (keys), then others, then the host's own tasks."""
    waited = [delay for delay in report.delays if delay.waits or delay.waited_ns]
    places = {key: place for place, key in enumerate(first)}

    def place(delay: Delay) -> tuple[bool, int]:
        key = delay.tenant.key
        return (key not in places and delay.tenant.kind is Kind.HOST, places.get(key, len(places)))

    return sorted(waited, key=place)


def _wait_share(delay: Delay, report: NoiseReport, palette: Palette) -> tuple[str, str]:
    wanted = delay.ran_ns + delay.waited_ns
    return show.percent(delay.waited_ns / wanted if wanted else 0.0), palette.text


def _rate(delay: Delay, report: NoiseReport, palette: Palette) -> tuple[str, str]:
    return show.count(delay.waits / delay.seconds if delay.seconds else None), palette.text


def _p50(delay: Delay, report: NoiseReport, palette: Palette) -> tuple[str, str]:
    if delay.p50_ns is None:
        return show.DASH, palette.dim
    return duration(delay.p50_ns), palette.text


def _p99(delay: Delay, report: NoiseReport, palette: Palette) -> tuple[str, str]:
    ns = delay.p99_ns
    if ns is None:
        return show.DASH, palette.dim
    loud = palette.alarm if ns >= SLOWEST_NS else palette.warn
    return duration(ns), loud if ns >= SLOW_NS else palette.text


def _worst(delay: Delay, report: NoiseReport, palette: Palette) -> tuple[str, str]:
    worst = delay.culprit
    if report.level != "blame":
        return show.DASH, palette.dim
    if worst is None or worst.culprit is None:
        return "nobody", palette.dim
    return show.name(worst.culprit.name, _WORST), _loud(worst.ns, delay, palette)


def _its(delay: Delay, report: NoiseReport, palette: Palette) -> tuple[str, str]:
    worst = delay.culprit
    if worst is None or not delay.waited_ns:
        return ("0" if report.level == "blame" else show.DASH), palette.dim
    return show.percent(worst.ns / delay.waited_ns), _loud(worst.ns, delay, palette)


def _loud(ns: float, delay: Delay, palette: Palette) -> str:
    share = ns / delay.waited_ns if delay.waited_ns else 0.0
    if share >= LOUD:
        return palette.alarm if share >= LOUDEST else palette.warn
    return palette.text if ns else palette.dim


def _share_of(reason: str) -> Callable[[Delay, NoiseReport, Palette], tuple[str, str]]:
    def text(delay: Delay, report: NoiseReport, palette: Palette) -> tuple[str, str]:
        if report.level != "blame" or reason in delay.unmeasured:
            return show.DASH, palette.dim
        share = delay.share(reason)
        return show.percent(share), palette.text if share else palette.dim

    return text


def _preempted(delay: Delay, report: NoiseReport, palette: Palette) -> tuple[str, str]:
    counts = [delay.preemptions.get(who, 0) for who in ("self", "tenant", "service", "kernel")]
    return "/".join(show.count(n) for n in counts), palette.text if any(counts) else palette.dim


def _fair(delay: Delay, report: NoiseReport, palette: Palette) -> tuple[str, str]:
    ratio = report.fairness.get(delay.tenant.key)
    if ratio is None:
        return show.DASH, palette.dim
    return f"{ratio:.1f}x", palette.warn if ratio >= UNFAIR else palette.text


_WORST = 16
COLUMNS = (
    Column("WAIT %", 6, 4, _wait_share),
    Column("WAITS/s", 7, 6, _rate),
    Column("p50", 6, 7, _p50),
    Column("p99", 6, 1, _p99),
    Column("WORST NEIGHBOUR", _WORST, 2, _worst, left=True),
    Column("ITS %", 5, 3, _its),
    Column("FAIR", 4, 5, _fair),
    Column("THR %", 5, 8, _share_of("throttled")),
    Column("STEAL", 5, 9, _share_of("steal")),
    Column("OUSTED s/t/u/k", 15, 10, _preempted),
)
LEGEND = {
    "WAIT %": "of the time it wanted to run",
    "p99": "99 of 100 waits were shorter",
    "ITS %": "that neighbour's part of its waiting",
    "FAIR": "CPU time it got against its fair share",
    "THR %": "waited by its own quota",
    "OUSTED": "lost the CPU to itself/a tenant/a unit/the kernel",
}
"""What heads mean, for a reader who has not seen them before."""


def legend(width: int) -> str:
    """The heads that are shown at that width, in words."""
    heads = {column.head.split(" s/")[0] for column in fit(width)}
    return " · ".join(f"{head}: {says}" for head, says in LEGEND.items() if head in heads)


def fit(width: int) -> list[Column]:
    """The columns that there is room for, in their order."""
    room = width - max(min(width // 5, TITLE[1]), TITLE[0])
    kept = set()
    for column in sorted(COLUMNS, key=lambda column: column.rank):
        room -= column.width + GAP
        if room < 0:
            break
        kept.add(column.head)
    return [column for column in COLUMNS if column.head in kept]


def victims(delays: Sequence[Delay], report: NoiseReport, width: int, palette: Palette) -> Table:
    """A line per victim, with as many columns as fit."""
    columns = fit(width)
    most = max(width - sum(column.width + GAP for column in columns), 1)
    first = min(most, max(_longest(delays), TITLE[0]))
    made = _empty(palette)
    made.add_column("VICTIM", width=first, no_wrap=True)
    for column in columns:
        side: Any = "left" if column.left else "right"
        made.add_column(column.head, width=column.width, no_wrap=True, justify=side)
    accused = {finding.victim.key for finding in report.findings}
    for delay in delays:
        cells = [Text(*column.text(delay, report, palette)) for column in columns]
        made.add_row(title(delay.tenant, first, palette, delay.tenant.key in accused), *cells)
    return made


def _empty(palette: Palette) -> Table:
    return Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style=palette.head)


def _longest(delays: Sequence[Delay]) -> int:
    return max((cell_len(show.name(delay.tenant.name, 40)) + 2 for delay in delays), default=0)


def title(tenant: Tenant, width: int, palette: Palette, loud: bool = False) -> Text:
    """Sign and safe name."""
    name = show.name(tenant.name, max(width - 2, 1))
    return Text.assemble(
        (SIGNS[tenant.kind], palette.kinds[tenant.kind]), " ", (name, palette.alarm if loud else "")
    )


# --- who makes whom wait


def matrix(delays: Sequence[Delay], report: NoiseReport, width: int, palette: Palette) -> list[Any]:
    """A headline and the table: a line per victim, a column per culprit, shares of its waiting.

    Culprits are those that the victims shown waited longest for; what has no column is in
    `others`. Empty where nobody waited for anybody.
    """
    waited = [delay for delay in delays if delay.waited_ns]
    if not waited or report.level != "blame":
        return []
    first = min(max(_longest(waited), TITLE[0]), TITLE[1])
    room = width - first - (GAP + 7)
    heads = _culprits(waited, room)
    made = _empty(palette)
    made.add_column("VICTIM", width=first, no_wrap=True)
    made.add_column("WAITED", width=7, no_wrap=True, justify="right")
    for name, cells in heads.values():
        made.add_column(Text(name), width=cells, no_wrap=True, justify="right")
    for delay in waited:
        shares = _shares(delay, heads)
        row = [Text(*_cell(shares.get(column, 0), column, delay, palette)) for column in heads]
        made.add_row(title(delay.tenant, first, palette), Text(duration(delay.waited_ns)), *row)
    return [Text("For whom they waited, in % of their waiting", palette.head), made]


_OTHERS = "others"


def _column(part: Part) -> object:
    return part.culprit.key if part.culprit else part.reason


def _culprits(delays: Sequence[Delay], room: int) -> dict[object, tuple[str, int]]:
    """Columns by culprit or reason, worst first: head and width; tenants before reasons."""
    sums: dict[object, float] = {}
    parts: dict[object, Part] = {}
    for delay in delays:
        for part in delay.parts:
            if part.ns:
                column = _column(part)
                sums[column] = sums.get(column, 0) + part.ns
                parts[column] = part
    order = sorted(sums, key=lambda column: -sums[column])
    room -= GAP + len(_OTHERS)
    heads: dict[object, tuple[str, int]] = {}
    for column in order[:MOST_CULPRITS]:
        name = show.name(_head(parts[column]), CULPRIT[1])
        cells = max(cell_len(name), CULPRIT[0])
        if room < cells + GAP:
            break
        room -= cells + GAP
        heads[column] = (name, cells)
    kept = sorted(heads, key=lambda column: isinstance(column, str))  # tenants, then reasons
    made = {column: heads[column] for column in kept}
    if len(heads) < len(order):
        made[_OTHERS] = (_OTHERS, len(_OTHERS))
    return made


_SHORT = {"throttled": "quota", "idle": "idle CPU", "irq": "IRQ", "steal": "steal"}


def _head(part: Part) -> str:
    return _SHORT.get(part.reason, name_of(part))


def _shares(delay: Delay, heads: dict[object, tuple[str, int]]) -> dict[object, int]:
    """Nanoseconds by column."""
    found: dict[object, int] = {}
    for part in delay.parts:
        column = _column(part)
        column = column if column in heads else _OTHERS
        found[column] = found.get(column, 0) + part.ns
    return found


def _cell(ns: int, column: object, delay: Delay, palette: Palette) -> tuple[str, str]:
    look = palette.text if ns else palette.dim
    if isinstance(column, int) and column != KERNEL.key:
        look = _loud(ns, delay, palette)
    return show.percent(ns / delay.waited_ns), look
