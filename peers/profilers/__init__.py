"""The profilers that `cotenant bench profile` stands beside, each as a program to run.

wheels.py  py-spy and Austin, out of their wheels on PyPI
otel.py    OpenTelemetry's eBPF profiler, from its Go module

`BINARIES[name](say)` gives the path of the program, once it is in place: it fetches or builds what
is missing (`say` gets one sentence before that) and raises CotenantError where that cannot be.
perf is the distribution's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from peers.profilers import otel, wheels

Say = Callable[[str], None]

BINARIES: dict[str, Callable[[Say], Path]] = {
    "py-spy": wheels.py_spy,
    "austin": wheels.austin,
    "otel": otel.binary,
}

__all__ = ["BINARIES"]
