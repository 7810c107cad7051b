"""Runs Python as another user, wherever the checkout lies.

A checkout in root's home is closed to everyone else. So the child sees it, and its virtual
environment, at /mnt, in a mount namespace of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
SEEN_AT = Path("/mnt/tree")
_ENTER = """
mount -t tmpfs -o mode=755 ordinary /mnt && mkdir /mnt/tree /mnt/venv &&
mount --bind "$1" /mnt/tree && mount --bind "$2" /mnt/venv && shift 2 && cd / && exec "$@"
"""


def python_as(setpriv: Sequence[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `python ARGUMENTS` under setpriv(1) with the words given; files lie below SEEN_AT."""
    return subprocess.run(
        [
            "unshare", "--mount", "--propagation", "private",
            "sh", "-c", _ENTER, "sh", str(CHECKOUT), sys.prefix,
            "setpriv", *setpriv, "/mnt/venv/bin/python", *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=180,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": "/mnt/tree/src"},
    )  # fmt: skip
