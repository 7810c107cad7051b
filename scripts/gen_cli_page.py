#!/usr/bin/env python3
"""Writes docs/cli.md, the reference of every verb and option, from the commands themselves.

.venv/bin/python scripts/gen_cli_page.py            # write it
.venv/bin/python scripts/gen_cli_page.py --check    # exit 1 where it is not up to date
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from typer.main import get_command

from cotenant.cli.main import EXIT_CODES, VERBS, app, load

PAGE = Path(__file__).resolve().parent.parent / "docs/cli.md"

HEAD = """\
# Commands

<!-- Written by scripts/gen_cli_page.py from the commands themselves: `make generate`. -->

A verb that meters asks the running agent, and senses by itself where none runs; it says which on
stderr. stdout carries data, stderr talk: an error is one sentence and, after a blank line, a
`hint:` with what to type next. Colour only on a terminal, and never with `NO_COLOR` set.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD, _table(("exit code", "means"), [(str(c), m) for c, m in EXIT_CODES.items()])]
    whole = get_command(app)
    parts.append(_section("cotenant", whole, "cotenant [--version] [--debug] VERB ...", 2))
    verbs = [(f"[`{verb}`](#cotenant-{verb})", line) for verb, line in VERBS.items()]
    parts.append(_table(("verb", "does"), verbs))
    for verb in VERBS:
        command = load(verb)
        for name, one, depth in _commands(f"cotenant {verb}", command, 2):
            parts.append(_section(name, one, _usage(name, one), depth))
    return "\n".join(parts)


def _commands(name: str, command: Any, depth: int) -> Iterator[tuple[str, Any, int]]:
    """The command and, where it has verbs of its own, each of these."""
    yield name, command, depth
    for inner, one in getattr(command, "commands", {}).items():
        yield from _commands(f"{name} {inner}", one, depth + 1)


def _section(name: str, command: Any, usage: str, depth: int) -> str:
    lines = [f"{'#' * depth} {name}", "", f"```\n{usage}\n```", ""]
    if command.help:
        lines += [inspect.cleandoc(command.help).replace("\b\n", ""), ""]
    rows = [row for parameter in command.params if (row := _option(parameter, command, name))]
    if rows:
        lines.append(_table(("option", "means", "default"), rows))
    return "\n".join(lines)


def _usage(name: str, command: Any) -> str:
    words = [name]
    if getattr(command, "commands", None):
        return f"{name} {'|'.join(command.commands)} ..."
    if any(parameter.param_type_name == "option" for parameter in command.params):
        words.append("[OPTION ...]")
    words += [_metavar(p, command, name) for p in command.params if p.param_type_name == "argument"]
    return " ".join(words)


def _option(parameter: Any, command: Any, name: str) -> tuple[str, str, str] | None:
    """Option, meaning and default; None for what every command has."""
    if parameter.name in ("help", "install_completion", "show_completion"):
        return None
    spelt = ", ".join(f"`{word}`" for word in (*parameter.opts, *parameter.secondary_opts))
    flag = getattr(parameter, "is_flag", False)
    if parameter.param_type_name == "argument":
        spelt = f"`{_metavar(parameter, command, name)}`"
    elif not flag:
        spelt += f" `{_metavar(parameter, command, name)}`"
    default = parameter.default
    told = "" if flag or default in (None, [], ()) or callable(default) else f"`{_plain(default)}`"
    return spelt, parameter.help or "", told


def _metavar(parameter: Any, command: Any, name: str) -> str:
    context = command.make_context(name, [], resilient_parsing=True)
    return str(parameter.make_metavar(ctx=context))


def _plain(default: Any) -> str:
    return str(getattr(default, "value", default))


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Writes the page, or says whether it is what it would write."""
    made = page()
    if "--check" in sys.argv[1:]:
        if PAGE.exists() and PAGE.read_text() == made:
            return 0
        print(f"{PAGE.name} is not what the commands say.", file=sys.stderr)
        return 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(made)
    print(PAGE)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
