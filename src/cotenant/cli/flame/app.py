"""The flame graph as an application: keys in, newer samples in, boxes out."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Footer, Input, Static

from cotenant.cli.flame import head
from cotenant.cli.flame.icicle import Icicle
from cotenant.cli.flame.pages import Help, Top, help_page
from cotenant.cli.flame.scene import Scene
from cotenant.cli.flame.tree import Name, Node, functions, tree
from cotenant.cli.profile_source import Sampler
from cotenant.cli.profile_sum import Sum
from cotenant.cli.screen.base import FullScreen, open_screen
from cotenant.errors import CotenantError
from cotenant.model import Profile

REFRESH_S = 1.0
STEP_S = 0.1
"""How often the sense is emptied: its ring buffer holds far more than comes in such a time."""


def view(scene: Scene, how: str, sampler: Sampler | None = None) -> Profile:
    """Shows the scene until the reader leaves; with a sampler it renews itself all the while.

    What was sampled until then.
    """
    app = Flame(scene, how, sampler)
    try:
        open_screen(app)
    finally:
        app.let_go()
    return app.scene.profile


class Flame(FullScreen):
    """The flame graph. Samples are taken in a thread of their own, so that keys never wait."""

    CSS = """
    #head { height: auto; padding: 0 1 1 1; }
    #detail { height: 2; padding: 0 1; background: $panel; }
    #search { height: 1; border: none; padding: 0 1; display: none; }
    #search.on { display: block; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "zoom", "zoom"),
        Binding("escape", "leave", "out", key_display="esc"),
        Binding("backspace", "out", "out", show=False),
        Binding("slash", "search", "search", key_display="/"),
        Binding("n", "next(1)", "next", show=False),
        Binding("N", "next(-1)", "previous", show=False),
        Binding("t", "tenant(1)", "tenant"),
        Binding("T", "tenant(-1)", "tenant", show=False),
        Binding("i", "invert", "invert"),
        Binding("s", "table", "table"),
        Binding("c", "colour", "colour"),
        Binding("L", "lines", "lines", show=False),
        Binding("z", "freeze", "freeze"),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("q", "quit", "quit"),
        Binding("ctrl+c", "quit", "quit", show=False),
        Binding("up,k", "move('up')", "caller", show=False),
        Binding("down,j", "move('down')", "below", show=False),
        Binding("left,h", "aside(-1)", "left", show=False),
        Binding("right,l", "aside(1)", "right", show=False),
        Binding("home,g", "move('first')", "root", show=False),
        Binding("end,G", "move('deepest')", "end", show=False),
        Binding("0", "whole", "whole", show=False),
    ]

    def __init__(self, scene: Scene, how: str, sampler: Sampler | None = None) -> None:
        super().__init__()
        self.scene = scene
        self.frozen = False
        self.trouble = ""
        self.head = Static(id="head")
        self.detail = Static(id="detail")
        self.icicle = Icicle(scene)
        self._how = how
        self._sampler = sampler
        self._sum = Sum()
        self._over = threading.Event()
        self._thread = ThreadPoolExecutor(1, "sample")
        self._newest: Profile | None = None

    def compose(self) -> ComposeResult:
        """Head, graph, the chosen box, search line, keys."""
        yield self.head
        yield self.icicle
        yield self.detail
        yield Input(id="search", placeholder="search: a part of a name", compact=True)
        yield Footer()

    def on_mount(self) -> None:
        """Take up the colours, draw, start the pulse."""
        self.wear()
        self.icicle.palette = self.palette
        self.icicle.focus()
        self.query_one("#search", Input).can_focus = False
        self.draw()
        if self._sampler is not None:
            self.run_worker(self._pulse(self._sampler), exclusive=True)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """False for the keys of the graph while something lies over it, and for what cannot be."""
        if isinstance(self.screen, Top | Help):
            return action in ("pop_screen",) or (action == "quit" and not parameters)
        return self._sampler is not None if action == "freeze" else True

    # Newer samples

    async def _pulse(self, sampler: Sampler) -> None:
        loop = asyncio.get_running_loop()
        while not self._over.is_set():
            try:
                profile, root, shape = await loop.run_in_executor(
                    self._thread, self._second, sampler
                )
            except CotenantError as error:
                self.trouble = f"{error} Sampling has ended."
                self.draw()
                return
            self._newest = profile
            if not self.frozen:
                self.take_in(profile, root if shape == self.scene.shape else None)

    def _second(self, sampler: Sampler) -> tuple[Profile, Node | None, object]:
        """Lets the sense work for as long as a picture stands; all since the start, and its tree.

        Runs in the sampling thread.
        """
        due = time.monotonic() + REFRESH_S
        while not self._over.is_set():
            sampler.wait(min(STEP_S, max(due - time.monotonic(), 0.0)))
            sampler.step()
            if time.monotonic() >= due:
                break
        self._sum.add(sampler.take())
        profile = self._sum.profile(sampler.renamed)
        assert profile is not None
        shape = self.scene.shape
        root = None if self.frozen or self._over.is_set() else tree(profile, shape, self.scene.base)
        return profile, root, shape

    def take_in(self, profile: Profile, root: Node | None = None) -> None:
        """Show newer figures; `root`: their tree, where it is made already."""
        self.scene.take(profile, root)
        self.draw()
        if isinstance(self.screen, Top):
            self._fill(self.screen)

    def let_go(self) -> None:
        """End the sampling thread; the scene has all that was sampled."""
        self._over.set()
        self._thread.shutdown(wait=True)
        if self._sampler is not None and (whole := self._sum.profile()) is not None:
            self.scene.profile = whole

    # Drawing

    def draw(self) -> None:
        """Draw all of it as it is now."""
        if not self.head.is_attached:  # the screen is being closed
            return
        width = max(self.size.width - 2, 1)
        live = self._sampler is not None
        state = head.State(self._how, live, self.frozen, self.trouble)
        self.head.update(head.lines(self.scene, state, self.palette, width))
        self.detail.update(head.detail(self.scene, self.palette, width))
        self.icicle.redraw()

    def on_icicle_resized(self) -> None:
        """Fit the lines around to the new width."""
        self.draw()

    def on_icicle_clicked(self, message: Icicle.Clicked) -> None:
        """A click chooses, another one zooms."""
        if message.again:
            self.scene.into()
        self.draw()

    # Keys

    def _then(self, change: Callable[[], object]) -> None:
        change()
        self.draw()

    def action_move(self, where: str) -> None:
        """Choose another box: up, down, first, deepest."""
        self._then(getattr(self.scene, where))

    def action_aside(self, by: int) -> None:
        """Choose the box beside."""
        self._then(lambda: self.scene.aside(by))

    def action_zoom(self) -> None:
        """Give the chosen box the full width."""
        self._then(self.scene.into)

    def action_out(self) -> None:
        """Zoom one step out."""
        self._then(self.scene.out)

    def action_leave(self) -> None:
        """End the search; where there is none, zoom out."""
        if self.scene.word:
            self.query_one("#search", Input).value = ""
            self.scene.search("")
            self._leave_search()
            self.draw()
        else:
            self.action_out()

    def action_whole(self) -> None:
        """Show the whole tree."""
        self._then(self.scene.whole)

    def action_tenant(self, by: int) -> None:
        """Show the next tenant alone, or all."""
        self._then(lambda: self.scene.next_tenant(by))

    def action_invert(self) -> None:
        """Turn the tree round."""
        self._then(self.scene.invert)

    def action_lines(self) -> None:
        """Tell lines apart, or no longer."""
        self._then(self.scene.by_line)

    def action_colour(self) -> None:
        """Colour in the next way."""
        self._then(self.scene.recolour)

    def action_next(self, by: int) -> None:
        """Go to the next box that the search has found."""
        self._then(lambda: self.scene.next(by))

    def action_freeze(self) -> None:
        """Hold the picture, or let it run; sampling goes on."""
        self.frozen = not self.frozen
        if not self.frozen and self._newest is not None:
            self.scene.take(self._newest)
        self.draw()

    def action_help(self) -> None:
        """Show how to read it, and the keys."""
        self.push_screen(Help(lambda width: help_page(self.palette)))

    def action_table(self) -> None:
        """Show the functions that weigh most."""
        page = Top(self.palette, self.scene.shape.lines)
        self.push_screen(page, self._go_to)
        self._fill(page)

    def _fill(self, page: Top) -> None:
        shape, profile = self.scene.shape, self.scene.profile
        found = functions(profile, shape.tenant, shape.lines)
        page.show(found, self.scene.root.total, profile.unit)

    def _go_to(self, name: Name | None) -> None:
        if name is not None:
            self._then(lambda: self.scene.show_function(name))

    def action_search(self) -> None:
        """Open the search line."""
        line = self.query_one("#search", Input)
        line.add_class("on")
        line.can_focus = True
        line.focus()

    def on_input_changed(self, message: Input.Changed) -> None:
        """Search as the reader types."""
        self._then(lambda: self.scene.search(message.value))

    def on_input_submitted(self) -> None:
        """Go to the first that was found."""
        self._leave_search()
        self._then(lambda: self.scene.next(1))

    def _leave_search(self) -> None:
        line = self.query_one("#search", Input)
        line.remove_class("on")
        line.can_focus = False
        self.icicle.focus()
