"""cAdvisor as a benchmark peer: `build()` it once, run it as `Cadvisor`, `measure()` it.

build.py     its released Go modules -> one binary in the user's cache
server/      the small main package that joins those modules (why: see main.go)
run.py       the running process: what it is told, what it costs, what it answers
__main__.py  `python3 -m peers.cadvisor`, to try it by itself
"""

from peers.cadvisor.build import VERSION, BuildFailed, GoMissing, ModulesUnreachable, build
from peers.cadvisor.run import (
    Allocations,
    Cadvisor,
    CadvisorSilent,
    Cost,
    ScrapeCost,
    flags,
    measure,
)

__all__ = [
    "VERSION",
    "Allocations",
    "BuildFailed",
    "Cadvisor",
    "CadvisorSilent",
    "Cost",
    "GoMissing",
    "ModulesUnreachable",
    "ScrapeCost",
    "build",
    "flags",
    "measure",
]
