"""What programs in the kernel cost, as they time themselves."""

from __future__ import annotations

from typing import NamedTuple


class Cost(NamedTuple):
    """What one program cost since it was loaded: `ns` is of the `timed` runs only."""

    program: str
    runs: int
    timed: int
    ns: int
