"""The live page of `noise`: drawn anew every second until q or Ctrl-C."""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live

from cotenant.cli.noise_page import Frame, page
from cotenant.cli.noise_source import NoiseSource
from cotenant.cli.talk import colourful
from cotenant.noise.verdict import SPAN

QUIT = (b"q", b"Q", b"\x03", b"\x04", b"")
PAUSE_S = 1.0
"""Windows are judged by the second."""
FIRST_S = 0.3
"""The first page comes so soon, as nobody likes an empty screen."""


def run(source: NoiseSource) -> None:
    """Show the last seconds until the reader leaves."""
    console = Console(no_color=not colourful(sys.stdout), highlight=False)
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        pause = FIRST_S
        try:
            while not pressed.wait(pause):
                pause = PAUSE_S
                source.look()
                size = console.size
                frame = Frame(size.width, source.how, size.height, "q quits")
                live.update(page(source.last(SPAN), frame), refresh=True)
        except KeyboardInterrupt:
            return


@contextmanager
def _keys() -> Iterator[threading.Event]:
    """An event that is set once the reader wants to leave; the terminal is given back as it was."""
    pressed, over = threading.Event(), threading.Event()
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)

    def read() -> None:
        while not over.is_set() and not pressed.is_set():
            ready, _, _ = select.select([number], [], [], 0.1)
            if ready and os.read(number, 1) in QUIT:
                pressed.set()

    reader = threading.Thread(target=read, daemon=True)
    try:
        tty.setcbreak(number)
        reader.start()
        yield pressed
    finally:
        over.set()
        reader.join(1)
        termios.tcsetattr(number, termios.TCSADRAIN, before)
