"""Where each box of the flame graph lies: an icicle, callers above what they call. Pure.

Places are counted in eighths of a cell, as that is how fine a terminal can draw.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from cotenant.cli.flame.tree import Node

EIGHTHS = 8


class Span(Struct, frozen=True, gc=False):
    """A box: its node, and where it begins and ends in its row, in eighths of a cell."""

    node: Node
    left: int
    right: int
    shade: int
    """0 or 1, another than its neighbours have."""

    @property
    def cells(self) -> tuple[int, int]:
        """The first cell that it touches and the one after the last."""
        return self.left // EIGHTHS, -(-self.right // EIGHTHS)


Row = list[Span]


def layout(zoom: Node, cells: int) -> list[Row]:
    """The rows from the root down: who is above `zoom` over the full width, then what is below.

    A box is as wide as its share of `zoom`, both ends rounded down alike: boxes of a row never
    overlap, lie within the one above, and leave no gap that is not the caller's own weight. What
    is thinner than an eighth and touches no end of one is not there.
    """
    width = cells * EIGHTHS
    above = zoom.ancestors
    rows = [[Span(node, 0, width, depth & 1)] for depth, node in enumerate(above)]
    if not zoom.total:
        return rows
    row, starts = rows[-1], [0]
    while row:
        row, starts = _below(row, starts, zoom.total, width, len(rows) & 1)
        if row:
            rows.append(row)
    return rows


def _below(
    row: Row, starts: Sequence[int], total: int, width: int, odd: int
) -> tuple[Row, list[int]]:
    """The row under `row`, and the weight to the left of each of its boxes."""
    found: Row = []
    begun: list[int] = []
    for span, start in zip(row, starts, strict=True):
        for number, node in enumerate(span.node.children):
            left = start * width // total
            right = (start + node.total) * width // total
            if right > left:
                found.append(Span(node, left, right, (number + odd) & 1))
                begun.append(start)
            start += node.total
    return found, begun


def find(rows: Sequence[Row], node: Node) -> tuple[int, int] | None:
    """Row and place in it of the node's box; None where it is too thin to have one."""
    depth = len(node.ancestors) - 1
    if depth >= len(rows):
        return None
    for place, span in enumerate(rows[depth]):
        if span.node is node:
            return depth, place
    return None


def at(row: Row, cell: int) -> Span | None:
    """The box that has most of a cell; None where there is none."""
    first, after = cell * EIGHTHS, (cell + 1) * EIGHTHS
    best, most = None, 0
    for span in row:
        covered = min(span.right, after) - max(span.left, first)
        if covered > most:
            best, most = span, covered
    return best
