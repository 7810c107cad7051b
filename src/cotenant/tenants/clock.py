"""Times as runtimes write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_FRACTION = re.compile(r"(\.\d{1,6})\d*")


def unix_time(value: object) -> float | None:
    """RFC 3339 (`2026-11-22T00:04:19.667Z`) as Unix time; None for Go's year 1 or nonsense."""
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        when = datetime.fromisoformat(_FRACTION.sub(r"\1", value))
        if when.year < 1971:
            return None
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
