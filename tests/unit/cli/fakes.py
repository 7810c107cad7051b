"""A source of made-up snapshots, a second further on at every reading."""

from __future__ import annotations

import time
from typing import Any

from msgspec.structs import replace
from tests.unit.snapshots import make

from cotenant.cli.source import Pair, Source


def fake(count: int = 12, **how: Any) -> Source:
    """A source that says it is the agent's; `how` goes to `make`."""
    seconds = iter(range(1_000_000))

    def take() -> Pair:
        return replace(make(count, next(seconds), **how), unix_s=time.time()), None

    return Source(take, "from the agent (pid 42, iterator)")


def read(count: int = 12, **how: Any):
    """A reading that has rates."""
    source = fake(count, **how)
    source.read()
    return source.read()
