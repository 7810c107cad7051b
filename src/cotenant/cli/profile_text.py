"""A profile in words: what a pipe gets instead of a flame graph, and what stderr is told. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from msgspec import Struct
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from cotenant.cli import show
from cotenant.cli.flame.tree import Name, functions, picked, tenants
from cotenant.cli.flame.words import (
    complete_share,
    label,
    nearly,
    percent,
    samples,
    short_place,
    total,
    weight,
)
from cotenant.cli.palette import TERMINAL, Palette
from cotenant.model import COMPLETE, Frame, FrameKind, Profile, Tenant

FUNCTIONS, STACKS = 20, 5
"""What a page tells of each."""
NAMED_TENANTS = 3
LEAST_POINTS = 0.05
"""A change of less is none."""
LEAF_FRAMES, ROOT_FRAMES = 6, 2
"""Of a deep stack so many frames are shown at its two ends."""
INDENT = 10

_LOST = {
    "dropped": "samples without room in the ring buffer",
    "stale": "Python frames whose code was gone when read",
    "folded": "samples as [other], too many different stacks",
    "unmapped": "mappings without room or told too late",
    "untabled": "binaries without unwind tables or beyond the budget",
    "kthreads": "samples of kernel threads, without a process",
    "idle": "samples of an idle CPU",
}
"""Each field of ProfileLost in words, what matters most first."""


def head(profile: Profile) -> str:
    """What was sampled, of whom and for how long, in a line."""
    met = [show.name(name, 24) for name, _ in tenants(profile)]
    more = f" and {len(met) - NAMED_TENANTS} more" if len(met) > NAMED_TENANTS else ""
    of = f" of {', '.join(met[:NAMED_TENANTS])}{more}" if met else ""
    kind = show.name(profile.type, 24)
    took = f", {show.duration(profile.seconds)}" if profile.seconds > 0 else ""
    weighs = f", {weight(total(profile), profile.unit)}" if profile.unit != "count" else ""
    return f"{kind} profile{of}{took}: {samples(profile):,} samples{weighs}"


def summary(profile: Profile) -> list[str]:
    """How good a profile is, a line each: samples, how stacks ended, what is lost, notes."""
    lines = [f"{head(profile)}, {len(profile.stacks):,} stacks"]
    share = complete_share(profile)
    if share is not None:
        cuts = [
            f"{show.name(end, 60)} {cut:,}" for end, cut in profile.ends.items() if end != COMPLETE
        ]
        told = f"; cut: {', '.join(cuts)}" if cuts else ""
        lines.append(f"unwound fully {nearly(share)}{told}")
    lost = [
        f"{number:,} {words}"
        for field, words in _LOST.items()
        if (number := getattr(profile.lost, field))
    ]
    if lost:
        lines.append(f"lost or left out: {', '.join(lost)}")
    lines += [f"note: {show.name(note)}" for note in profile.notes]
    return lines


def page(profile: Profile, width: int, palette: Palette = TERMINAL, lines: bool = False) -> Group:
    """The functions that weigh most by themselves, and the heaviest stacks."""
    parts: list[Text | Table | Stacks] = [Text(head(profile), palette.head, overflow="fold")]
    if not profile.stacks:
        parts.append(Text("Nothing was sampled: nothing of this kind happened.", palette.dim))
        return Group(*parts)
    parts += [Text(), *_top(profile, width, palette, lines)]
    parts += [Text(), Text("The heaviest stacks, what ran first", f"bold {palette.head}")]
    parts.append(top_stacks(profile, None, STACKS, palette))
    return Group(*parts)


def _top(profile: Profile, width: int, palette: Palette, lines: bool) -> Iterator[Text | Table]:
    """The table of functions, each line within the width."""
    whole = total(profile) or 1
    found = functions(profile, None, lines)
    made = _table(("SELF %", "TOTAL %", "SELF"), palette)
    for one in found[:FUNCTIONS]:
        loud = palette.text if one.own else palette.dim
        figures = (
            Text(show.percent(one.own / whole), loud),
            Text(show.percent(one.total / whole), palette.text),
            Text(weight(one.own, profile.unit), loud),
        )
        made.add_row(*figures, *_named(one.frame, width - 29, lines, palette))
    yield made
    if len(found) > FUNCTIONS:
        yield Text(f"and {len(found) - FUNCTIONS:,} more functions", palette.dim)


def changes(
    profile: Profile, base: Profile, width: int, palette: Palette = TERMINAL, lines: bool = False
) -> Group:
    """The functions whose share has changed most since `base`, in points of a hundred."""
    frames: dict[Name, Frame] = {}
    shares: list[dict[Name, float]] = []
    for one in (base, profile):
        whole = total(one) or 1
        found = functions(one, None, lines)
        frames |= {function.name: function.frame for function in found}
        shares.append({function.name: function.own / whole for function in found})
    before, now = shares
    points = {name: now.get(name, 0.0) - before.get(name, 0.0) for name in frames}
    order = sorted(points, key=lambda name: (-abs(points[name]), name))
    made = _table(("SELF %", "BEFORE %", "POINTS"), palette)
    for name in order[:FUNCTIONS]:
        if abs(points[name]) < LEAST_POINTS / 100:
            break
        loud = palette.alarm if points[name] > 0 else palette.calm
        figures = (
            Text(show.percent(now.get(name, 0.0)), palette.text),
            Text(show.percent(before.get(name, 0.0)), palette.text),
            Text(f"{points[name] * 100:+.1f}", loud),
        )
        made.add_row(*figures, *_named(frames[name], width - 28, lines, palette))
    heads = [Text(f"now:    {head(profile)}"), Text(f"before: {head(base)}"), Text()]
    return Group(*heads, made if made.row_count else Text("Nothing has changed.", palette.dim))


def _table(figures: Sequence[str], palette: Palette) -> Table:
    """A table with figures in front, then functions and where they are."""
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
    for title in figures:
        made.add_column(title, justify="right", no_wrap=True, header_style=palette.head)
    for title in ("FUNCTION", "WHERE"):
        made.add_column(title, no_wrap=True, header_style=palette.head)
    return made


def _named(frame: Frame, width: int, lines: bool, palette: Palette) -> tuple[Text, Text]:
    """A function and where it is, in so many cells."""
    wide = max(width, 16)
    place = min(wide // 3, 40)
    return (
        Text(label(frame, wide - place, lines), kind_style(frame, palette)),
        Text(show.shorten(_where(frame, lines), place), palette.dim),
    )


def _where(frame: Frame, line: bool) -> str:
    return "kernel" if frame.kind is FrameKind.KERNEL else short_place(frame, line)


def kind_style(frame: Frame, palette: Palette) -> str:
    """The style of a name by whose code it is, in colours that any terminal has."""
    if palette is not TERMINAL:
        return palette.text
    return {
        FrameKind.PYTHON: "cyan",
        FrameKind.NATIVE: "green",
        FrameKind.KERNEL: "yellow",
        FrameKind.JIT: "magenta",
        FrameKind.NOTE: palette.dim,
    }[frame.kind]


class Heavy(Struct):
    """A way through the code: stacks that differ by lines alone are one."""

    tenant: str
    process: str
    frames: tuple[Frame, ...]
    value: int = 0


class Stacks:
    """The heaviest stacks as rich draws them: what ran first, callers below, in any width."""

    def __init__(self, heavy: Sequence[Heavy], whole: int, unit: str, palette: Palette) -> None:
        self.heavy = heavy
        self._whole, self._unit, self._palette = whole, unit, palette

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A block of lines for each stack."""
        for number, one in enumerate(self.heavy):
            if number:
                yield Text()
            yield from self._block(one, options.max_width)

    def _block(self, one: Heavy, width: int) -> Iterator[Text]:
        palette = self._palette
        share = percent(one.value / self._whole if self._whole else 0.0)
        whose = " · ".join(show.name(word, 40) for word in (one.tenant, one.process) if word)
        line = Text.assemble(
            (f"{share:>{INDENT - 2}}  ", f"bold {palette.alarm}"),
            (weight(one.value, self._unit), palette.text),
            (f"  {whose}", palette.head),
        )
        line.truncate(width, overflow="ellipsis")
        yield line
        for place, step in enumerate(_shown(one.frames)):
            yield self._frame(step, place, width)

    def _frame(self, step: tuple[Frame, int] | int, place: int, width: int) -> Text:
        palette = self._palette
        if isinstance(step, int):
            return Text(f"{'':{INDENT}}… {step} more", palette.dim)
        frame, times = step
        front = "" if place == 0 else "← "
        room = max(width - INDENT - len(front), 8)
        again = f" ×{times}" if times > 1 else ""
        where = _where(frame, True)
        name = label(frame, room - len(again))
        line = Text(" " * INDENT).append(front, palette.dim)
        line.append(name, kind_style(frame, palette)).append(again, palette.dim)
        left = room - cell_len(name) - len(again) - 2
        if where and left >= 8:
            line.append(f"  {show.shorten(where, left)}", palette.dim)
        return line


