"""Settings as TOML: single values, and a file to begin with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from cotenant.config.profile import Profiling
from cotenant.config.settings import NamedTenant, Setting, described, table_of
from cotenant.config.toml import takes

_HEAD = """\
# cotenant: every setting, at its default. Take the # away to set one.
# Those that are unset show an example. The agent reads this file again when it changes.
"""


def default_file() -> str:
    """Text of a configuration file with every setting in it, each commented out."""
    lines = [_HEAD]
    for one in described():
        if table_of(one.type) is None:
            lines += [*_told(one), ""]
    lines += _profile()
    lines.append("# Tenants with names of your own, as many as you like, each by cgroup or by pid.")
    lines.append("#[[tenant]]")
    lines += [f"{_line(one)}  # {one.description.lower()}" for one in described(NamedTenant)]
    return "\n".join(lines) + "\n"


def _profile() -> Iterator[str]:
    yield "# Continuous profiling."
    yield "#[profile]"
    for one in described(Profiling):
        if table_of(one.type) is None:
            yield from (*_told(one), "")
    for one in described(Profiling):
        inner = table_of(one.type)
        if inner is not None:
            yield f"# {one.description}, as many as you like."
            yield f"#[[profile.{one.key}]]"
            for part in described(inner):
                yield from _told(part)
            yield ""


def _told(one: Setting) -> list[str]:
    return [f"# {one.description}.", f"# Takes {takes(one)}.", _line(one)]


def _line(one: Setting) -> str:
    return f"#{one.key} = {toml_value(one.example if one.default is None else one.default)}"


def toml_value(value: Any) -> str:
    """A value as a configuration file has it; `-` where there is none."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}" if value < 1e6 else f"{value:f}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple):
        return "[" + ", ".join(toml_value(one) for one in value) + "]"
    if isinstance(value, msgspec.Struct):
        return _table(msgspec.structs.asdict(value))
    if isinstance(value, dict):
        return _table(value)
    return str(value)


def _table(fields: dict[str, Any]) -> str:
    parts = [f"{_key(key)} = {toml_value(one)}" for key, one in fields.items() if one is not None]
    return "{" + ", ".join(parts) + "}"


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("-", "_").isidentifier()
    return name if bare else toml_value(name)
