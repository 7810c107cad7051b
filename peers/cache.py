"""Where the peers that were built or fetched are kept: in the user's cache, never in the tree."""

from __future__ import annotations

import os
from pathlib import Path


def folder() -> Path:
    """The directory of all peers; it may not be there yet."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "cotenant" / "peers"
