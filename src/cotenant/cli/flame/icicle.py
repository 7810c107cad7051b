"""The flame graph as a widget: draws the rows on screen, follows the chosen box, hears clicks."""

from __future__ import annotations

from textual.events import Click, Resize
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from cotenant.cli.flame.paint import line, look
from cotenant.cli.flame.scene import Scene
from cotenant.cli.palette import DARK, Palette


class Icicle(ScrollView, can_focus=True, inherit_bindings=False):
    """Rows of boxes, the root's at the top. Redraws all of it at each change: it is one screen."""

    DEFAULT_CSS = "Icicle { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; }"

    class Clicked(Message):
        """A box was clicked; `again`: it was the chosen one."""

        def __init__(self, again: bool) -> None:
            super().__init__()
            self.again = again

    class Resized(Message):
        """The scene lies in another width."""

    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self.scene = scene
        self.palette: Palette = DARK

    def redraw(self) -> None:
        """Draw the scene as it is now, the chosen box on screen."""
        self.virtual_size = Size(self.size.width, len(self.scene.rows))
        self.call_after_refresh(self._reveal)
        self.refresh()

    def _reveal(self) -> None:
        """Scroll so that the chosen box and what is below it are on screen."""
        room = max(self.size.height, 1)
        depth, _ = self.scene.place
        first = round(self.scroll_y)
        below = min(depth + 1, len(self.scene.rows) - 1) if room > 2 else depth
        if depth < first:
            self.scroll_to(y=depth, animate=False)
        elif below >= first + room:
            self.scroll_to(y=below - room + 1, animate=False)

    def render_line(self, y: int) -> Strip:
        """The line `y` of what is on screen."""
        depth = y + round(self.scroll_y)
        bare = look(self.palette.text, self.palette.ground)
        if depth >= len(self.scene.rows):
            return Strip.blank(self.size.width, bare)
        drawn = line(self.scene.rows[depth], self.scene, self.palette)
        return drawn.adjust_cell_length(self.size.width, bare)

    def on_resize(self, event: Resize) -> None:
        """Lie in the new width: all but the scroll bar, which may come and go."""
        self.scene.fit(max(event.size.width - 1, 1))
        self.redraw()
        self.post_message(self.Resized())

    def on_click(self, event: Click) -> None:
        """A click chooses a box; on the chosen one, it is told as such."""
        again = self.scene.choose(event.y + round(self.scroll_y), event.x)
        self.post_message(self.Clicked(again))
