"""Making unwind tables out of .eh_frame, and having them from the cache."""

from __future__ import annotations

import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cotenant.bench.form import Result, Row, bar, rounded
from cotenant.bench.profiling.victims import DEBIAN_PYTHON
from cotenant.bench.turns import Progress
from cotenant.errors import CotenantError, HostCannot
from cotenant.profile.binary import Binary
from cotenant.profile.cache import Cache
from cotenant.profile.elf import BrokenElf, Elf
from cotenant.profile.unwind.cfi import key, table
from cotenant.profile.unwind.rules import Table

LEAST_ROWS_PER_S = 0.7
"""Millions of rows a second."""
_LIBC = re.compile(r"\s(/\S*/libc\.so\.6)$", re.MULTILINE)
_OWN_PYTHONS = Path.home() / ".pyenv" / "versions"


def binaries() -> dict[str, Callable[[], Path]]:
    """Whose tables are made: libc, the system's Python, a libpython that the user built."""
    return {"libc": _libc, "python3": _python, "libpython": _libpython}


def measure(rounds: int, told: Progress, result: Result) -> None:
    """A row and a bar for each binary; what is not here is in `skipped`."""
    names = binaries()
    for done, (name, find) in enumerate(names.items(), 1):
        try:
            made = _row(name, find(), rounds)
        except (CotenantError, OSError) as error:
            result.skip(f"unwind table of {name}", str(error))
            continue
        result.rows.append(made)
        speed = made["million_rows_per_s"]
        assert isinstance(speed, float)
        unit = "million rows/s"
        result.bars.append(bar(f"unwind table of {name}", speed, unit, ">=", LEAST_ROWS_PER_S))
        told(done, len(names))


def _row(name: str, path: Path, rounds: int) -> Row:
    with Binary.at(path) as opened:
        elf = Elf(opened)
        section = elf.sections.get(".eh_frame")
        data = elf.content(section) if section else None
    if section is None or data is None:
        raise BrokenElf(f"{path} has no .eh_frame.")
    raw, vaddr = bytes(data), section.vaddr
    made, made_s = _timed(lambda: table(raw, vaddr), rounds)
    with tempfile.TemporaryDirectory(prefix="cotenant-bench-") as folder:
        cache, name_of = Cache(Path(folder)), key(raw, vaddr)
        cache.put("table", name_of, made.packed())

        def cached() -> Table:
            kept = cache.get("table", name_of)
            assert kept is not None
            return Table.unpacked(kept)

        _, cached_s = _timed(cached, rounds)
    rows = len(made.rows) // 4
    return {
        "part": "unwind table",
        "what": f"{name} ({path.name})",
        "rows": rows,
        "kb": rounded(len(made.packed()) / 1e3),
        "made_ms": rounded(made_s * 1e3),
        "million_rows_per_s": rounded(rows / made_s / 1e6),
        "cached_ms": rounded(cached_s * 1e3),
        "times_cached": rounded(made_s / cached_s),
        "turns": rounds,
    }


def _timed(once: Callable[[], Table], rounds: int) -> tuple[Table, float]:
    """What comes out, and the median of its CPU seconds."""
    took = []
    made = once()
    for _ in range(rounds):
        began = time.process_time()
        made = once()
        took.append(time.process_time() - began)
    return made, statistics.median(took)


def _libc() -> Path:
    found = _LIBC.search(Path("/proc/self/maps").read_text())
    if found is None:
        raise HostCannot("This Python uses another C library.")
    return Path(found[1])


def _python() -> Path:
    return Path(DEBIAN_PYTHON).resolve(strict=True)


def _libpython() -> Path:
    """The newest below ~/.pyenv, else one that the loader knows."""
    found = [*_OWN_PYTHONS.glob("3.*/lib/libpython3.*.so.1.0")]
    if found:
        return max(found, key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])
    said = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    known = re.findall(r"=> (\S*/libpython3\S*\.so\S*)$", said, re.MULTILINE)
    if not known:
        raise HostCannot("There is no libpython here.", "sudo apt-get install libpython3-dev")
    return Path(known[0])
