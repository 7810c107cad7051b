"""The parts of a benchmark: each may fail without the rest, and the one who waits is told."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from msgspec import Struct

from cotenant.bench.form import Result
from cotenant.bench.turns import Progress
from cotenant.errors import CotenantError


class Told(Struct, frozen=True):
    """How the one who waits is kept informed: sentences, and a line of progress for each stage."""

    say: Callable[[str], None]
    progress: Callable[[str], Progress]


@contextlib.contextmanager
def stage(name: str, result: Result) -> Iterator[None]:
    """A part that may fail without the rest: the reason goes to `skipped`."""
    try:
        yield
    except (CotenantError, OSError) as error:
        result.skip(name, str(error))
