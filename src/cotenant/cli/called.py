"""The command as the reader called it, for every sentence and hint that tells what to type.

Hints are written with the plain name, `cotenant`: they may come from the agent, which was called
otherwise. What is printed here is put right at the last moment.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

NAME = "cotenant"
_TYPED = re.compile(
    r"(?<![\w./-])(sudo )?cotenant"
    r"(?= (?:--|(?:top|noise|profile|metrics|agent|check|config|demo|bench)\b))"
)
_ROOTS_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where sudo looks (sudoers(5), secure_path): not in a virtual environment, nor in a home."""


def as_called(text: str) -> str:
    """The text, each command in it such that it can be typed in this place as it stands."""
    return _TYPED.sub(lambda found: _command(found.group(1) or ""), text)


def _command(sudo: str) -> str:
    """`cotenant` where the shell (or sudo) finds it by that name, else the path it was called by.

    As a module, `python -m cotenant` with that python.
    """
    called = sys.argv[0] if sys.argv else ""
    if Path(called).name == "__main__.py" and sys.orig_argv[1:3] == ["-m", NAME]:
        return f"{sudo}{shlex.quote(sys.orig_argv[0])} -m {NAME}"
    if Path(called).name != NAME or "/" not in called:
        return f"{sudo}{NAME}"
    found = shutil.which(NAME, path=_ROOTS_PATH if sudo else None)
    if found and os.path.realpath(found) == os.path.realpath(called):
        return f"{sudo}{NAME}"
    return f"{sudo}{shlex.quote(called)}"
