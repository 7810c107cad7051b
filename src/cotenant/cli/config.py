"""`cotenant config show|check|path|default`: the settings in force and where each comes from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from cotenant.cli.talk import say
from cotenant.config import DEFAULT_PATH, Settings, described, load
from cotenant.config.read import text_of
from cotenant.config.settings import is_array, table_of
from cotenant.config.write import default_file, toml_value
from cotenant.errors import ConfigError

app = typer.Typer(add_completion=False, rich_markup_mode=None)

File = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help=f"Instead of {DEFAULT_PATH}.")
]


@app.callback(invoke_without_command=True)
def verbs(context: typer.Context) -> None:
    """The settings in force and where each comes from; `show` where no verb is given."""
    if context.invoked_subcommand is None:
        show()


@app.command()
def show(
    config: File = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Every setting: its value, and the line of the file it comes from."""
    settings = load(config)
    rows = list(_rows(settings))
    if json_:
        found = {key: {"value": value, "source": source} for key, value, source in rows}
        print(msgspec.json.encode(found).decode())
        return
    texts = [(key, toml_value(value), source) for key, value, source in rows]
    wide = [max(len(row[column]) for row in texts) for column in (0, 1)]
    for key, text, source in texts:
        print(f"{key:{wide[0]}}  {text:{wide[1]}}  {source}")


def _rows(settings: Settings) -> Iterator[tuple[str, Any, str]]:
    """Key, value and source of each setting; a table that stands once is told part by part."""
    for one in described():
        value, inner = getattr(settings, one.field), table_of(one.type)
        if inner is None or is_array(one.type):
            yield one.key, value, settings.sources[one.field]
            continue
        for part in described(inner):
            name = f"{one.field}.{part.field}"
            yield f"{one.key}.{part.key}", getattr(value, part.field), settings.sources[name]


@app.command()
def check(config: File = None) -> int:
    """Every mistake in the file, each with its line; exit code 2 where there is one."""
    from cotenant.config.toml import check as check_text

    text = text_of(config)
    if text is None:
        say(f"cotenant: there is no {DEFAULT_PATH}: all settings have their defaults")
        return 0
    name = config or DEFAULT_PATH
    problems = check_text(text, Settings).problems
    for line, sentence in problems:
        print(f"{name}:{line}: {sentence}" if line else f"{name}: {sentence}")
    if not problems:
        say(f"cotenant: {name} is in order")
    return ConfigError.exit_code if problems else 0


@app.command()
def path(config: File = None) -> None:
    """The file that is read, whether or not it is there."""
    print(config or DEFAULT_PATH)


@app.command()
def default() -> None:
    """A file with every setting at its default, to begin with."""
    sys.stdout.write(default_file())
