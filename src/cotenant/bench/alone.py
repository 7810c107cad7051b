"""Memory and allocations of one way, in a process of its own: `python -m cotenant.bench.alone`.

In one process with the others a way would be charged for their modules.
"""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from cotenant.bench.peers.files import Files
from cotenant.bench.ways import Product, find_tenants
from cotenant.errors import CotenantError
from cotenant.kernel import cgroupfs

SECONDS = 60
TIMES = 20


class Memory(Struct, frozen=True):
    """What one way needs.

    rss_bytes   resident memory of the process after 20 times
    peak_bytes  most that Python held for one more time, above what it held before
    blocks      blocks of memory in the result; what came and went meanwhile is not counted
    """

    rss_bytes: int
    peak_bytes: int
    blocks: int


def measure(way: str, paths: list[str]) -> Memory:
    """The way's memory, for the tenants whose cgroups have these paths.

    Raises CotenantError when the process fails.
    """
    words = [sys.executable, "-m", __name__, way]
    try:
        done = subprocess.run(
            words,
            input=msgspec.json.encode(paths),
            capture_output=True,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise CotenantError(f"The process that measures {way} alone hangs.") from None
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise CotenantError(f"The process that measures {way} alone fails: {' '.join(last)}")
    return msgspec.json.decode(done.stdout, type=Memory)


def main() -> None:
    """Measure the way named on the command line for the paths on stdin; print it as JSON."""
    paths = frozenset(msgspec.json.decode(sys.stdin.buffer.read(), type=list[str]))
    once = _once(sys.argv[1], paths)
    for _ in range(TIMES):
        once()
    rss_bytes = _rss()
    kept = once()  # a way may keep its last result: so this one is freed by no later one
    gc.collect()
    before = sys.getallocatedblocks()
    result = once()
    blocks = sys.getallocatedblocks() - before
    del kept, result
    tracemalloc.start()
    once()
    peak_bytes = tracemalloc.get_traced_memory()[1]
    print(msgspec.json.encode(Memory(rss_bytes, peak_bytes, blocks)).decode())


def _once(way: str, paths: frozenset[str]) -> Callable[[], object]:
    hierarchies = cgroupfs.find()
    if way == "files":
        return Files(hierarchies, find_tenants(hierarchies, paths.__contains__, len(paths))).once
    product = Product(hierarchies, paths.__contains__, len(paths))
    product.collect()
    return product.walk if way == "bare" else product.collect


def _rss() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
