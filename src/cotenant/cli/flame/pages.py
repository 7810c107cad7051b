"""What lies over the flame graph: the table of functions, and the help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Click
from textual.geometry import Size
from textual.screen import Screen
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Footer

from cotenant.cli import show
from cotenant.cli.flame.colours import KINDS
from cotenant.cli.flame.head import LEGEND
from cotenant.cli.flame.paint import look
from cotenant.cli.flame.tree import Function, Name
from cotenant.cli.flame.words import label, place, weight
from cotenant.cli.palette import Palette
from cotenant.cli.screen.pages import Page

BAR = 12


class Rows(ScrollView, can_focus=True, inherit_bindings=False):
    """A line per function under a line of heads; the chosen one is kept on screen."""

    DEFAULT_CSS = "Rows { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; }"

    def __init__(self, palette: Palette, lines: bool) -> None:
        super().__init__()
        self.rows: Sequence[Function] = ()
        self.index = 0
        self.by_total = False
        self._palette, self._lines = palette, lines
        self._whole, self._unit = 1, ""

    def show(self, rows: Sequence[Function], whole: int, unit: str) -> None:
        """Put these functions on screen, `whole` being all that was sampled."""
        chosen = self.rows[self.index].name if self.index and self.rows else None
        by = (lambda one: -one.total) if self.by_total else (lambda one: -one.own)
        self.rows = sorted(rows, key=by)
        self._whole, self._unit = whole or 1, unit
        names = [one.name for one in self.rows]
        self.index = names.index(chosen) if chosen in names else 0
        self.virtual_size = Size(self.size.width, len(self.rows) + 1)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """The line `y` of what is on screen."""
        palette = self._palette
        if y == 0:
            mark = ("SELF %", "TOTAL %▼") if self.by_total else ("SELF %▼", "TOTAL %")
            text = f"{mark[0]:>8} {mark[1]:>9} {'SELF':>8}  {'':{BAR}}  FUNCTION"
            return self._fit([Segment(text, look(palette.head, palette.panel, True))])
        index = y - 1 + round(self.scroll_y)
        if index >= len(self.rows):
            return Strip.blank(self.size.width, look(palette.text, palette.ground))
        return self._fit(self._row(self.rows[index], index == self.index))

    def _fit(self, segments: list[Segment]) -> Strip:
        return Strip(segments).adjust_cell_length(self.size.width, segments[-1].style)

    def _row(self, one: Function, chosen: bool) -> list[Segment]:
        palette = self._palette
        ground = palette.cursor if chosen else palette.ground
        own, total = one.own / self._whole, one.total / self._whole
        figures = (
            f"{show.percent(own):>7}  {show.percent(total):>8}  {weight(one.own, self._unit):>8}  "
        )
        filled = show.meter(total if self.by_total else own, BAR).rstrip()
        room = max(self.size.width - cell_len(figures) - BAR - 4, 8)
        where_room = min(room // 3, 44)
        name = label(one.frame, room - where_room - 2, self._lines)
        where = place(one.frame, self._lines)
        where = show.name(where, where_room) if where else ""
        return [
            Segment(figures, look(palette.text if one.own else palette.dim, ground)),
            Segment(filled, look(KINDS[one.frame.kind], ground)),
            Segment("━" * (BAR - cell_len(filled)), look(palette.track, ground)),
            Segment("  " + set_cell_size(name, room - where_room - 2), look(palette.text, ground)),
            Segment("  " + where, look(palette.dim, ground)),
        ]

    def go(self, index: int) -> None:
        """Choose a line and scroll to it."""
        self.index = max(min(index, len(self.rows) - 1), 0)
        room, first = max(self.size.height - 1, 1), round(self.scroll_y)
        if self.index < first:
            self.scroll_to(y=self.index, animate=False)
        elif self.index >= first + room:
            self.scroll_to(y=self.index - room + 1, animate=False)
        self.refresh()

    def on_click(self, event: Click) -> None:
        """A click chooses a line."""
        if event.y:
            self.go(event.y - 1 + round(self.scroll_y))


class Top(Screen[Name | None]):
    """The functions that weigh most; gives back the one to go to, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "show in the graph"),
        Binding("s", "order", "by self/total"),
        Binding("escape,q,backspace", "back", "back", key_display="esc"),
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down,j", "move(1)", "down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("home,g", "edge(0)", "first", show=False),
        Binding("end,G", "edge(-1)", "last", show=False),
    ]

    def __init__(self, palette: Palette, lines: bool) -> None:
        super().__init__()
        self.list = Rows(palette, lines)
        self._shown: tuple[Sequence[Function], int, str] = ((), 1, "")

    def compose(self) -> ComposeResult:
        """The table and the keys."""
        yield self.list
        yield Footer()

    def show(self, rows: Sequence[Function], whole: int, unit: str) -> None:
        """Put these functions on screen."""
        self._shown = (rows, whole, unit)
        self.list.show(*self._shown)

    def on_resize(self) -> None:
        """Fit into the new size."""
        self.list.show(*self._shown)

    def action_order(self) -> None:
        """Sort by the other figure."""
        self.list.by_total = not self.list.by_total
        self.list.index = 0
        self.list.scroll_to(y=0, animate=False)
        self.list.show(*self._shown)

    def action_move(self, by: int) -> None:
        """Choose the next line."""
        self.list.go(self.list.index + by)

    def action_page(self, by: int) -> None:
        """Choose a line a screen away."""
        self.list.go(self.list.index + by * max(self.list.size.height - 2, 1))

    def action_edge(self, end: int) -> None:
        """Choose the first line or the last."""
        self.list.go(len(self.list.rows) if end else 0)

    def action_choose(self) -> None:
        """Go to the chosen function in the graph."""
        rows = self.list.rows
        self.dismiss(rows[self.list.index].name if rows else None)

    def action_back(self) -> None:
        """Go back to where the graph was."""
        self.dismiss(None)


