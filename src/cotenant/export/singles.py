"""Families with few rows, written line by line: about the host, the collection, the agent."""

from __future__ import annotations

from collections.abc import Iterable

from cotenant.export import labels
from cotenant.export.family import Family, Form

Value = tuple[tuple[tuple[str, str | None], ...], int | None]
"""Labels of a row and its value, in the unit of the family's form."""


def lines(one: Family, values: Iterable[Value]) -> bytes:
    """The family's header and a line per value that is not None; nothing when all are None."""
    rows = [(pairs, value) for pairs, value in values if value is not None]
    if not rows:
        return b""
    form = one.series[0].form
    text = [f"\n{one.name}{_braces(pairs)} {number(value, form)}" for pairs, value in rows]
    return one.header() + "".join(text).encode()


def number(value: int, form: Form) -> str:
    """The integer in the form's unit, exactly: 1500000000 ns are `1.500000000`."""
    if form is Form.PLAIN:
        return str(value)
    whole, rest = divmod(value, 10**form.value)
    return f"{whole}.{rest:0{form.value}d}"


def _braces(pairs: tuple[tuple[str, str | None], ...]) -> str:
    text = labels.text(pairs)
    return f"{{{text}}}" if text else ""
