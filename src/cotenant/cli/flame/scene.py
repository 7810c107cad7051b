"""What the reader looks at: which tree, which part, which box, and how keys change that. Pure.

The screen draws it; nothing here knows of a terminal but its width in cells.
"""

from __future__ import annotations

from msgspec.structs import replace

from cotenant.cli.flame import layout
from cotenant.cli.flame.colours import Colouring
from cotenant.cli.flame.layout import Row, Span
from cotenant.cli.flame.tree import Name, Node, Shape, Sort, tenants, tree
from cotenant.model import Profile

Path = tuple[Name, ...]


class Scene:
    """A profile, the box chosen in it (`node`), the one that fills the width (`zoom`)."""

    def __init__(
        self, profile: Profile, shape: Shape, *, base: Profile | None = None, width: int = 80
    ) -> None:
        self.profile = profile
        self.base = base
        self.shape = shape
        self.width = width
        self.word = ""
        self.colouring = Colouring.KIND if base is None else Colouring.CHANGE
        self._found: frozenset[Node] = frozenset()
        self._grow(tree(profile, shape, base), (), ())

    def _grow(self, root: Node, zoom: Path, chosen: Path) -> None:
        """Takes up another tree, and goes where the paths lead in it."""
        self.root = root
        self.zoom = root.at(zoom)
        self.node = root.at(chosen)
        self._lay()
        self._look_up()

    def _lay(self) -> None:
        self.rows: list[Row] = layout.layout(self.zoom, self.width)
        while layout.find(self.rows, self.node) is None and self.node.parent is not None:
            self.node = self.node.parent

    def fit(self, width: int) -> None:
        """Lies anew in so many cells."""
        if width != self.width:
            self.width = width
            self._lay()

    def take(self, profile: Profile, root: Node | None = None) -> None:
        """Shows newer figures, in the same place; `root`: their tree, if it is made already."""
        self.profile = profile
        root = root or tree(profile, self.shape, self.base)
        self._grow(root, self.zoom.path, self.node.path)

    def _reshape(self, shape: Shape) -> None:
        self.shape = shape
        self._grow(tree(self.profile, shape, self.base), (), ())

    # Moving

    @property
    def place(self) -> tuple[int, int]:
        """Row and place in it of the chosen box."""
        found = layout.find(self.rows, self.node)
        assert found is not None  # _lay goes up until there is one
        return found

    def up(self) -> None:
        """To the caller."""
        self.node = self.node.parent or self.node

    def down(self) -> None:
        """To the heaviest box below, towards the zoom while above it."""
        way = self.zoom.ancestors
        depth = len(self.node.ancestors)
        if depth < len(way):
            self.node = way[depth]
        elif below := self._drawn_below():
            self.node = below[0]

    def _drawn_below(self) -> list[Node]:
        depth = len(self.node.ancestors)
        row = self.rows[depth] if depth < len(self.rows) else []
        return [span.node for span in row if span.node.parent is self.node]

    def aside(self, by: int) -> None:
        """To the next box in the same row, whoever called it."""
        depth, place = self.place
        row = self.rows[depth]
        self.node = row[max(min(place + by, len(row) - 1), 0)].node

    def choose(self, depth: int, cell: int) -> bool:
        """Takes the box under a cell; whether it was the chosen one already."""
        span: Span | None = layout.at(self.rows[depth], cell) if depth < len(self.rows) else None
        if span is None:
            return False
        same, self.node = span.node is self.node, span.node
        return same

    def first(self) -> None:
        """To the root."""
        self.node = self.root

    def deepest(self) -> None:
        """Down the heaviest way to its end."""
        before = None
        while before is not self.node:
            before = self.node
            self.down()

    # Zooming

    def into(self) -> None:
        """Gives the chosen box the full width."""
        self.zoom = self.node
        self._lay()

    def out(self) -> bool:
        """Gives the full width to the caller of what has it; whether there was one."""
        above = self.zoom.parent
        if above is None:
            return False
        self.zoom = above
        self._lay()
        return True

    def whole(self) -> None:
        """Shows the whole tree."""
        self.zoom = self.root
        self._lay()

    # Searching

    def search(self, word: str) -> None:
        """Lights up every box with the word in its name, file or binary, capitals or not."""
        self.word = word
        self._look_up()

    def _look_up(self) -> None:
        word = self.word.casefold()
        found: list[Node] = []
        if word:
            answers: dict[Name, bool] = {}
            for node in self.root.walk():
                name = node.name
                if name not in answers:
                    answers[name] = _has(node, word)
                if answers[name]:
                    found.append(node)
        self._found = frozenset(found)
        self.found_weight = sum(
            node.total
            for node in found
            if not any(above in self._found for above in node.ancestors[:-1])
        )
        """What the boxes found weigh, those below another of them not counted twice."""

    def is_found(self, node: Node) -> bool:
        """Whether the search has found it."""
        return node in self._found

    @property
    def hits(self) -> int:
        """How many boxes were found."""
        return len(self._found)

    def next(self, by: int = 1) -> bool:
        """To the next box found, in the order they are drawn; zooms out where it has no room."""
        if not self._found:
            return False
        order = [node for node in self.root.walk() if node in self._found]
        places = {id(node): place for place, node in enumerate(self.root.walk())}
        here = places[id(self.node)]
        after = [node for node in order if places[id(node)] > here]
        before = [node for node in order if places[id(node)] < here]
        found = (after or order)[0] if by > 0 else (before or order)[-1]
        self.show(found)
        return True

    def show(self, node: Node) -> None:
        """Chooses a box; where it is not on screen, zooms out until it has room, or into it."""
        if node is not self.zoom and self.zoom not in node.ancestors:
            self.zoom = self.root
        self.node = node
        self.rows = layout.layout(self.zoom, self.width)
        if layout.find(self.rows, node) is None:
            self.zoom = node.parent or node
            self.rows = layout.layout(self.zoom, self.width)
            if layout.find(self.rows, node) is None:
                self.zoom = node
                self.rows = layout.layout(self.zoom, self.width)

    def show_function(self, name: Name) -> None:
        """Goes to the heaviest box of a function."""
        named = [node for node in self.root.walk() if node.name == name]
        if named:
            self.show(max(named, key=lambda node: node.total))

    # Other ways to look

    @property
    def tenants(self) -> list[str]:
        """Who was met, the heaviest first."""
        return [name for name, _ in tenants(self.profile)]

    def next_tenant(self, by: int = 1) -> None:
        """Shows the next tenant alone; after the last one, all."""
        ways: list[str | None] = [None, *self.tenants]
        here = ways.index(self.shape.tenant) if self.shape.tenant in ways else 0
        self._reshape(replace(self.shape, tenant=ways[(here + by) % len(ways)]))

    def invert(self) -> None:
        """Turns the tree round: what ran on top, who called it below."""
        self._reshape(replace(self.shape, inverted=not self.shape.inverted))

    def by_line(self) -> None:
        """Tells boxes apart by line, or no longer."""
        self._reshape(replace(self.shape, lines=not self.shape.lines))

    def recolour(self) -> None:
        """Colours in the next way there is."""
        ways = [one for one in Colouring if one is not Colouring.CHANGE or self.base is not None]
        self.colouring = ways[(ways.index(self.colouring) + 1) % len(ways)]


def _has(node: Node, word: str) -> bool:
    if node.sort is Sort.ALL:
        return False
    frame = node.frame
    return any(word in text.casefold() for text in (frame.name, frame.file, frame.module))
