"""How a name and a figure look on screen: the one place that makes both safe and short.

None is a dash, a measured zero is `0`: nobody takes one for the other.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from rich.cells import cell_len, set_cell_size

DASH = "\u2013"
"""Stands for what was not measured."""

BARS = "▁▂▃▄▅▆▇█"
"""Eighths of a cell, upright."""

_SAFE = re.compile(r"[ -~]*")
_UNITS = "KMGTPE"
_LEFT_TO_RIGHT_MARK = "\u200e"
_MOST_MARKS = 2


@lru_cache(maxsize=8192)
def name(text: str, width: int | None = None) -> str:
    r"""The text as one line that cannot touch the screen around it, at most `width` cells long.

    Control characters, line ends, direction overrides, invisible and unassigned characters are
    written as escapes (`\n`, `\u202e`); letters that run from right to left stay, closed by a
    mark that keeps a terminal from turning the figures after them round. Too long: the middle
    goes, as names tell their sort in front and their number at the end; of a path the beginning,
    as what lies in one slice is told apart by its own name.
    """
    if not text.strip():
        text = repr(text)
    if not _SAFE.fullmatch(text):
        text = _tamed(text)
    if width is None or cell_len(text) <= width:
        return text
    if 2 < cell_len(text[text.rfind("/") :]) < width:
        return f"…{_end(text, width - 1)}"
    return shorten(text, width)


def shorten(text: str, width: int) -> str:
    """The text in at most `width` cells, its middle replaced by `…` where it is too long."""
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    tail_width = (width - 1) // 3
    head = set_cell_size(text, width - 1 - tail_width).rstrip()
    return f"{head}…{_end(text, tail_width)}"


def _end(text: str, width: int) -> str:
    """As much of the end of the text as `width` cells hold."""
    tail = ""
    for character in reversed(text):
        if cell_len(character + tail) > width:
            break
        tail = character + tail
    return tail


def _tamed(text: str) -> str:
    """The text with every character that does more than to stand in its cell written out."""
    kept: list[str] = []
    marks = 0
    rightward = False
    for character in unicodedata.normalize("NFC", text):
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if category[0] == "C" or category in ("Zl", "Zp"):
            kept.append(character.encode("unicode_escape").decode("ascii"))
        elif category == "Zs":
            kept.append(" ")
        elif unicodedata.name(character, "").startswith("VARIATION SELECTOR"):
            continue  # terminals disagree on how wide they make the character before
        elif marks <= _MOST_MARKS:
            kept.append(character)
            rightward = rightward or unicodedata.bidirectional(character) in ("R", "AL")
    return "".join(kept) + (_LEFT_TO_RIGHT_MARK if rightward else "")


def amount(value: float | None) -> str:
    """Bytes in at most 5 cells: `0`, `980`, `1.5K`, `12M`, `1023M`, `2.0G` (1 K = 1024)."""
    if value is None:
        return DASH
    if value < 0:
        return f"-{amount(-value)}"
    if value == 0:
        return "0"
    if value < 1023.5:
        return "<1" if value < 0.5 else f"{value:.0f}"
    for unit in _UNITS:
        value /= 1024
        if value < 9.95:
            return f"{value:.1f}{unit}"
        if value < 1023.5:
            return f"{value:.0f}{unit}"
    return f"{value:.0f}{_UNITS[-1]}"


def percent(share: float | None) -> str:
    """A share of one in hundredths: `0`, `<0.1`, `3.2`, `187`; of cores: 100 is one core."""
    if share is None:
        return DASH
    value = share * 100
    if value == 0:
        return "0"
    if 0 < value < 0.05:
        return "<0.1"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def count(value: float | None) -> str:
    """A number of things in at most 5 cells: `0`, `42`, `9999`, `12k`, `3.4M` (1 k = 1000)."""
    if value is None:
        return DASH
    if value < 9999.5:
        return f"{value:.0f}" if value == int(value) or value >= 99.95 else f"{value:.1f}"
    for unit in "kMGTP":
        value /= 1000
        if value < 9.95:
            return f"{value:.1f}{unit}"
        if value < 999.5:
            return f"{value:.0f}{unit}"
    return f"{value:.0f}P"


def duration(seconds: float | None) -> str:
    """A time in its two largest units: `0 s`, `3.2 ms`, `1.5 s`, `4 min 10 s`, `2 d 3 h`."""
    if seconds is None:
        return DASH
    if seconds == 0:
        return "0 s"
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (60.0, 1.0, "s")):
        if seconds < limit:
            return f"{seconds * factor:.1f} {unit}"
    whole = int(seconds)
    for size, unit, part, small in ((3600, "min", 60, "s"), (86400, "h", 3600, "min")):
        if whole < size:
            return f"{whole // part} {unit} {whole % part // (part // 60)} {small}"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def meter(share: float | None, width: int) -> str:
    """A bar of `width` cells filled by the share, in halves of a cell; blank for None."""
    if share is None:
        return " " * width
    halves = round(min(max(share, 0.0), 1.0) * width * 2)
    if share > 0:
        halves = max(halves, 1)
    full, half = divmod(halves, 2)
    return ("━" * full + "╸" * half).ljust(width)


def spark(values: list[float | None], highest: float) -> str:
    """One cell per value, `highest` the tallest; a blank for None, the lowest bar for zero.

    The tallest leaves an eighth free, so that lines above each other do not run together.
    """
    top = len(BARS) - 2
    scale = top / highest if highest > 0 else 0.0
    return "".join(
        " " if value is None else BARS[min(round(value * scale), top)] for value in values
    )
