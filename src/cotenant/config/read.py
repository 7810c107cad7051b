"""Settings from the defaults, a file and flags, the later over the earlier."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from cotenant.config.settings import Setting, Settings, described, is_array, table_of
from cotenant.errors import ConfigError, UsageError

DEFAULT_PATH = Path("/etc/cotenant/config.toml")
LONGEST = 1 << 18
"""Bytes of a file; a longer one is refused rather than read."""


def load(path: Path | None = None, flags: Mapping[str, object] | None = None) -> Settings:
    """Settings from the defaults, the file and `flags` (by field name; None: not given).

    `path` None means the default file, which may be absent. Raises ConfigError where the file is
    wrong, unreadable, or named and absent; UsageError where a flag has a value it cannot take.
    """
    text = text_of(path)
    return parse(text or "", None if text is None else str(path or DEFAULT_PATH), flags)


def text_of(path: Path | None = None) -> str | None:
    """Text of the file; None where no file was named and there is no default one."""
    file = path or DEFAULT_PATH
    try:
        with file.open("rb") as stream:
            raw = stream.read(LONGEST + 1)
    except FileNotFoundError:
        if path is None:
            return None
        raise ConfigError(
            f"There is no configuration file {file}.", f"cotenant config default > {file}"
        ) from None
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise ConfigError(f"Cannot read {file}: {reason}.", f"ls -l {file}") from None
    if len(raw) > LONGEST:
        raise ConfigError(f"{file} is longer than {LONGEST} bytes: that is no configuration.")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{file}:{line}: TOML is UTF-8, and this line is not.") from None


def parse(text: str, name: str | None, flags: Mapping[str, object] | None = None) -> Settings:
    """Settings from the text of a file that errors and `sources` call `name`; raises like load."""
    values, sources = _from_text(text, name or "") if text else ({}, {})
    for inner in _inner_names():
        sources.setdefault(inner, "default")
    for setting in described():
        sources.setdefault(setting.field, "default")
        given = (flags or {}).get(setting.field)
        if given is not None:
            values[setting.key], sources[setting.field] = _flag(setting, given), "flag"
    return msgspec.convert(values | {"sources": sources, "path": name}, Settings)


def _flag(setting: Setting, given: object) -> object:
    try:
        msgspec.convert(given, setting.type)
    except msgspec.ValidationError:
        from cotenant.config.toml import given_words, takes

        flag = f"--{setting.key.removesuffix('_s').replace('_', '-')}"
        raise UsageError(f"{flag} takes {takes(setting)}, not {given_words(given)}.") from None
    return given


def _from_text(text: str, name: str) -> tuple[dict[str, object], dict[str, str]]:
    from cotenant.config.toml import check  # only where there is a file: it costs 15 ms

    found = check(text, Settings)
    if found.problems:
        line, sentence = found.problems[0]
        more = len(found.problems) - 1
        rest = f" ({more} more like it: `cotenant config check` lists all)" if more else ""
        place = f"{name}:{line}" if line else name
        raise ConfigError(f"{place}: {sentence}.{rest}", "cotenant config default")
    sources = {
        key.field: f"{name}:{found.lines[key.key]}"
        for key in described()
        if key.key in found.values
    }
    inside = {one: f"{name}:{found.lines[one]}" for one in _inner_names() if one in found.lines}
    return found.values, sources | inside


def _inner_names() -> Iterator[str]:
    """Names of the settings inside tables that are no arrays: `profile.hz`."""
    for outer in described():
        inner = table_of(outer.type)
        if inner and not is_array(outer.type):
            yield from (f"{outer.field}.{one.field}" for one in described(inner))


def duration(text: str) -> float:
    """Seconds in `500ms`, `60s`, `5m`, `1h` or a bare number. Raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", text.strip(), re.ASCII)
    if not found:
        raise UsageError(f'"{text}" is no length of time.', "write it like 500ms, 60s, 5m or 1h")
    return float(found[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}[found[2] or "s"]
