"""The table printed once: the same rows and columns as the live one, as a rich table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from cotenant.cli import show
from cotenant.cli.columns import GAP, Column, fit, name_width
from cotenant.cli.palette import SIGNS, TERMINAL, style
from cotenant.cli.rows import Row

LEFT = ("share", "worst")
"""Columns that are set to the left."""


def table(rows: Sequence[Row], width: int, *, waits: bool = False) -> Table:
    """The rows as a table no wider than `width` cells, with as many columns as fit."""
    columns = fit(width, live=False, waits=waits)
    first = name_width(width, columns)
    made = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style=TERMINAL.head)
    made.add_column(columns[0].head, width=first, no_wrap=True)
    for column in columns[1:]:
        made.add_column(
            column.head,
            width=column.width,
            no_wrap=True,
            justify="left" if column.key in LEFT else "right",
        )
    for row in rows:
        made.add_row(title(row, first), *(_cell(row, column) for column in columns[1:]))
    return made


def title(row: Row, width: int) -> Text:
    """Indent, sign and safe name of a row, and how many are in it that do not show."""
    indent = "  " * row.depth
    if row.kind is None:
        return Text(f"{show.name(row.title, max(width - 8, 1))} ({row.inside})", "bold")
    sign = SIGNS[row.kind]
    inside = f" +{row.inside}" if row.inside and not row.open else ""
    name = show.name(row.title, max(width - len(indent) - 2 - len(inside), 1))
    return Text.assemble(
        indent, (sign, TERMINAL.kinds[row.kind]), f" {name}", (inside, TERMINAL.dim)
    )


def _cell(row: Row, column: Column) -> Text:
    if column.text is None or column.value is None:
        return Text()
    look = style(TERMINAL, column.key, column.value(row.figures), row.figures)
    return Text(column.text(row.figures), look)
