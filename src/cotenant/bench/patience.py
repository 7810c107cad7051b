"""A benchmark ends in the time it promises: a part for which there is none left is not begun."""

from __future__ import annotations

import time

from cotenant.errors import CotenantError


class TimeIsUp(CotenantError):
    """A part was left out, so that the whole ends in time."""


class Patience:
    """So many seconds for everything, from now on."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def need(self, seconds: float) -> None:
        """Raises TimeIsUp when fewer than `seconds` are left."""
        left = self._end - time.monotonic()
        if left < seconds:
            raise TimeIsUp(
                f"It takes {seconds:.0f} s, and of {self._seconds:.0f} s there are "
                f"{max(0.0, left):.0f} left on this busy host.",
                "--most-seconds gives it more",
            )
