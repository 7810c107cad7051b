"""One line of the live table as styled segments: pure, from a Row to a Strip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import groupby

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from cotenant.cli import show
from cotenant.cli.columns import GAP, Column, name_width
from cotenant.cli.palette import SIGNS, Palette, style
from cotenant.cli.rows import Row

Past = Callable[[Row, int], list[float | None]]
"""Gives the newest CPU figures of a row, at most so many."""

_LEFT = ("share", "history", "worst")


@cache
def look(colour: str, ground: str, bold: bool = False) -> Style:
    """A style of rich's, made once."""
    return Style(color=colour, bgcolor=ground, bold=bold)


class Painter:
    """Draws lines of a given width in a palette."""

    def __init__(self, columns: Sequence[Column], width: int, palette: Palette) -> None:
        self.columns = columns
        self.width = width
        self._palette = palette
        self._name_width = name_width(width, columns)

    def head(self, sort: str, reverse: bool) -> Strip:
        """The line of column heads; the one that rows are sorted by carries an arrow."""
        palette = self._palette
        segments = []
        for column in self.columns:
            text = column.head
            mark = column.key == sort
            if mark:
                text = f"{text}{'▲' if reverse else '▼'}"
            width = self._name_width if column.key == "name" else column.width
            if column.key == "name":
                cell = f"   {text}".ljust(width)
            elif column.key in _LEFT:
                cell = " " * GAP + text.ljust(width)
            else:
                cell = " " * GAP + text.rjust(width)
                # The arrow may take a cell of the gap.
                cell = cell[len(cell) - width - GAP :]
            colour = palette.calm if mark else palette.head
            segments.append(Segment(cell, look(colour, palette.panel, True)))
        return Strip(segments).adjust_cell_length(self.width, look(palette.head, palette.panel))

    def column_at(self, x: int) -> Column | None:
        """The column that the cell `x` of a line is in."""
        edge = self._name_width
        if x < edge:
            return self.columns[0]
        for column in self.columns[1:]:
            edge += column.width + GAP
            if x < edge:
                return column
        return None

    def line(self, row: Row, past: Past, chosen: bool) -> Strip:
        """The line of a row, lit up where it is the chosen one."""
        ground = self._palette.cursor if chosen else self._palette.ground
        segments = self._title(row, ground)
        for column in self.columns[1:]:
            segments.extend(self._cell(row, column, past, ground))
        return Strip(segments).adjust_cell_length(self.width, look(self._palette.text, ground))

    def _title(self, row: Row, ground: str) -> list[Segment]:
        palette = self._palette
        indent = " " * (2 * row.depth)
        arrow = ("▾" if row.open else "▸") if row.inside else " "
        inside = f" +{row.inside}" if row.inside and not row.open else ""
        room = self._name_width - len(indent) - 3 - len(inside)
        name = show.name(row.title, max(room, 1))
        sign, colour = ("", palette.head) if row.kind is None else _sign(row, palette)
        room = self._name_width - len(indent) - 1 - len(sign) - cell_len(name) - len(inside)
        return [
            Segment(f"{indent}{arrow}", look(palette.dim, ground)),
            Segment(sign, look(colour, ground)),
            Segment(name, look(palette.text, ground, row.kind is None)),
            Segment(inside + " " * max(room, 0), look(palette.dim, ground)),
        ]

    def _cell(self, row: Row, column: Column, past: Past, ground: str) -> list[Segment]:
        palette = self._palette
        gap = Segment(" " * GAP, look(palette.text, ground))
        if column.live:
            values = past(row, column.width)
            peak = max((value for value in values if value is not None), default=0.0)
            text = show.spark(values, max(peak, 1.0)).rjust(column.width)
            return [gap, *_spark(text, ground, palette)]
        if column.text is None or column.value is None:
            return [gap]
        text = column.text(row.figures)
        figure = column.value(row.figures)
        colour = style(palette, column.key, figure, row.figures)
        if column.key == "share" and figure is not None:
            return [gap, *track(text, colour, ground, palette)]
        if column.key == "worst":
            text += " " * (column.width - cell_len(text))
        return [gap, Segment(text.rjust(column.width), look(colour, ground))]


def track(bar: str, colour: str, ground: str, palette: Palette) -> list[Segment]:
    """A bar with the part that is not filled as a faint line."""
    filled = bar.rstrip()
    rest = "━" * (len(bar) - len(filled))
    return [Segment(filled, look(colour, ground)), Segment(rest, look(palette.track, ground))]


def _spark(bars: str, ground: str, palette: Palette) -> list[Segment]:
    """Bars in colour, the lowest ones, which say next to nothing, faint."""
    return [
        Segment("".join(run), look(palette.track if low else palette.calm, ground))
        for low, run in groupby(bars, lambda bar: bar == show.BARS[0])
    ]


def _sign(row: Row, palette: Palette) -> tuple[str, str]:
    assert row.kind is not None
    return f"{SIGNS[row.kind]} ", palette.kinds[row.kind]
