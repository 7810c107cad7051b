"""The command itself: finds the verb, runs it, and turns what went wrong into words.

Each verb is a module of its own name beside this one, imported when it is called: a function of
that name (typer reads its arguments from the signature), or a `typer.Typer` named `app` where a
verb has verbs of its own. stdout is data, stderr is talk.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from cotenant import __version__
from cotenant.cli import talk
from cotenant.cli.talk import say_error
from cotenant.errors import CotenantError, UsageError

VERBS = {
    "top": "Live table of what every tenant of this host uses.",
    "noise": "Who makes whom wait for a CPU: noisy neighbours, in time and by name.",
    "profile": "Where the time goes: a flame graph of any tenant or of the whole host.",
    "metrics": "Every tenant's counters once, as text, Prometheus or JSON.",
    "agent": "The daemon: samples every second, serves /metrics and the other verbs.",
    "check": "What this host offers, what is missing, and what to do about it.",
    "config": "The settings in force and where each comes from.",
    "demo": "A few tenants to look at: demo up, demo down.",
    "bench": "Measure cotenant and its peers on this host, side by side.",
}
"""Every verb and its line in `cotenant --help`, in the order shown there."""

EXIT_CODES = {
    0: "done",
    1: "something failed",
    2: "the words of the command or of a file are off",
    3: "this host lacks something that is needed",
}


class Verbs(TyperGroup):
    """The verbs as a group that imports one only when it is called for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names in the order of VERBS; imports nothing."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The verb as typer's command, or None where there is no such verb."""
        return load(cmd_name) if cmd_name in VERBS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb named first; one that is not there raises UsageError with the nearest."""
        if args[0] not in VERBS and not args[0].startswith("-"):
            near = get_close_matches(args[0], VERBS, 1, 0.5)
            raise UsageError(
                f"There is no verb {args[0]!r}.", f"cotenant {near[0] if near else '--help'}"
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of verbs and of exit codes."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES.items()])


app = typer.Typer(cls=Verbs, add_completion=False, rich_markup_mode=None)


def load(verb: str) -> Any:
    """The verb's command, its module imported just now."""
    module = import_module(f"cotenant.cli.{verb}")
    verbs = getattr(module, "app", None)
    if verbs is None:
        verbs = typer.Typer(add_completion=False, rich_markup_mode=None)
        verbs.command(verb)(getattr(module, verb))
    command = get_command(verbs)
    command.name = verb
    return command


def _version(asked: bool) -> None:
    if asked:
        print(f"cotenant {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            help="Show the traceback of a failure, and what libbpf says; any place will do.",
        ),
    ] = False,
) -> None:
    """Meters the tenants of one Linux host: containers, pods, microVMs and services.

    A verb asks the running agent, and senses by itself where none runs. What it prints on stdout
    is data; it talks on stderr.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line (this process's own by default); its exit code, never an exception.

    With `--debug` in it, what went wrong is raised as it is.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    talk.debugging = debug = _take(words, "--debug")
    try:
        code = _run(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _deafen()
        return 0
    except Exception as error:
        if debug:
            raise
        return _explain(error, words)
    return code


def _run(words: list[str]) -> int:
    """Runs the words, gives the exit code; not by typer's own `main`, which prints and exits."""
    command = get_command(app)
    if not words:
        with command.make_context("cotenant", words, resilient_parsing=True) as context:
            print(context.get_help(), file=sys.stderr)
        return 2
    try:
        with command.make_context("cotenant", words) as context:
            return int(command.invoke(context) or 0)
    except typer.Exit as end:
        return end.exit_code


def _explain(error: Exception, words: list[str]) -> int:
    """Says on stderr what went wrong and what to type next; the exit code for it."""
    if isinstance(error, CotenantError):
        say_error(str(error), error.hint)
        return error.exit_code
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        say_error(_sentence(error.format_message()), _help_for(context) if context else None)
        return error.exit_code
    if isinstance(error, typer.Abort):
        return 130
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        say_error(f"{place}{error.strerror}.", None)
        return 1
    say_error(
        f"This is a fault in cotenant itself: {type(error).__name__}: {error}.",
        " ".join(["cotenant", "--debug", *words]),
    )
    return 1


def _sentence(message: str) -> str:
    """Typer's message as one of our own sentences: on one line, with a full stop."""
    return " ".join(message.split()).rstrip(".") + "."


def _help_for(context: Any) -> str:
    return f"{context.command_path} --help"


def _take(words: list[str], flag: str) -> bool:
    """Takes the flag out of the words, wherever it stands before `--`; whether it was there."""
    end = words.index("--") if "--" in words else len(words)
    if flag not in words[:end]:
        return False
    words.remove(flag)
    return True


def _deafen() -> None:
    """Points stdout at nothing, so that Python's own flush at exit does not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
