"""All profilers by name."""

from __future__ import annotations

from cotenant.bench.peers import otel, profilers
from cotenant.bench.peers.profilers import Say
from cotenant.bench.profiling.tools import Tool

PEERS = (
    profilers.FP,
    profilers.DWARF,
    profilers.PY_SPY,
    profilers.NATIVE,
    profilers.AUSTIN,
    otel.NAME,
)


def peer(name: str, say: Say) -> Tool:
    """The profiler of that name; fetches or builds what is missing.

    Raises CotenantError where it cannot be had.
    """
    if name in (profilers.FP, profilers.DWARF):
        return profilers.Perf(name)
    if name in (profilers.PY_SPY, profilers.NATIVE):
        return profilers.PySpy(name, say)
    return otel.Otel(say) if name == otel.NAME else profilers.Austin(say)
