"""Samples for a while and shows how far that is; Ctrl-C ends it early, with what there is."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from cotenant.cli.flame.words import nearly
from cotenant.cli.profile_source import Sampler
from cotenant.cli.profile_sum import Sum
from cotenant.cli.progress import Progress
from cotenant.cli.talk import colourful, say
from cotenant.model import Profile

LOOK_S = 0.25
"""Longest time between two looks at what came, and whether the end is asked for."""
TAKE_S = 10.0
"""So often the different stacks of a long time are put together, of which a sense keeps only so
many.
"""
NAMES_S = 60.0
"""Whoever waits for a picture waits no longer than this for debug files."""
LOG_S = 10.0
"""A line so often where no person looks."""


class Ending:
    """Whether the reader wants it to end; the second wish raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        """Take a signal."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def ending() -> Iterator[Ending]:
    """Within it, Ctrl-C and SIGTERM ask for an end instead of being one."""
    asked = Ending()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, asked) for number in signals]
    try:
        yield asked
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def sample(sampler: Sampler, seconds: float, asked: Ending) -> Profile:
    """What was sampled in so many seconds, or until the end was asked for."""
    began = time.monotonic()
    total, due = Sum(), TAKE_S
    with _Bar(seconds) if sys.stderr.isatty() else _Log(seconds) as shown:
        while not asked.asked and (past := time.monotonic() - began) < seconds:
            sampler.wait(min(LOOK_S, seconds - past))
            sampler.step()
            if past >= due:
                due = past + TAKE_S
                total.add(sampler.take())
            shown.told(min(time.monotonic() - began, seconds), counted(sampler))
    early = asked.asked
    if early:
        say("cotenant: ended early; Ctrl-C again ends at once, without a profile")
    sampler.stop()
    total.add(sampler.take())
    if not early:
        _wait_for_names(sampler, asked)
    found = total.profile(sampler.renamed)
    assert found is not None
    return found


def _wait_for_names(sampler: Sampler, asked: Ending) -> None:
    """Gives a debuginfod server its time, until the end is asked for."""
    progress, most = Progress("fetching debug files"), 0
    end = time.monotonic() + NAMES_S
    try:
        while (left := sampler.awaited()) and time.monotonic() < end and not asked.asked:
            most = max(most, left)
            progress(most - left, most)
            time.sleep(LOOK_S)
    finally:
        progress.end()
    if left:
        say(f"cotenant: {left} debug files have not come: names are those that binaries tell")


def counted(sampler: Sampler) -> str:
    """How many samples there are, and how well they were unwound."""
    told = f"{sampler.sampled:,} samples"
    if sampler.sampled:
        told += f", unwound fully {nearly(sampler.complete / sampler.sampled)}"
    return told


class _Log:
    """A line every so often."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._said_at = time.monotonic()

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def told(self, past: float, words: str) -> None:
        """Say how far it is, if it is time to."""
        if time.monotonic() - self._said_at >= LOG_S and past < self._seconds:
            self._said_at = time.monotonic()
            say(f"cotenant: {past:.0f} of {self._seconds:g} s: {words}")


class _Bar(_Log):
    """A bar that grows on the terminal, and goes when it is full."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self._bar = Bar(
            TextColumn("sampling"),
            BarColumn(24),
            TextColumn("{task.completed:.0f} of {task.total:g} s"),
            TextColumn("{task.fields[words]}", style="dim"),
            console=Console(stderr=True, no_color=not colourful(sys.stderr), highlight=False),
            transient=True,
            auto_refresh=False,
        )
        self._task = self._bar.add_task("", total=seconds, words="")

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def told(self, past: float, words: str) -> None:
        """Draw how far it is."""
        self._bar.update(self._task, completed=past, words=words)
        self._bar.refresh()
