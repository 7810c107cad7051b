"""`noise --events`: single long waits as they end, one per line."""

from __future__ import annotations

import select
import sys
import time

from rich.cells import cell_len

from cotenant.cli import show
from cotenant.cli.noise_source import Own
from cotenant.cli.talk import say
from cotenant.model import LongWait
from cotenant.noise.words import duration
from cotenant.web.answers import encoded

LOOK_S = 1.0
"""Names and seats are brought up to date so often."""
HEAD = f"{'AT':<12}  {'VICTIM':<24}  {'WAITED':>7}  {'CULPRIT':<24}  CPU  {'PID':>7}  COMM"


def stream(source: Own, least_ns: int, json: bool, seconds: float | None) -> None:
    """Print them until interrupted, or for so long; at the end tell how many were not told."""
    number = source.tell_events(least_ns)
    end = None if seconds is None else time.monotonic() + seconds
    told = 0
    if not json:
        print(HEAD, flush=True)
    due = time.monotonic() + LOOK_S
    try:
        while end is None or time.monotonic() < end:
            until = due if end is None else min(due, end)
            if number is not None:
                select.select([number], [], [], max(until - time.monotonic(), 0))
            for wait in source.events():
                print(encoded(wait).decode() if json else line(wait))
                told += 1
            sys.stdout.flush()
            if time.monotonic() >= due:
                source.look()
                due += LOOK_S
    finally:
        source.look()
        lost = source.counters().lost.events
        say(
            f"cotenant: single long waits: {told} told; {lost} not told, being over one per "
            "tenant and CPU in 10 ms or faster than they were read"
        )


def line(wait: LongWait) -> str:
    """When, who, how long, for whom, where."""
    return (
        f"{_clock(wait.at_ns)}  {_cell(wait.victim.name, 24)}  {duration(wait.waited_ns):>7}  "
        f"{_cell(wait.culprit, 24)}  {wait.cpu:>3}  {wait.pid:>7}  {show.name(wait.comm, 16)}"
    )


def _clock(at_ns: int) -> str:
    """The time of day, to the millisecond, of a moment on the monotonic clock."""
    unix_ns = time.time_ns() - time.monotonic_ns() + at_ns
    seconds, rest = divmod(unix_ns, 10**9)
    return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{rest // 10**6:03}"


def _cell(name: str, width: int) -> str:
    text = show.name(name, width)
    return text + " " * (width - cell_len(text))
