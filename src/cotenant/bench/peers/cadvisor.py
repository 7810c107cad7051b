"""cAdvisor, from `peers/cadvisor` of a checkout: the wheel does not carry it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cotenant.bench.form import Row, rounded
from cotenant.errors import HostCannot

CHECKOUT = Path(__file__).parents[4]
SECONDS = 60

Say = Callable[[str], None]


def measure(limited: bool, containers: int, seconds: int, say: Say) -> Row:
    """Run it for `seconds` at one scrape a second; what each cost, its housekeeping included.

    `limited`: memory only, Docker only, as ebpf-mon ran it; else as it comes. It waits until
    `containers` are in its answer. Raises CotenantError where it cannot be had, built or run.
    """
    peer = _peer()
    binary = peer.build(say)
    with peer.Cadvisor(binary, limited=limited, containers=containers) as cadvisor:
        cost = peer.measure(cadvisor, seconds)
    return {
        "part": "collection",
        "way": "cadvisor" if limited else "cadvisor-full",
        "wall_ms": rounded(cost.wall_ns / 1e6),
        "cpu_ms": rounded(cost.cpu_ns_per_scrape / 1e6),
        "rss_mb": rounded(cost.rss_bytes / 1e6),
        "allocations": cost.mallocs_per_scrape,
        "allocated_kb": rounded(cost.malloc_bytes_per_scrape / 1e3),
        "turns": cost.scrapes,
    }


def _peer() -> Any:
    """The package `peers.cadvisor` of the checkout that this code is part of."""
    if not (CHECKOUT / "peers/cadvisor/__init__.py").is_file():
        raise HostCannot("cAdvisor is built from a checkout of cotenant, and this is none.")
    if str(CHECKOUT) not in sys.path:
        sys.path.append(str(CHECKOUT))
    return importlib.import_module("peers.cadvisor")
