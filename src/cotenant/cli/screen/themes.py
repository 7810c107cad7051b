"""The palettes as themes of textual's, so that its own widgets wear them too."""

from __future__ import annotations

import os

from textual.theme import Theme

from cotenant.cli.palette import DARK, LIGHT, Palette

PALETTES = {"cotenant-dark": DARK, "cotenant-light": LIGHT}
"""Each theme's palette, by its name."""


def themes() -> list[Theme]:
    """The dark and the light theme."""
    return [_theme(name, palette) for name, palette in PALETTES.items()]


def _theme(name: str, palette: Palette) -> Theme:
    """The palette as a theme of textual's, for its own widgets."""
    return Theme(
        name=name,
        primary=palette.calm,
        secondary=palette.head,
        warning=palette.warn,
        error=palette.alarm,
        foreground=palette.text,
        background=palette.ground,
        surface=palette.ground,
        panel=palette.panel,
        dark=palette is DARK,
        variables={
            "footer-background": palette.panel,
            "footer-foreground": palette.head,
            "footer-key-foreground": palette.calm,
            "footer-description-foreground": palette.head,
            "footer-key-background": palette.panel,
            "footer-description-background": palette.panel,
            "scrollbar": palette.dim,
            "scrollbar-background": palette.panel,
        },
    )


def first_theme() -> str:
    """The light one where the terminal says that its ground is light (COLORFGBG, as rxvt does)."""
    ground = os.environ.get("COLORFGBG", "").rpartition(";")[2]
    return "cotenant-light" if ground in ("7", "15") else "cotenant-dark"
