"""The live table as an application: keys in, readings in, rows out."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from msgspec.structs import replace
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Footer, Input, Static

from cotenant.cli.columns import SORTABLE
from cotenant.cli.rows import Grouping, Key, Row, View, arrange
from cotenant.cli.screen import head
from cotenant.cli.screen.base import FullScreen, open_screen
from cotenant.cli.screen.detail import detail
from cotenant.cli.screen.grid import Grid
from cotenant.cli.screen.history import History
from cotenant.cli.screen.pages import Page, help_page
from cotenant.cli.source import Reading, Source
from cotenant.errors import CotenantError


def run(source: Source, view: View, interval_s: float, count: int | None = None) -> None:
    """Show the live table until the reader leaves it, or for `count` samples.

    The first reading is taken before the screen opens: what is wrong then is told as an error.
    """
    first = source.read()
    open_screen(Top(source, view, interval_s, count, first=first))


class Top(FullScreen):
    """The live table. Readings are taken in a thread of their own, so that keys never wait."""

    CSS = """
    #head { height: auto; padding: 0 1 1 1; }
    #filter { dock: bottom; height: 1; border: none; padding: 0 1; display: none; }
    #filter.on { display: block; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("g", "group", "group"),
        Binding("less_than_sign", "column(-1)", "sort", key_display="< >"),
        Binding("greater_than_sign", "column(1)", "sort", show=False),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("q", "quit", "quit"),
        Binding("e", "expand", "expand"),
        Binding("r", "reverse", "reverse"),
        Binding("p", "pause", "pause"),
        Binding("l", "light", "light", show=False),
        Binding("c", "sort('cpu')", "CPU", show=False),
        Binding("m", "sort('memory')", "memory", show=False),
        Binding("w", "sort('write')", "write", show=False),
        Binding("x", "sort('received')", "received", show=False),
        Binding("n", "sort('name')", "name", show=False),
        Binding("escape", "clear", "clear", show=False),
        Binding("ctrl+c", "quit", "quit", show=False),
    ]

    def __init__(
        self,
        source: Source,
        view: View,
        interval_s: float,
        count: int | None = None,
        *,
        first: Reading,
    ) -> None:
        super().__init__()
        self.view = view
        self.reading = first
        self.history = History()
        self.paused = False
        self.trouble = ""
        self._source = source
        self._interval_s = interval_s
        self._left = count
        self._thread = ThreadPoolExecutor(1, "sense")
        self.head = Static(id="head")
        self.grid = Grid(self._past)

    def compose(self) -> ComposeResult:
        """Head, table, filter line, keys."""
        yield self.head
        yield self.grid
        yield Input(id="filter", placeholder="filter: words, or a glob", compact=True)
        yield Footer()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool:
        """False for the keys of the table while a page lies over it."""
        over = isinstance(self.screen, Page)
        return not over or action in ("pause", "quit", "pop_screen", "light")

    def on_mount(self) -> None:
        """Take up the colours, show the first reading, start the pulse."""
        self.wear()
        self.grid.paint_in(self.palette)
        self.grid.focus()
        self.query_one("#filter", Input).can_focus = False
        self.take_in(self.reading)
        self.run_worker(self._pulse(), exclusive=True)

    def on_unmount(self) -> None:
        """Let the sensing thread go."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _pulse(self) -> None:
        """A reading per interval for as long as the screen is open."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while self._left is None or self._left > 0:
            due = max(due + self._interval_s, loop.time())
            await asyncio.sleep(due - loop.time())
            if self.paused:
                self.show_head()
                continue
            try:
                reading = await loop.run_in_executor(self._thread, self._source.read)
            except CotenantError as error:
                self.trouble = f"{error} Trying again."
                self.show_head()
                continue
            self.trouble = ""
            self.take_in(reading)
            self._left = None if self._left is None else self._left - 1
        self.exit()

    def take_in(self, reading: Reading) -> None:
        """Show a new reading."""
        new = reading.snapshot.at_ns != self.reading.snapshot.at_ns
        self.reading = reading
        if new or reading.whole.seconds is not None:
            self.history.note(reading)
        self.show_head()
        self.show_rows()
        if isinstance(self.screen, Page):
            self.screen.write()

    def show_head(self) -> None:
        """Write the lines above the table."""
        state = head.State(
            how=self._source.how,
            age_s=time.time() - self.reading.snapshot.unix_s,
            interval_s=self._interval_s,
            paused=self.paused,
            trouble=self.trouble,
        )
        text = head.lines(self.reading, self.view, state, self.palette, self.size.width - 2)
        if self.head.is_attached:  # not while the screen is being closed
            self.head.update(text)

    def show_rows(self) -> None:
        """Put the rows that the view asks for into the table."""
        reading, view = self.reading, self.view
        rows = arrange(reading.usages, view, reading.delays)
        self.grid.show(rows, view.sort, view.reverse, waits=reading.noise is not None)

    def look(self, view: View) -> None:
        """Show the same reading in another way."""
        self.view = view
        self.show_head()
        self.show_rows()

    def _past(self, row: Row, count: int) -> list[float | None]:
        return self.history.last(row.key, "cpu_cores", count) if isinstance(row.key, int) else []

    def on_resize(self) -> None:
        """Fit the head to the new width."""
        self.show_head()

    def on_grid_chosen(self, message: Grid.Chosen) -> None:
        """Open the detail of a tenant, kept current while it is open."""
        if message.row.usage is None:
            return
        last = [message.row.usage]

        def write(width: int) -> Text:
            found = [u for u in self.reading.usages if u.tenant.key == message.row.key]
            last[:] = found or last
            delay = self.reading.delays.get(last[0].tenant.key)
            page = detail(last[0], self.history, self.palette, width, delay)
            if not found:
                page.append("\nIt is gone; these are its last values.\n", self.palette.warn)
            return page

        self.push_screen(Page(write))

    def on_grid_toggled(self, message: Grid.Toggled) -> None:
        """Open or close a row."""
        key: frozenset[Key] = frozenset([message.row.key])
        self.look(replace(self.view, toggled=self.view.toggled ^ key))

    def on_grid_sorted(self, message: Grid.Sorted) -> None:
        """Sort by the column that was clicked; once more: the other way."""
        self.action_sort(message.column)

    def action_sort(self, column: str) -> None:
        """Sort by a column; where rows are sorted by it already, the other way round."""
        reverse = not self.view.reverse if column == self.view.sort else False
        self.look(replace(self.view, sort=column, reverse=reverse))

    def action_column(self, by: int) -> None:
        """Sort by the next column on the right or left."""
        index = (SORTABLE.index(self.view.sort) + by) % len(SORTABLE)
        self.look(replace(self.view, sort=SORTABLE[index], reverse=False))

    def action_reverse(self) -> None:
        """Turn the order round."""
        self.look(replace(self.view, reverse=not self.view.reverse))

    def action_group(self) -> None:
        """Gather rows in the next way there is."""
        ways = list(Grouping)
        way = ways[(ways.index(self.view.grouping) + 1) % len(ways)]
        self.look(replace(self.view, grouping=way))

    def action_expand(self) -> None:
        """Open everything nested, or close it."""
        self.look(replace(self.view, all_open=not self.view.all_open, toggled=frozenset()))

    def action_pause(self) -> None:
        """Hold the figures, or let them run."""
        self.paused = not self.paused
        self.show_head()

    def action_light(self) -> None:
        """Change between dark and light."""
        self.theme = "cotenant-dark" if self.theme == "cotenant-light" else "cotenant-light"
        self.grid.paint_in(self.palette)
        self.show_head()
        if isinstance(self.screen, Page):
            self.screen.write()

    def action_help(self) -> None:
        """Show keys, columns and signs."""
        self.push_screen(Page(lambda width: help_page(self.palette)))

    def action_filter(self) -> None:
        """Open the filter line."""
        line = self.query_one("#filter", Input)
        line.add_class("on")
        line.can_focus = True
        line.focus()

    def action_clear(self) -> None:
        """Close the filter line and show every tenant again."""
        self.query_one("#filter", Input).value = ""
        self._leave_filter()

    def on_input_changed(self, message: Input.Changed) -> None:
        """Filter as the reader types."""
        self.look(replace(self.view, words=tuple(message.value.split())))

    def on_input_submitted(self) -> None:
        """Keep the filter and go back to the table."""
        self._leave_filter()

    def _leave_filter(self) -> None:
        line = self.query_one("#filter", Input)
        line.remove_class("on")
        line.can_focus = False
        self.grid.focus()
