"""What tests of perf events share: a program that counts its runs, and where functions are."""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

from cotenant import kernel
from cotenant.kernel.libbpf import Object

HITS = Path(kernel.__file__).parents[1] / "bpf" / "bench_hits.bpf.o"
LIBC = "/usr/lib/x86_64-linux-gnu/libc.so.6"


def load() -> Object:
    """The programs that count, loaded."""
    made = Object(HITS)
    made.load()
    return made


def hits(made: Object) -> int:
    """How often its programs ran."""
    value = made.map(".bss").get(bytes(4))
    assert value
    return int(struct.unpack_from("=Q", value)[0])


def offset_of(function: str) -> int:
    """Where in the C library's file a function begins."""
    said = subprocess.run(["readelf", "-W", "--dyn-syms", LIBC], capture_output=True, text=True)
    found = re.search(rf"([0-9a-f]+) +\d+ FUNC .* {function}@", said.stdout)
    assert found, f"no {function} in {LIBC}"
    return int(found[1], 16)  # code of this library lies in its file where it lies in memory


def build_id_of(path: str) -> str:
    """Build id, as readelf(1) tells it."""
    said = subprocess.run(["readelf", "-n", path], capture_output=True, text=True, check=True)
    found = re.search(r"Build ID: ([0-9a-f]+)", said.stdout)
    assert found, f"no build id in {path}"
    return found[1]
