"""A strict reader of the Prometheus text format: refuses what the format does not allow."""

from __future__ import annotations

import re
from typing import NamedTuple

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_ESCAPES = {"\\": "\\", '"': '"', "n": "\n"}


class Line(NamedTuple):
    name: str
    labels: dict[str, str]
    value: str


class Read(NamedTuple):
    lines: list[Line]
    types: dict[str, str]
    helps: dict[str, str]

    def of(self, name: str, /, **labels: str) -> list[Line]:
        """Lines of that name that carry these labels; an empty value means: without the label."""
        return [
            line
            for line in self.lines
            if line.name == name
            and all(line.labels.get(label, "") == value for label, value in labels.items())
        ]

    def value(self, name: str, /, **labels: str) -> str:
        (line,) = self.of(name, **labels)
        return line.value


def read(page: bytes) -> Read:
    text = page.decode("utf-8")
    assert text.endswith("\n"), "the last line must end"
    lines: list[Line] = []
    types: dict[str, str] = {}
    helps: dict[str, str] = {}
    seen: set[tuple[str, frozenset[tuple[str, str]]]] = set()
    for row in text[:-1].split("\n"):
        if row.startswith("# HELP "):
            name, help_text = row[7:].split(" ", 1)
            assert name not in helps, f"two HELP lines for {name}"
            helps[name] = help_text
        elif row.startswith("# TYPE "):
            name, kind = row[7:].split(" ")
            assert kind in ("counter", "gauge", "histogram")
            assert name not in types and name in helps, f"TYPE of {name} twice or before its HELP"
            types[name] = kind
        else:
            line = _line(row)
            family = list(types)[-1]
            assert line.name in _names(family, types), f"{line.name} stands outside its family"
            key = (line.name, frozenset(line.labels.items()))
            assert key not in seen, f"twice: {row}"
            seen.add(key)
            lines.append(line)
    written = {line.name for line in lines}
    assert all(_names(name, types) <= written for name in types), "a family without a line"
    return Read(lines, types, helps)


def _names(family: str, types: dict[str, str]) -> set[str]:
    """Names of the lines that a family has."""
    if types[family] != "histogram":
        return {family}
    return {f"{family}_bucket", f"{family}_sum", f"{family}_count"}


def _line(row: str) -> Line:
    match = _NAME.match(row)
    assert match, row
    at = match.end()
    labels: dict[str, str] = {}
    if row[at] == "{":
        at += 1
        while row[at] != "}":
            label = _LABEL.match(row, at)
            assert label and label.group() not in labels, row
            assert row[label.end() : label.end() + 2] == '="', row
            value, at = _quoted(row, label.end() + 2)
            assert value, f"an empty label: {row}"
            labels[label.group()] = value
            assert row[at] in ",}", row
            if row[at] == ",":
                at += 1
                assert row[at] != "}", row
        at += 1
    assert row[at] == " ", row
    assert _NUMBER.fullmatch(row[at + 1 :]), row
    return Line(match.group(), labels, row[at + 1 :])


def _quoted(row: str, at: int) -> tuple[str, int]:
    value = ""
    while row[at] != '"':
        if row[at] == "\\":
            at += 1
            value += _ESCAPES[row[at]]
        else:
            value += row[at]
        at += 1
    return value, at + 1
