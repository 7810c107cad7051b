"""What every full screen of ours shares: colours, and an end that tells what went wrong."""

from __future__ import annotations

import os
import sys

from textual.app import App

from cotenant.cli.palette import DARK, Palette
from cotenant.cli.screen.themes import PALETTES, first_theme, themes


class FullScreen(App[None]):
    """An application in our palette that leaves its errors to whoever opened it (`open_screen`)."""

    ENABLE_COMMAND_PALETTE = False

    def __init__(self) -> None:
        super().__init__()
        self.animation_level = "none"

    @property
    def palette(self) -> Palette:
        """The colours in force."""
        return PALETTES.get(self.theme, DARK)

    def wear(self) -> None:
        """Take up the colours."""
        for theme in themes():
            self.register_theme(theme)
        self.theme = first_theme()

    @property
    def fault(self) -> Exception | None:
        """What ended the screen, where that was not the reader."""
        return self._exception

    def _fatal_error(self) -> None:
        """Ends the screen without textual's own traceback: `open_screen` raises what went wrong."""
        self._close_messages_no_wait()


def open_screen(app: FullScreen) -> None:
    """Shows it until the reader leaves; raises what else ended it."""
    if not sys.stderr.isatty():  # textual draws there, and the screen is at stdout
        os.dup2(sys.stdout.fileno(), sys.stderr.fileno())
    app.run()
    if app.fault is not None:
        raise app.fault
