"""The colours: few, safe for colour-blind eyes, never the only sign of anything.

Blue, orange and vermilion after Okabe and Ito, each in a shade for dark and one for light ground.
"""

from __future__ import annotations

from msgspec import Struct

from cotenant.cli.figures import Figures
from cotenant.model import Kind

WARN_SHARE = 0.80
ALARM_SHARE = 0.95
"""From these shares of a limit on, a bar is orange, then vermilion."""

THROTTLED_SHARE = 0.05
"""From this share of held-back periods on, the figure is orange."""

SLOW_NS, SLOWEST_NS = 1e6, 2e6
"""From these p99 of waits on, orange and vermilion: where findings begin, see noise/verdict.py."""


class Palette(Struct, frozen=True):
    """Styles as rich writes them, by what they mean."""

    ground: str
    text: str
    dim: str
    head: str
    calm: str
    warn: str
    alarm: str
    cursor: str
    panel: str
    track: str
    kinds: dict[Kind, str]


DARK = Palette(
    ground="#101418",
    text="#d7dde3",
    dim="#6f7a86",
    head="#9fb0c0",
    calm="#56b4e9",
    warn="#e69f00",
    alarm="#ff7a45",
    cursor="#24405a",
    panel="#1a2128",
    track="#333e48",
    kinds={
        Kind.CONTAINER: "#56b4e9",
        Kind.VM: "#cc79a7",
        Kind.SERVICE: "#8fbf9f",
        Kind.CGROUP: "#9fb0c0",
        Kind.HOST: "#d7dde3",
        Kind.UNKNOWN: "#e69f00",
    },
)

LIGHT = Palette(
    ground="#fbfbf8",
    text="#1b2126",
    dim="#7d868e",
    head="#46525c",
    calm="#0072b2",
    warn="#a86400",
    alarm="#c33c00",
    cursor="#cfe3f3",
    panel="#eceeec",
    track="#cdd3d6",
    kinds={
        Kind.CONTAINER: "#0072b2",
        Kind.VM: "#9c3d73",
        Kind.SERVICE: "#2f7a4f",
        Kind.CGROUP: "#46525c",
        Kind.HOST: "#1b2126",
        Kind.UNKNOWN: "#a86400",
    },
)

TERMINAL = Palette(
    ground="default",
    text="default",
    dim="bright_black",
    head="bold",
    calm="cyan",
    warn="yellow",
    alarm="bold red",
    cursor="reverse",
    panel="default",
    track="bright_black",
    kinds={
        Kind.CONTAINER: "cyan",
        Kind.VM: "magenta",
        Kind.SERVICE: "green",
        Kind.CGROUP: "default",
        Kind.HOST: "bold",
        Kind.UNKNOWN: "yellow",
    },
)
"""The terminal's own colours, for a table that stays in its scrollback."""

SIGNS = {
    Kind.CONTAINER: "■",
    Kind.VM: "◆",
    Kind.SERVICE: "●",
    Kind.CGROUP: "○",
    Kind.HOST: "▲",
    Kind.UNKNOWN: "?",
}
"""The sign before a name that tells its kind."""


def style(palette: Palette, key: str, figure: float | None, row: Figures) -> str:
    """The style of a figure in a column: dim for none and zero, louder towards a limit."""
    if not figure:
        return palette.dim
    if key in ("share", "memory"):
        share = row.memory_share
        if share is not None and share >= WARN_SHARE:
            return palette.alarm if share >= ALARM_SHARE else palette.warn
    if key in ("wait", "worst") and row.wait_p99_ns is not None and row.wait_p99_ns >= SLOW_NS:
        return palette.alarm if row.wait_p99_ns >= SLOWEST_NS else palette.warn
    if key == "throttled" and figure >= THROTTLED_SHARE:
        return palette.warn
    return palette.calm if key == "share" else palette.text