class Help(Page, inherit_bindings=False):
    """Keys, colours, and how to read it."""

    CSS = "Help VerticalScroll { scrollbar-size-vertical: 1; padding: 0 1; }"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark,backspace", "app.pop_screen", "back",
                key_display="esc"),
        Binding("down,j", "scroll(1)", "down", show=False),
        Binding("up,k", "scroll(-1)", "up", show=False),
    ]  # fmt: skip


KEYS = (
    ("arrows, h j k l", "to the box beside, to the heaviest one below, to the caller"),
    ("home end, g G", "to the root, down the heaviest way to its end"),
    ("enter, click again", "zoom: the chosen box gets the full width"),
    ("esc, backspace", "one step out; esc first ends a search"),
    ("0", "the whole tree"),
    ("/", "search in names, files, binaries; n N: the next, the one before"),
    ("t T", "the next tenant alone, the one before; after the last one all"),
    ("i", "invert: what ran on top, who called it below"),
    ("s", "table of functions by their own weight or with all they call"),
    ("c", "colour by whose code it is, by name, or by change"),
    ("L", "tell lines of a function apart, or no longer"),
    ("z", "freeze the picture; sampling goes on"),
    ("q", "quit"),
)


def help_page(palette: Palette) -> Text:
    """The help: how to read it, keys, colours."""
    page = Text()
    page.append("How to read it\n", f"bold {palette.head}")
    page.append(
        "  A box is a function, its callers above it, what it called below. Its width is its\n"
        "  share of all that was sampled while it was on the stack. What has no box below it\n"
        "  ran itself: self. From left to right there is no time, the heaviest comes first.\n\n"
    )
    page.append("Keys\n", f"bold {palette.head}")
    for keys, does in KEYS:
        page.append(f"  {keys:<20}", palette.calm).append(f"{does}\n", palette.text)
    page.append("\nColours\n", f"bold {palette.head}")
    for kind, word in LEGEND.items():
        page.append("  ■ ", KINDS[kind]).append(f"{word}\n", palette.text)
    page.append(
        "\nA box [cut: ...] is no code: there the stack could not be followed further.\n",
        palette.text,
    )
    return page
