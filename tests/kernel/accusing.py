"""The command `cotenant` where steal excuses nobody: run this file with the command's words.

A hypervisor that takes half of a test machine is as much to blame as any neighbour, and the verdict
then rightly accuses nobody. That rule is proven on made samples (tests/unit/noise/test_verdict.py),
as steal cannot be provoked. Tests of what comes of an accusation leave it out: here a window is
weighed by what of its waiting is not the hypervisor's, at the same bars.
"""

from __future__ import annotations

import sys

from msgspec.structs import replace

from cotenant.cli.main import main
from cotenant.model import Delay
from cotenant.noise import verdict

COMMAND = [sys.executable, "-P", __file__]

_accuses = verdict.accuses


def without_steal(delay: Delay) -> Delay:
    """The same, had the hypervisor taken nothing."""
    stolen = sum(part.ns for part in delay.parts if part.reason == "steal")
    rest = tuple(part for part in delay.parts if part.reason != "steal")
    return replace(delay, waited_ns=delay.waited_ns - stolen, parts=rest)


def accuses(delay: Delay, usual_p99_ns: float | None) -> bool:
    """As the verdict's own, of what is not stolen."""
    return _accuses(without_steal(delay), usual_p99_ns)


if __name__ == "__main__":
    verdict.accuses = accuses
    sys.exit(main())
