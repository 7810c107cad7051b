"""What the agent itself costs, as its own page shows it."""

from __future__ import annotations

import os
import time

from cotenant.export.family import family
from cotenant.export.own import BpfCost, OwnCost
from cotenant.export.singles import lines

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

_CONFIG_PROBLEM = family(
    "cotenant_agent_config_problem",
    "config_problem",
    help="1 where the configuration file is wrong now and the one before stays in force",
)


class Tally:
    """Counts what the agent does; `cost` puts it together with what the kernel knows."""

    def __init__(self) -> None:
        self.collections = 0
        self.collect_ns = 0
        self.renders = 0
        self.render_ns = 0
        self.config_problem: str | None = None

    def cost(self, scrapes: int, programs: tuple[BpfCost, ...]) -> OwnCost:
        """The agent's cost until now."""
        return OwnCost(
            cpu_ns=cpu_ns(),
            resident_bytes=resident_bytes(),
            collections=self.collections,
            collect_ns=self.collect_ns,
            scrapes=scrapes,
            renders=self.renders,
            render_ns=self.render_ns,
            bpf=programs,
        )

    def config_lines(self) -> bytes:
        """Exposition lines that tell whether the configuration file is in order."""
        return lines(_CONFIG_PROBLEM, [((), int(self.config_problem is not None))])


def cpu_ns() -> int:
    """CPU time of this process, user and system, in nanoseconds."""
    return time.process_time_ns()


def resident_bytes() -> int:
    """Memory this process holds, in bytes."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * _PAGE_BYTES
