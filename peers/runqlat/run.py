"""Run a program on the way to a peer, and tell in one sentence why it failed."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from cotenant.errors import CotenantError, HostCannot

SECONDS = 900
_NO_REASON = "go: downloading "


class BuildFailed(CotenantError):
    """What the peer is made from is there, and still it cannot be made."""


def run(
    words: Sequence[str | Path], where: Path, environment: Mapping[str, str] | None = None
) -> str:
    """What the program said. Raises HostCannot where there is no such program, else BuildFailed."""
    name = Path(words[0]).name
    try:
        done = subprocess.run(
            words,
            cwd=where,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=SECONDS,
        )
    except FileNotFoundError:
        raise HostCannot(f"There is no `{name}` here.") from None
    except subprocess.TimeoutExpired:
        raise BuildFailed(f"`{name}` did not end within {SECONDS} s.") from None
    if done.returncode:
        said = (done.stdout + done.stderr).splitlines()
        lines = [line for line in said if line.strip() and not line.startswith(_NO_REASON)]
        raise BuildFailed(f"`{name}` fails: {' / '.join(lines[-2:]) or 'it says nothing'}")
    return done.stdout
