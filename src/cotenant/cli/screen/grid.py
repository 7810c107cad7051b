"""The table as a widget: draws the lines on screen alone, and of these the ones that changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from cotenant.cli.columns import fit
from cotenant.cli.palette import DARK, Palette
from cotenant.cli.rows import Key, Row
from cotenant.cli.screen.cells import Painter, Past


class Grid(ScrollView, can_focus=True):
    """Rows under a line of column heads. The chosen row is followed once the reader moved to it."""

    DEFAULT_CSS = "Grid { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; }"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "top", "First", show=False),
        Binding("end", "bottom", "Last", show=False),
        Binding("enter", "choose", "detail"),
        Binding("space,right,left", "open", "expand", show=False),
    ]

    class Chosen(Message):
        """The reader wants the detail of a row."""

        def __init__(self, row: Row) -> None:
            super().__init__()
            self.row = row

    class Toggled(Message):
        """The reader opens or closes a row."""

        def __init__(self, row: Row) -> None:
            super().__init__()
            self.row = row

    class Sorted(Message):
        """The reader clicked on a column's head."""

        def __init__(self, column: str) -> None:
            super().__init__()
            self.column = column

    def __init__(self, past: Past) -> None:
        super().__init__()
        self.rows: Sequence[Row] = ()
        self.palette: Palette = DARK
        self._past = past
        self._sort, self._reverse = "cpu", False
        self._key: Key | None = None
        self._index = 0
        self._drawn: dict[int, Strip] = {}
        self._waits = False
        self._painter = Painter(fit(80), 80, DARK)

    def show(self, rows: Sequence[Row], sort: str, reverse: bool, waits: bool = False) -> None:
        """Put these rows on screen; lines that stay the same are not drawn again.

        `waits`: rows tell of waits, so there are columns for them.
        """
        self.rows, self._sort, self._reverse = rows, sort, reverse
        same, self._waits = waits == self._waits, waits
        self._follow()
        size = Size(self.size.width, len(rows) + 1)
        if self.virtual_size != size:
            self.virtual_size = size
        if self._painter.width == self._room and same:
            self._redraw()
        else:
            self._anew()

    def paint_in(self, palette: Palette) -> None:
        """Draw everything in another palette."""
        self.palette = palette
        self._anew()

    @property
    def chosen(self) -> Row | None:
        """The row that the cursor is on."""
        return self.rows[self._index] if 0 <= self._index < len(self.rows) else None

    def render_line(self, y: int) -> Strip:
        """The line `y` of what is on screen."""
        strip = self._drawn.get(y)
        if strip is None:
            strip = self._drawn[y] = self._line(y)
        return strip

    def _line(self, y: int) -> Strip:
        if y == 0:
            return self._painter.head(self._sort, self._reverse)
        index = y - 1 + round(self.scroll_y)
        if index >= len(self.rows):
            return Strip.blank(self.size.width, self.rich_style)
        return self._painter.line(self.rows[index], self._past, index == self._index)

    def _redraw(self) -> None:
        """Draw the lines on screen whose look has changed."""
        for y in range(self.size.height):
            strip = self._line(y)
            if self._drawn.get(y) != strip:
                self._drawn[y] = strip
                self.refresh(Region(0, y, self.size.width, 1))

    def _anew(self) -> None:
        """Draw every line: the width, the colours or the place in the table are others."""
        self._painter = Painter(fit(self._room, waits=self._waits), self._room, self.palette)
        self._drawn.clear()
        self.refresh()

    @property
    def _room(self) -> int:
        """Cells of a line: all but the scroll bar and one between."""
        return self.scrollable_content_region.width - 1

    def _follow(self) -> None:
        """Keep the cursor on the row it was put on; where that is gone, at its place."""
        if self._key is not None:
            found = next((i for i, row in enumerate(self.rows) if row.key == self._key), None)
            if found is None:
                self._key = None
            else:
                self._index = found
                self.call_after_refresh(self._reveal)
        self._index = max(min(self._index, len(self.rows) - 1), 0)

    def _reveal(self) -> None:
        """Scroll so that the cursor is on screen."""
        room = max(self.size.height - 1, 1)
        first = round(self.scroll_y)
        if self._index < first:
            self.scroll_to(y=self._index, animate=False)
        elif self._index >= first + room:
            self.scroll_to(y=self._index - room + 1, animate=False)

    def _go(self, index: int) -> None:
        self._index = max(min(index, len(self.rows) - 1), 0)
        row = self.chosen
        self._key = row.key if row else None
        self._reveal()
        self._redraw()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Another part of the table is on screen: every line is another."""
        super().watch_scroll_y(old_value, new_value)
        self._drawn.clear()

    def on_resize(self, event: Resize) -> None:
        """Fit the columns to the new width."""
        self.virtual_size = Size(self.size.width, len(self.rows) + 1)
        self._anew()

    def on_click(self, event: Click) -> None:
        """A click on a head sorts, on a row chooses it, on a chosen row shows its detail."""
        y = event.y
        if y == 0:
            column = self._painter.column_at(event.x)
            if column is not None and not column.live:
                self.post_message(self.Sorted(column.key))
            return
        index = y - 1 + round(self.scroll_y)
        if index >= len(self.rows):
            return
        again = index == self._index and self._key is not None
        self._go(index)
        if again:
            self.action_choose()

    def action_move(self, by: int) -> None:
        """Move the cursor by so many rows."""
        self._go(self._index + by)

    def action_page(self, by: int) -> None:
        """Move the cursor by so many screens."""
        self._go(self._index + by * max(self.size.height - 2, 1))

    def action_top(self) -> None:
        """Back to the first row, whichever that is from now on."""
        self._go(0)
        self._key = None

    def action_bottom(self) -> None:
        """To the last row."""
        self._go(len(self.rows) - 1)

    def action_choose(self) -> None:
        """Ask for the detail of the chosen row; a group opens or closes."""
        row = self.chosen
        if row is not None:
            self.post_message(self.Chosen(row) if row.usage else self.Toggled(row))

    def action_open(self) -> None:
        """Open or close the chosen row, where something is inside it."""
        row = self.chosen
        if row is not None and row.inside:
            self.post_message(self.Toggled(row))
