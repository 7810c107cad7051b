"""How far a long work is: a line that renews itself on a terminal, and a few in a log."""

from __future__ import annotations

import sys
import time

PERIOD_SECONDS = 10.0
"""At most one line in so long a time where no person looks."""


class Progress:
    """Shows `WHAT DONE/ALL` on stderr; give it as the callback. `end` closes the line."""

    def __init__(self, what: str = "") -> None:
        self.what = what
        self._live = sys.stderr.isatty()
        self._open = False
        self._said_at = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` are done."""
        line = f"{self.what} {done}/{total}"
        if self._live:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
            self._open = True
            if done >= total:
                self.end()
        elif time.monotonic() - self._said_at > PERIOD_SECONDS and done < total:
            print(line, file=sys.stderr, flush=True)
            self._said_at = time.monotonic()

    def end(self) -> None:
        """End the line that renews itself, so that the next words stand on a line of their own."""
        if self._open:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._open = False
