"""A TOML file as checked values, each with its line; or every mistake in it, each with its line.

tomllib tells no line numbers. They are had from tomllib itself: a file is cut into the shortest
runs of lines that it accepts alone, and each run is one statement (a header, or a key and a value,
however many lines that takes).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple, get_args, get_origin

import msgspec
from msgspec import Struct

from cotenant.config.settings import Setting, described, is_array, table_of

Where = tuple[str | int, ...]


class Problem(NamedTuple):
    """A mistake: the line it is on (0: unknown) and a sentence about it."""

    line: int
    sentence: str


class Checked(NamedTuple):
    """What a file says: values by key, lines by key ("a.b" in a table), what is wrong, by line."""

    values: dict[str, Any]
    lines: dict[str, int]
    problems: list[Problem]


def check(text: str, table: type[Struct]) -> Checked:
    """Reads `text` and holds it against the fields of `table`. Raises nothing."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return Checked({}, {}, [_syntax(str(error), text)])
    except RecursionError:
        return Checked({}, {}, [Problem(0, "too deeply nested")])
    lines = _lines(text)
    problems = sorted(_problems(document, table, (), lines))
    told = {".".join(map(str, at)): line for at, line in lines.items()}
    return Checked(document, {key: told.get(key, 0) for key in document} | told, problems)


def _syntax(message: str, text: str) -> Problem:
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.S)
    if not found:
        return Problem(0, f"not TOML: {message}")
    line = int(found[2]) if found[2] else len(text.splitlines())
    return Problem(line, f"not TOML: {found[1][:1].lower()}{found[1][1:]}")


def _problems(
    document: dict[str, Any], table: type[Struct], where: Where, lines: dict[Where, int]
) -> Iterator[Problem]:
    known = {setting.key: setting for setting in described(table)}
    for key, value in document.items():
        at = (*where, key)
        line = _line(at, lines)
        if key not in known:
            near = get_close_matches(key, known, n=1, cutoff=0.0)[0]
            kind = "key" if where else "setting"
            yield Problem(line, f'unknown {kind} "{_show(at)}"; the nearest is "{near}"')
            continue
        inner, array = table_of(known[key].type), is_array(known[key].type)
        if inner and array and isinstance(value, list) and _are_tables(value):
            for index, one in enumerate(value):
                yield from _entry(one, inner, (*at, index), lines)
        elif inner and not array and isinstance(value, dict):
            yield from _entry(value, inner, at, lines)
        else:
            yield from _value(value, known[key], line, at)


def _entry(
    document: dict[str, Any], table: type[Struct], where: Where, lines: dict[Where, int]
) -> Iterator[Problem]:
    """Mistakes in one table; where its parts are right, in how they go together."""
    found = list(_problems(document, table, where, lines))
    yield from found
    if found:
        return
    line, name = _line(where, lines), _show(where)
    name = f"[[{name}]]" if isinstance(where[-1], int) else f"[{name}]"
    missing = [
        setting.key
        for setting, one in zip(described(table), msgspec.structs.fields(table), strict=True)
        if one.required and setting.key not in document
    ]
    if missing:
        yield Problem(line, f'{name} lacks "{missing[0]}"')
        return
    try:
        msgspec.convert(document, table)
    except msgspec.ValidationError as error:
        yield Problem(line, f"{name} {error}")


def _are_tables(value: list[Any]) -> bool:
    return all(isinstance(one, dict) for one in value)


def _value(value: Any, setting: Setting, line: int, at: Where) -> Iterator[Problem]:
    try:
        msgspec.convert(value, setting.type)
    except msgspec.ValidationError:
        yield Problem(line, f'"{_show(at)}" takes {takes(setting)}, not {given_words(value)}')


def takes(setting: Setting) -> str:
    """What a setting takes, in words: `a number of seconds from 0.1 to 3600`."""
    return setting.form or _words(setting.type, setting.unit)


def _words(kind: Any, unit: str) -> str:
    bare = kind
    limits = ""
    if metas := getattr(kind, "__metadata__", ()):
        bare = kind.__origin__
        least, most = metas[0].ge, metas[0].le
        limits = f" from {least:g} to {most:,.0f}" if most is not None else ""
    options = [one for one in get_args(bare) if one is not type(None)]
    if get_origin(bare) is Literal:
        return "one of " + ", ".join(f'"{one}"' for one in options)
    if get_origin(bare) is tuple:
        return (
            "tables, each under a heading in [[ ]]"
            if table_of(kind)
            else 'a list of texts, ["like", "this"]'
        )
    if bare is float or float in options:
        return f"a number of seconds{limits}" if unit == "s" else f"a number{limits}"
    return "text"


def given_words(value: Any) -> str:
    """A wrong value as its writer would know it again."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value}"[:40]
    if isinstance(value, str):
        short = value if len(value) <= 40 else value[:40] + "..."
        return "the text " + msgspec.json.encode(short).decode()
    if isinstance(value, list):
        odd = next((one for one in value if not isinstance(one, str)), "")
        return "a list" if odd == "" else f"a list with {given_words(odd)} in it"
    return "a table" if isinstance(value, dict) else f"the date {value}"


def _line(at: Where, lines: dict[Where, int]) -> int:
    """The line of a key; of what is around it where the key has none (inline tables); or 0."""
    return next((lines[at[:n]] for n in range(len(at), 0, -1) if at[:n] in lines), 0)


def _show(at: Where) -> str:
    return ".".join(str(step) for step in at if isinstance(step, str))


def _lines(text: str) -> dict[Where, int]:
    """Line of every key and table in a text that tomllib accepts as a whole."""
    lines: dict[Where, int] = {}
    table: Where = ()
    entries: dict[Where, int] = {}
    for line, statement in _statements(text.replace("\r\n", "\n")):
        path = _path(tomllib.loads(statement))
        head = statement.lstrip()
        if head.startswith("["):
            path = table = _opened(path, head.startswith("[["), entries)
        elif path:
            path = (*table, *path)
        for length in range(1, len(path) + 1):
            lines.setdefault(path[:length], line)
    return lines


def _opened(path: Where, array: bool, entries: dict[Where, int]) -> Where:
    """The table that a header opens: after each array on the way, the number of its last entry."""
    table: Where = ()
    for step in path:
        outer = table
        table = (*table, step)
        if table in entries:
            table = (*table, entries[table])
    if array:
        name = (*outer, path[-1])
        entries[name] = entries.get(name, -1) + 1
        table = (*name, entries[name])
    return table


def _path(found: dict[str, Any]) -> Where:
    """The keys of a statement that was parsed alone, outermost first."""
    path: Where = ()
    value: Any = found
    while isinstance(value, dict) and len(value) == 1:
        key, value = next(iter(value.items()))
        path = (*path, key)
    return path


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """First line and text of each statement: the shortest runs of lines that parse alone."""
    run: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        run.append(line)
        # What began on an earlier line can only end in one of these.
        if len(run) > 1 and not any(end in line for end in ("]", '"""', "'''")):
            continue
        with suppress(tomllib.TOMLDecodeError):
            statement = "\n".join(run)
            tomllib.loads(statement)
            yield number - len(run) + 1, statement
            run = []
