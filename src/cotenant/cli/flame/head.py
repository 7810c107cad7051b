"""The lines around the flame graph: what was sampled, how it is looked at, the chosen box. Pure."""

from __future__ import annotations

from msgspec import Struct
from rich.cells import cell_len
from rich.text import Text

from cotenant.cli import show
from cotenant.cli.flame.colours import FOUND, GREW, KINDS, SHRANK, Colouring, change
from cotenant.cli.flame.scene import Scene
from cotenant.cli.flame.tree import Sort
from cotenant.cli.flame.words import complete_share, nearly, percent, place, samples, weight, what
from cotenant.cli.palette import Palette
from cotenant.model import FrameKind

LEGEND = {
    FrameKind.PYTHON: "Python",
    FrameKind.NATIVE: "native",
    FrameKind.KERNEL: "kernel",
    FrameKind.JIT: "JIT",
    FrameKind.NOTE: "no code",
}


class State(Struct, frozen=True):
    """What the lines tell beside the scene: where it is from, whether it renews itself."""

    how: str
    live: bool = False
    frozen: bool = False
    trouble: str = ""


def lines(scene: Scene, state: State, palette: Palette, width: int) -> Text:
    """The lines above the graph, each at most `width` cells."""
    made = [
        sides(_sampled(scene, palette), _origin(state, palette), width),
        sides(_looked_at(scene, palette), _legend(scene, palette), width),
    ]
    if state.trouble:
        made.append(Text(show.shorten(f"▲ {show.name(state.trouble)}", width), palette.alarm))
    return Text("\n").join(made)


def _sampled(scene: Scene, palette: Palette) -> list[Text]:
    profile = scene.profile
    share = complete_share(profile)
    fully = show.DASH if share is None else nearly(share)
    good = share is None or share >= 0.95
    took = [Text(show.duration(profile.seconds), palette.text)] if profile.seconds > 0 else []
    return [
        Text.assemble(("cotenant ", f"bold {palette.calm}"), (show.name(profile.type, 20), "bold")),
        Text(f"{samples(profile):,} samples", palette.text),
        *took,
        Text.assemble(
            ("unwound fully ", palette.head), (fully, palette.text if good else palette.warn)
        ),
    ]


def _origin(state: State, palette: Palette) -> list[Text]:
    how = [Text(show.name(state.how, 40), palette.dim)] if state.how else []
    if state.frozen:
        return [Text("‖ frozen", palette.warn), *how]
    return [Text("● live", palette.calm), *how] if state.live else how


def _looked_at(scene: Scene, palette: Palette) -> list[Text]:
    shape = scene.shape
    who = "all tenants" if shape.tenant is None else show.name(shape.tenant, 30)
    met = len(scene.tenants)
    parts = [Text.assemble(("of ", palette.head), (who, palette.text))]
    if shape.tenant is None:
        parts[0].append(f" ({met})", palette.dim)
    if scene.word:
        share = scene.found_weight / scene.root.total if scene.root.total else 0.0
        found = f"{scene.hits:,} found, {percent(share)}" if scene.hits else "nothing found"
        style = FOUND if scene.hits and palette.ground[1] < "8" else palette.warn
        parts.append(Text(f"“{show.name(scene.word, 24)}” {found}", style))
    if shape.inverted:
        parts.append(Text("inverted: callers below", palette.warn))
    if shape.lines:
        parts.append(Text("by line", palette.warn))
    return parts


def _legend(scene: Scene, palette: Palette) -> list[Text]:
    """The colours in words; only those that are there."""
    if scene.colouring is Colouring.NAME:
        return [Text("colour: by name", palette.dim)]
    if scene.colouring is Colouring.CHANGE:
        named = [(GREW, "more than before"), (SHRANK, "less")]
    else:
        there = {frame.kind for frame in scene.profile.frames}
        named = [(KINDS[kind], word) for kind, word in LEGEND.items() if kind in there]
    legend = Text("  ").join(
        Text.assemble(("■ ", colour), (word, palette.dim)) for colour, word in named
    )
    return [legend] if named else []


def detail(scene: Scene, palette: Palette, width: int) -> Text:
    """Two lines on the chosen box: its whole name, then where it is and what it weighs."""
    node, root, unit = scene.node, scene.root, scene.profile.unit
    frame = node.frame
    name = "all tenants" if node.sort is Sort.ALL else frame.name
    first = Text(show.name(name, width), f"bold {palette.text}")
    share = node.total / root.total if root.total else 0.0
    parts = [
        Text.assemble(
            (percent(share), f"bold {palette.calm}"),
            (f" {weight(node.total, unit)}", palette.text),
        )
    ]
    if scene.zoom is not root and scene.zoom in node.ancestors and node is not scene.zoom:
        of_zoom = node.total / scene.zoom.total if scene.zoom.total else 0.0
        parts.append(Text(f"{percent(of_zoom)} of the zoom", palette.head))
    if not scene.shape.inverted:
        own = node.own / root.total if root.total else 0.0
        parts.append(Text(f"self {percent(own)}", palette.head))
    if scene.base is not None:
        points = change(node, root) * 100
        louder = palette.alarm if points > 0 else palette.calm
        parts.append(Text(f"{points:+.1f} points", louder if abs(points) >= 0.1 else palette.dim))
    parts.append(Text(what(node), palette.head))
    left = width - sum(cell_len(part.plain) + 3 for part in parts)
    where = place(frame, scene.shape.lines)
    if node.sort is Sort.FRAME and where and left >= 8:
        parts.append(Text(show.name(where, left), palette.text))
        left -= cell_len(parts[-1].plain) + 3
        if frame.module and frame.file and left >= 8:
            parts.append(Text(show.name(frame.module, left), palette.dim))
    return Text("\n").join([first, fitting([part for part in parts if part.plain], width)])


def fitting(parts: list[Text], width: int) -> Text:
    """As many of the parts, from the first on, as fit between them."""
    line = Text()
    for part in parts:
        if cell_len(line.plain) + (3 if line else 0) + cell_len(part.plain) > width:
            break
        line = line.append("   ").append_text(part) if line else Text().append_text(part)
    return line


def sides(left: list[Text], right: list[Text], width: int) -> Text:
    """Parts from the left and, set to the right, as many of the others as there is room for."""
    line = fitting(left, width)
    for count in range(len(right), 0, -1):
        tail = Text(" · ").join(right[:count])
        room = width - cell_len(line.plain) - cell_len(tail.plain)
        if room >= 2:
            return line.append(" " * room).append_text(tail)
    return line
