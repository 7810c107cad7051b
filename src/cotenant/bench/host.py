"""Where a benchmark ran, in a few facts: without them its figures say nothing."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from cotenant import __version__
from cotenant.bench.form import Value
from cotenant.kernel.cgroupfs import Hierarchies


def facts(hierarchies: Hierarchies) -> dict[str, Value]:
    """CPU, cores, memory, kernel, layout of the cgroups, and what else lives and runs here now."""
    return {
        "cpu": _found(r"^model name\s*:\s*(.+)$", "/proc/cpuinfo") or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(int(_found(r"^MemTotal:\s*(\d+)", "/proc/meminfo") or 0) / 1e6, 1),
        "kernel": platform.release(),
        "cgroups": hierarchies.layout,
        "cgroups_there_before": sum(1 for _ in hierarchies.walk()),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "cotenant": __version__,
    }


def _found(pattern: str, file: str) -> str | None:
    try:
        match = re.search(pattern, Path(file).read_text(), re.MULTILINE)
    except OSError:
        return None
    return match[1] if match else None
