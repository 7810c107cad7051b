"""The colours of boxes: by whose code it is, by name, or by what has changed. Pure.

Hues after Okabe and Ito, so that colour-blind eyes tell them apart; a box's name and its line of
detail say the same in words.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from zlib import crc32

from cotenant.cli.flame.tree import Node, Sort
from cotenant.cli.palette import Palette
from cotenant.model import FrameKind


class Colouring(StrEnum):
    """What a box's colour tells."""

    KIND = "kind"
    NAME = "name"
    CHANGE = "change"


KINDS = {
    FrameKind.PYTHON: "#3d8fc6",
    FrameKind.NATIVE: "#2a9d78",
    FrameKind.KERNEL: "#c8702e",
    FrameKind.JIT: "#c3a32f",
    FrameKind.NOTE: "#8a6f86",
}
OWNERS = {Sort.ALL: "#4a5763", Sort.TENANT: "#56657a", Sort.PROCESS: "#64748b"}
_HUES = (
    "#3d8fc6", "#2a9d78", "#c8702e", "#b08d1e", "#a8628a", "#5c7fd0", "#4f9a4a", "#c25b5b",
    "#8a74c9", "#2f97a5",
)  # fmt: skip
FOUND = "#f5d90a"
"""What a search has found: in no other use."""
GREW, SHRANK, SAME = "#d0512a", "#3b82d6", "#7b858f"
LOUD_CHANGE = 0.05
"""A change by so much of the whole has the full colour."""
_DARKER, _FAINT = 0.14, 0.66


def colour(node: Node, colouring: Colouring, shade: int, root: Node) -> str:
    """A box's colour, in one of two shades."""
    if colouring is Colouring.CHANGE:
        base = _changed(round(change(node, root) / LOUD_CHANGE, 2))
    elif node.sort is not Sort.FRAME:
        base = OWNERS[node.sort]
    elif colouring is Colouring.NAME and node.frame.kind is not FrameKind.NOTE:
        base = _HUES[crc32(node.frame.name.encode(errors="surrogatepass")) % len(_HUES)]
    else:
        base = KINDS[node.frame.kind]
    return mixed(base, "#000000", _DARKER) if shade else base


def change(node: Node, root: Node) -> float:
    """By how much of the whole a node has grown since the profile it is compared with, -1 to 1."""
    now = node.total / root.total if root.total else 0.0
    return now - (node.before / root.before if root.before else 0.0)


@cache
def _changed(loudness: float) -> str:
    if abs(loudness) < 0.02:
        return SAME
    return mixed(SAME, GREW if loudness > 0 else SHRANK, min(0.25 + abs(loudness) * 0.75, 1.0))


@cache
def mixed(one: str, other: str, share: float) -> str:
    """A colour between two, by so much of the other; each as `#rrggbb`."""
    pairs = zip(_parts(one), _parts(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def faint(colour: str, palette: Palette) -> str:
    """The colour, stepped back into the ground."""
    return mixed(colour, palette.ground, _FAINT)


@cache
def ink(ground: str) -> str:
    """Black or white, whichever is read better on that ground (ITU-R BT.601 luma)."""
    red, green, blue = _parts(ground)
    return "#0b0e11" if 0.299 * red + 0.587 * green + 0.114 * blue > 135 else "#ffffff"


def _parts(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