def _shown(frames: Sequence[Frame]) -> Iterator[tuple[Frame, int] | int]:
    """The frames from the leaf on, each with how often it called itself there.

    The middle of a deep stack comes as how many frames it has.
    """
    runs = [list(run) for _, run in groupby(frames[::-1], lambda frame: (frame.name, frame.kind))]
    steps = [(run[0], len(run)) for run in runs]
    middle = steps[LEAF_FRAMES : len(steps) - ROOT_FRAMES]
    if len(middle) <= 1:
        yield from steps
        return
    yield from steps[:LEAF_FRAMES]
    yield sum(times for _, times in middle)
    yield from steps[-ROOT_FRAMES:]


def top_stacks(
    profile: Profile, tenant: Tenant | None, n: int, palette: Palette = TERMINAL
) -> Stacks:
    """The `n` heaviest stacks of a tenant (of all where it is None), shares of what it weighs.

    For rich to print; no line is longer than the width it gives.
    """
    name = tenant.name if tenant else None
    ways: dict[tuple[object, ...], Heavy] = {}
    frames = profile.frames
    names = [(frame.name, frame.kind.value) for frame in frames]
    whole = 0
    for stack in picked(profile, name):
        whole += stack.value
        key = (stack.tenant, stack.process, *(names[index] for index in stack.frames))
        way = ways.get(key)
        if way is None:
            whose = "" if tenant else profile.tenants[stack.tenant].name
            way = Heavy(whose, stack.process, tuple(frames[index] for index in stack.frames))
            ways[key] = way
        way.value += stack.value
    heavy = sorted(ways.values(), key=lambda way: -way.value)
    return Stacks(heavy[:n], whole, profile.unit, palette)
