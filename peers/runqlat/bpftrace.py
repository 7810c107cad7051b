"""runqlat as a bpftrace script: what the bpftrace that is installed makes of `runqlat.bt`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from cotenant.errors import HostCannot

SCRIPT = Path(__file__).with_name("runqlat.bt")

# It finds tracepoints by their files, which not every host has mounted. The caller gives it a mount
# namespace of its own.
_MOUNT = '[ -d "$1/events" ] || mount -t tracefs tracefs "$1" || exit; shift; exec "$@"'
TRACEFS = "/sys/kernel/tracing"


def command(_say: Callable[[str], None]) -> list[str]:
    """The words that run it, to be said in a mount namespace. HostCannot where it is missing."""
    found = shutil.which("bpftrace")
    if found is None:
        raise HostCannot("There is no bpftrace here.", "sudo apt-get install bpftrace")
    return ["sh", "-c", _MOUNT, "sh", TRACEFS, found, str(SCRIPT)]
