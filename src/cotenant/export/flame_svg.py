"""A profile as a picture: an icicle in one SVG, which needs no script and loads nothing.

Callers are above, tenants side by side, heaviest first. Boxes too narrow to be seen are left out.
A box's title, shown when the pointer rests on it, tells name, place, weight and share.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import NamedTuple

from cotenant.export.flame import Node, grow
from cotenant.export.flame_html import title_of
from cotenant.export.visible import visible
from cotenant.model import COMPLETE, Profile

WIDTH, MARGIN, ROW, HEAD = 1400, 12, 18, 60
LEAST = 0.4
"""Narrowest box that is drawn, in px."""
LETTER = 6.7
"""Width of a letter of the labels, in px: they are in a font whose letters are alike."""
MAX_DEPTH = 400

STYLE = """
svg { background: #fbfbfa; font: 11px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace }
text { fill: #14171a; unicode-bidi: isolate; pointer-events: none }
.title { font: 600 17px system-ui, 'DejaVu Sans', sans-serif }
.facts { font: 12px system-ui, 'DejaVu Sans', sans-serif; fill: #626a73 }
rect { stroke: #fbfbfa; stroke-width: .5 } g:hover > rect { stroke: #101418; stroke-width: 1.5 }
.root, .tenant, .process { fill: #bcc0c9 } .note { fill: #c9c9c9 }
.kernel { fill: #f0a08c } .native { fill: #f3d998 } .python { fill: #9cc1ee } .jit { fill: #a7dcbc }
.odd { fill-opacity: .8 }
@media (prefers-color-scheme: dark) {
  svg { background: #1b1f24 } text { fill: #f2f4f6 } .facts { fill: #98a1ab }
  rect { stroke: #1b1f24 } g:hover > rect { stroke: #fff }
  .root, .tenant, .process { fill: #434852 } .note { fill: #505050 }
  .kernel { fill: #84382a } .native { fill: #775f1f }
  .python { fill: #2b5485 } .jit { fill: #2d6044 }
}
"""

_SIZES = {
    "nanoseconds": ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns")),
    "bytes": ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")),
}


class _Box(NamedTuple):
    node: Node
    depth: int
    left: float
    width: float


def render(profile: Profile) -> bytes:
    """The picture, its style with it, for light and dark screens."""
    root = grow(profile)
    boxes = list(_boxes(root))
    height = HEAD + (1 + max(box.depth for box in boxes)) * ROW + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" aria-labelledby="title">',
        f"<style>{STYLE}</style>",
        f'<text class="title" id="title" x="{MARGIN}" y="26">{escape(title_of(profile))}</text>',
        f'<text class="facts" x="{MARGIN}" y="45">{escape(_facts(profile, root))}</text>',
        *[_drawn(box, root, profile.unit) for box in boxes],
        "</svg>\n",
    ]
    return "\n".join(parts).encode()


def amount(value: float, unit: str) -> str:
    """A value in the unit that suits its size."""
    for size, word in _SIZES.get(unit, ()):
        if value >= size:
            return (
                f"{value / size:.3g} {word}"
                if value < 1000 * size
                else f"{value / size:,.0f} {word}"
            )
    return f"{value:,}"


def _boxes(root: Node) -> Iterator[_Box]:
    """Every box wide enough to be seen, callers first."""
    scale = (WIDTH - 2 * MARGIN) / (root.total or 1)
    left = [_Box(root, 0, MARGIN, WIDTH - 2.0 * MARGIN)]
    while left:
        box = left.pop()
        yield box
        x = box.left
        for child in box.node.children if box.depth < MAX_DEPTH else ():
            width = child.total * scale
            if width < LEAST:
                break  # heaviest first: no later one is wider
            left.append(_Box(child, box.depth + 1, x, width))
            x += width


def _drawn(box: _Box, root: Node, unit: str) -> str:
    node, y = box.node, HEAD + box.depth * ROW
    name = visible(node.name)
    odd = " odd" if sum(map(ord, name[:40])) % 2 else ""
    rect = (
        f'<rect class="{node.kind}{odd}" x="{box.left:.1f}" y="{y}" '
        f'width="{box.width:.2f}" height="{ROW - 1}" rx="1"/>'
    )
    label = _label(name, int((box.width - 6) / LETTER))
    text = f'<text x="{box.left + 4:.1f}" y="{y + 12.5}">{escape(label)}</text>' if label else ""
    return f"<g><title>{escape(_told(node, name, root, unit))}</title>{rect}{text}</g>"


def _label(name: str, letters: int) -> str:
    """As much of a name as there is room for; wide letters count two."""
    room, kept = letters, 0
    for letter in name:
        room -= 1 if ord(letter) < 0x1100 else 2
        if room < 0:
            break
        kept += 1
    if kept == len(name):
        return name
    return f"{name[: kept - 1]}…" if kept > 2 else ""


def _told(node: Node, name: str, root: Node, unit: str) -> str:
    share = node.total / (root.total or 1)
    lines = [f"{name} ({node.kind})"]
    if node.frame:
        place = f"{node.frame.file}:{node.frame.first_line}" if node.frame.file else ""
        lines += [visible(part) for part in (place, node.frame.module) if part]
    lines.append(f"{amount(node.total, unit)}, {share:.2%}; self {amount(node.own, unit)}")
    return "\n".join(lines)


def _facts(profile: Profile, root: Node) -> str:
    complete = profile.ends.get(COMPLETE, 0) / (root.count or 1)
    facts = [
        f"{profile.seconds:.3g} s",
        f"{root.count:,} samples",
        amount(root.total, profile.unit),
    ]
    facts.append(f"unwound fully {complete:.1%}")
    if profile.lost.dropped:
        facts.append(f"dropped {profile.lost.dropped:,}")
    return " · ".join(facts)
