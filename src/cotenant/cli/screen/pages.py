"""The screens over the live table: one tenant's detail, and the help."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Static

from cotenant.cli.columns import COLUMNS
from cotenant.cli.palette import SIGNS, Palette
from cotenant.cli.show import DASH


class Page(Screen[None]):
    """A text that fills the screen and can be scrolled. `write` makes it for a width."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark", "app.pop_screen", "back", key_display="esc"),
        Binding("p", "app.pause", "pause"),
        Binding("down,j", "scroll(1)", "down", show=False),
        Binding("up,k", "scroll(-1)", "up", show=False),
    ]

    CSS = "Page VerticalScroll { scrollbar-size-vertical: 1; padding: 0 1; }"

    def __init__(self, write: Callable[[int], Text]) -> None:
        super().__init__()
        self._write = write

    def compose(self) -> ComposeResult:
        """The text and the keys."""
        with VerticalScroll():
            yield Static(id="page")
        yield Footer()

    def on_mount(self) -> None:
        """Write the first time."""
        self.write()

    def on_resize(self) -> None:
        """Write again for the new width."""
        self.write()

    def write(self) -> None:
        """Write the text anew."""
        self.query_one("#page", Static).update(self._write(max(self.size.width - 3, 20)))

    def action_scroll(self, by: int) -> None:
        """Scroll by so many lines."""
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)


KEYS = (
    ("up down page home end", "move; the chosen row is followed, home lets go"),
    ("enter, click again", "detail of a tenant: its last two minutes and every value"),
    ("space", "show or hide what is nested in a tenant, or a group"),
    ("e", "show or hide everything nested"),
    ("/", "filter as you type, esc clears it: words in name, kind, image, group, path; globs"),
    ("g", "group: not at all, by pod, project or slice, by kind"),
    ("< >", "sort by the column to the left, to the right; or click on its head"),
    ("c m w x n", "sort by CPU, memory, write, received, name"),
    ("r", "the other way round"),
    ("p", "pause"),
    ("l", "light or dark"),
    ("q", "quit"),
)


def help_page(palette: Palette) -> Text:
    """The help: keys, columns, signs."""
    page = Text()
    page.append("Keys\n", f"bold {palette.head}")
    for keys, does in KEYS:
        page.append(f"  {keys:<22}", palette.calm).append(f"{does}\n", palette.text)
    page.append("\nColumns\n", f"bold {palette.head}")
    for column in COLUMNS:
        page.append(f"  {column.head:<22}", palette.calm)
        page.append(f"{column.describes}\n", palette.text)
    page.append("\nSigns\n", f"bold {palette.head}")
    for kind, sign in SIGNS.items():
        page.append(f"  {sign} ", palette.kinds[kind]).append(f"{kind.value}\n", palette.text)
    page.append(f"  {DASH} ", palette.dim).append("not measured here; 0 is a measured zero\n")
    page.append("\nBytes: 1 K = 1024. The row host is the rest: what runs in no tenant; with\n")
    page.append("the rows that are not nested it sums to the whole host. The row unattributed is\n")
    page.append("what cgroup v1 charges to nobody: buffered writes that the kernel wrote later.\n")
    return page
