"""How a field of a record tells its unit and what it says."""

from __future__ import annotations

from msgspec import Meta

Nanoseconds = int
Bytes = int


def field(unit: str, description: str, label: str = "") -> Meta:
    """Annotation of a field: its unit, what it says in one sentence, and its name in words.

    The name only where the field's own is no word that a reader of the screen knows.
    """
    return Meta(description=description, extra={"unit": unit, "label": label})
