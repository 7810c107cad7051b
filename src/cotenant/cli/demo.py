"""`cotenant demo up|down`: a few tenants to look at, on a host that has none."""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from cotenant.cli.progress import Progress
from cotenant.cli.talk import say
from cotenant.demo.loads import SHOWCASE
from cotenant.demo.show import By, Party
from cotenant.demo.show import down as take_down
from cotenant.demo.show import up as set_up
from cotenant.errors import UsageError

MOST = 1000
"""Dummies that `demo up` starts at most; a slip of the finger must not fill the host."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def demo() -> None:
    """A few tenants to look at: through Docker where it runs, as plain cgroups where not."""


@app.command()
def up(
    number: Annotated[
        int | None,
        typer.Option(
            "-n", "--number", min=1, max=MOST, help="So many idle ones, not the showcase."
        ),
    ] = None,
    noisy: Annotated[
        bool,
        typer.Option(
            "--noisy", help="Two CPU burners and one that waits for them: see `cotenant noise`."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Start without asking.")] = False,
    docker: Annotated[bool, typer.Option("--docker", help="As containers, or not at all.")] = False,
    cgroups: Annotated[bool, typer.Option("--cgroups", help="As plain cgroups.")] = False,
    as_json: Json = False,
) -> None:
    """Start demo tenants: a CPU hog, a memory user, a disk writer and a chatty pair.

    Those that run already are left alone. `cotenant demo down` removes them all.
    """
    if docker and cgroups:
        raise UsageError("--docker and --cgroups exclude each other", "cotenant demo up --help")
    if noisy and number is not None:
        raise UsageError("--noisy and --number exclude each other", "cotenant demo up --noisy")
    if not yes:
        if not _agreed("noisy" if noisy else number):
            say("Nothing started.")
            return
        number = None if noisy else _asked(number)
    by: By | None = "docker" if docker else "cgroups" if cgroups else None
    progress = Progress("starting demo tenants")
    try:
        party = set_up(number, by, say, progress, noisy=noisy)
    except KeyboardInterrupt:
        progress.end()
        say("Interrupted. What was started goes with: cotenant demo down")
        raise
    finally:
        progress.end()
    _report(party, as_json)
    if noisy and not as_json:
        say("Who makes whom wait: sudo cotenant noise")


@app.command()
def down(as_json: Json = False) -> None:
    """Remove every demo tenant, also those that a crash left behind."""
    progress = Progress("removing demo tenants")
    try:
        removed = take_down(progress)
    finally:
        progress.end()
    if as_json:
        print(msgspec.json.encode({"removed": removed}).decode())
    elif removed:
        print(f"Removed {len(removed)} demo tenants.")
    else:
        print("No demo tenants here.")


def _agreed(number: int | str | None) -> bool:
    """What the person answers; where no person is to be asked, UsageError."""
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask on", "cotenant demo up --yes")
    what = "some" if number is None else str(number)
    question = f"Do you want to start {what} demo tenants? (y/N) "
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _asked(number: int | None) -> int | None:
    """How many idle ones the person wants; None for the showcase."""
    while number is None:
        question = f"How many idle ones? (Enter: {len(SHOWCASE)} that each do something) "
        print(question, end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline().strip()
        if not answer:
            return None
        if answer.isdecimal() and 1 <= int(answer) <= MOST:
            return int(answer)
        say(f"A number from 1 to {MOST}, please.")
    return number


def _report(party: Party, as_json: bool) -> None:
    """Print what runs now; on stderr, what could not be started and how to be rid of it all."""
    if as_json:
        print(msgspec.json.encode(party).decode())
        return
    for sentence in party.skipped:
        say(f"Not started: {sentence}")
    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for head in ("tenant", "as", "does"):
        shown.add_column(head)
    for each in party.started:
        shown.add_row(each.name, each.by, each.does)
    if party.started:
        Console().print(shown)
    if party.already:
        say(f"{len(party.already)} of them ran already.")
    say("They go with: cotenant demo down")
