"""One row of the flame graph as styled segments: pure, from boxes to a Strip.

A box begins and ends within a cell to an eighth: a cell with two boxes shows the left one as a
block on the right one's ground.
"""

from __future__ import annotations

from functools import cache

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from cotenant.cli.flame.colours import FOUND, colour, faint, ink
from cotenant.cli.flame.layout import EIGHTHS, Row, Span
from cotenant.cli.flame.scene import Scene
from cotenant.cli.flame.words import label
from cotenant.cli.palette import Palette

LEFT = " ▏▎▍▌▋▊▉"
"""So many eighths of a cell, from the left."""
LEAST_NAMED = 3
"""In fewer whole cells no name says anything."""

Pieces = list[tuple[int, int, str]]
"""Parts of one cell: begin and end in eighths, and the colour."""


@cache
def look(ink: str, ground: str, bold: bool = False) -> Style:
    """A style of rich's, made once."""
    return Style(color=ink, bgcolor=ground, bold=bold)


def line(row: Row, scene: Scene, palette: Palette) -> Strip:
    """A row, as wide as the scene."""
    segments: list[Segment] = []
    pieces: dict[int, Pieces] = {}
    whole: dict[int, tuple[Span, int, str]] = {}
    for span in row:
        paint = ground(span, scene, palette)
        first, last = -(-span.left // EIGHTHS), span.right // EIGHTHS
        if last > first:
            whole[first] = (span, last - first, paint)
        for cell in {span.left // EIGHTHS, span.right // EIGHTHS}:
            if not first <= cell < last:
                begin = max(span.left - cell * EIGHTHS, 0)
                end = min(span.right - cell * EIGHTHS, EIGHTHS)
                if end > begin:
                    pieces.setdefault(cell, []).append((begin, end, paint))
    cell = 0
    while cell < scene.width:
        if cell in whole:
            span, width, paint = whole[cell]
            segments.append(_named(span, width, paint, scene))
            cell += width
        else:
            segments.append(_shared(pieces.get(cell, []), palette.ground))
            cell += 1
    return Strip(segments, scene.width)


def ground(span: Span, scene: Scene, palette: Palette) -> str:
    """What a box is filled with: chosen, found, stepped back, or its own colour."""
    if span.node is scene.node:
        return palette.text
    if scene.is_found(span.node):
        return FOUND
    found = colour(span.node, scene.colouring, span.shade, scene.root)
    above = span.node is not scene.zoom and span.node in scene.zoom.ancestors
    return faint(found, palette) if scene.word or above else found


def _named(span: Span, width: int, paint: str, scene: Scene) -> Segment:
    text = ""
    if width >= LEAST_NAMED:
        text = " " + label(span.node.frame, width - 1, scene.shape.lines)
    text += " " * (width - cell_len(text))
    return Segment(text, look(ink(paint), paint, span.node is scene.node))


def _shared(pieces: Pieces, bare: str) -> Segment:
    """A cell that no box has alone: the two that have most of it, or one and the bare ground."""
    if not pieces:
        return Segment(" ", look(bare, bare))
    parts = _filled(pieces, bare)
    if len(parts) == 1:
        return Segment(" ", look(parts[0][2], parts[0][2]))
    if len(parts) > 2:  # the largest and the larger of its neighbours
        at = max(range(len(parts)), key=lambda i: (parts[i][1] - parts[i][0], parts[i][2] != bare))
        near = [i for i in (at - 1, at + 1) if 0 <= i < len(parts)]
        other = max(near, key=lambda i: (parts[i][1] - parts[i][0], parts[i][2] != bare))
        low, high = sorted((at, other))
        parts = [(0, parts[low][1], parts[low][2]), (parts[low][1], EIGHTHS, parts[high][2])]
    (_, edge, one), (_, _, two) = parts
    return Segment(LEFT[edge], look(one, two))


def _filled(pieces: Pieces, bare: str) -> Pieces:
    """The pieces of a cell from left to right, the gaps between as bare ground."""
    parts: Pieces = []
    at = 0
    for begin, end, paint in sorted(pieces):
        if begin > at:
            parts.append((at, begin, bare))
        parts.append((begin, end, paint))
        at = end
    if at < EIGHTHS:
        parts.append((at, EIGHTHS, bare))
    return parts
