"""`cotenant bench NAME`: measure cotenant and its peers on this host, side by side."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from cotenant.bench import meter as metering
from cotenant.bench import noise as sensing
from cotenant.bench import profile as profiling
from cotenant.bench import scale as scaling
from cotenant.bench.form import Result, cell, head, judged, tables
from cotenant.bench.stage import Told
from cotenant.cli.progress import Progress
from cotenant.cli.talk import say
from cotenant.errors import NeedsRoot, UsageError

PIPED_WIDTH = 110

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure cotenant and its peers on this host, side by side; at most 8 minutes by default."""


@app.command()
def meter(
    number: Annotated[
        int, typer.Option("-n", "--number", min=1, max=5000, help="So many idle tenants.")
    ] = 200,
    peers: Annotated[
        str, typer.Option(help="Whom to measure beside it, with commas between; or none.")
    ] = ",".join(metering.PEERS),
    rounds: Annotated[int, typer.Option(min=3, max=1000, help="Turns of each way.")] = 21,
    scale: Annotated[
        str, typer.Option(help="Steps of the scaling, with commas between; or none.")
    ] = ",".join(map(str, scaling.STEPS)),
    agent_seconds: Annotated[
        int, typer.Option(min=0, help="How long the agent is watched; 0: not at all.")
    ] = 45,
    cadvisor_seconds: Annotated[
        int, typer.Option(min=5, help="How long each cAdvisor is watched.")
    ] = 60,
    most_seconds: Annotated[
        int, typer.Option(min=30, help="What would not end by then is left out, and named.")
    ] = 480,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """One collection of n tenants: cotenant, the bare walk in the kernel, and the peers.

    Makes the tenants (containers up to 200 where Docker runs, else plain cgroups) and removes them.
    """
    if os.geteuid():
        raise NeedsRoot("Making tenants needs root.", "sudo cotenant bench meter")
    plan = metering.Plan(
        number=number,
        peers=_peers(peers, metering.PEERS),
        rounds=rounds,
        scale=_steps(scale),
        agent_seconds=agent_seconds,
        cadvisor_seconds=cadvisor_seconds,
        most_seconds=most_seconds,
    )
    _measure(lambda told: metering.run(plan, told), as_json)


@app.command()
def noise(
    peers: Annotated[
        str, typer.Option(help="Whom to measure beside it, with commas between; or none.")
    ] = ",".join(sensing.PEERS),
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Turns of each way.")] = 9,
    slow_rounds: Annotated[
        int, typer.Option(min=0, max=1000, help="Turns of the slow-down; 0: none.")
    ] = 10,
    most_seconds: Annotated[
        int, typer.Option(min=30, help="What would not end by then is left out, and named.")
    ] = 480,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Sensing who waits for whom: what a switch costs, beside peers, and what users feel of it.

    Runs perf bench, and requests next to CPU hogs. Fetching and building peers is not in the time.
    """
    if os.geteuid():
        raise NeedsRoot("Attaching to the scheduler needs root.", "sudo cotenant bench noise")
    plan = sensing.Plan(
        peers=_peers(peers, sensing.PEERS),
        rounds=rounds,
        slow_rounds=slow_rounds,
        most_seconds=most_seconds,
    )
    _measure(lambda told: sensing.run(plan, told), as_json)


@app.command()
def profile(
    peers: Annotated[
        str, typer.Option(help="Whom to measure beside it, with commas between; or none.")
    ] = ",".join(profiling.PEERS),
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Turns of each way.")] = 3,
    window: Annotated[
        float, typer.Option(min=0.5, max=60, help="Seconds of a window of our own line.")
    ] = 4.0,
    tool_seconds: Annotated[
        float, typer.Option(min=0, max=60, help="How long a profiler is watched; 0: none is.")
    ] = 5.0,
    processes: Annotated[
        int, typer.Option(min=0, max=2000, help="Idle ones beside the agent; 0: no agent.")
    ] = 200,
    agent_seconds: Annotated[int, typer.Option(min=1, help="How long the agent is watched.")] = 20,
    most_seconds: Annotated[
        int, typer.Option(min=30, help="What would not end by then is left out, and named.")
    ] = 480,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Where the time goes: what a stack costs and how many are whole, beside other profilers.

    Runs programs to be profiled, in cgroups of their own. Fetching peers is not in the time.
    """
    if os.geteuid():
        raise NeedsRoot("Sampling the host needs root.", "sudo cotenant bench profile")
    plan = profiling.Plan(
        peers=_peers(peers, profiling.PEERS),
        rounds=rounds,
        window_s=window,
        tool_s=tool_seconds,
        processes=processes,
        agent_seconds=agent_seconds,
        most_seconds=most_seconds,
    )
    _measure(lambda told: profiling.run(plan, told), as_json)


def _measure(run: Callable[[Told], Result], as_json: bool) -> None:
    """Run a benchmark and print what it found."""
    start = time.monotonic()
    with _terminated_is_interrupted():
        result = run(Told(say, Progress))
    result.host["took_s"] = round(time.monotonic() - start)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(result)).decode())
    else:
        show(result)


def show(result: Result) -> None:
    """Print the result as tables: first where, then what, last the bars."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
    console.print(", ".join(f"{head(key)} {cell(value)}" for key, value in result.host.items()))
    for part, heads, rows in tables(result.rows):
        console.print()
        console.print(_table([part, *heads[1:]] if heads[0] in ("way", "what") else heads, rows))
    if result.bars:
        console.print()
        heads = ["bar", "measured", "asked", ""]
        console.print(_table(heads, [judged(each) for each in result.bars]))
    for each in result.skipped:
        console.print(f"\nnot measured: {each.name}: {each.reason}")
    console.print(f"\n{result.method}")


def _table(heads: list[str], rows: list[list[str]]) -> Table:
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for number, text in enumerate(heads):
        made.add_column(text, justify="right" if number else "left", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def _peers(words: str, known: Sequence[str]) -> tuple[str, ...]:
    """The peers named; UsageError for one that there is not."""
    names = _words(words)
    for name in names:
        if name not in known:
            raise UsageError(f"there is no peer {name!r}", f"--peers {','.join(known)}")
    return tuple(names)


def _steps(words: str) -> tuple[int, ...]:
    """The steps named, from few to many; UsageError for what is no number of tenants."""
    names = _words(words)
    for name in names:
        if not name.isdecimal() or not 1 <= int(name) <= 20_000:
            raise UsageError(f"{name!r} is no number of tenants", "--scale 10,50,200,1000,5000")
    return tuple(sorted(int(name) for name in names))


def _words(text: str) -> list[str]:
    return [] if text == "none" else [word.strip() for word in text.split(",") if word.strip()]


@contextmanager
def _terminated_is_interrupted() -> Iterator[None]:
    """SIGTERM ends it as Ctrl-C does: with the tenants removed."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
