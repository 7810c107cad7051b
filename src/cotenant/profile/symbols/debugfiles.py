"""Separate debug files: where distributions put the symbols that they stripped.

By build id or by the name in .gnu_debuglink, as gdb looks for them (its manual, "Debugging
Information in Separate Files"): below the tenant's own root first, then the host's. Links are
followed in neither, and a file counts only when it proves to be the binary's.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from cotenant.profile.binary import Binary
from cotenant.profile.elf import BrokenElf, Elf
from cotenant.tenants.files import open_below

_DEBUG = ("usr", "lib", "debug")
_CHECKED_LIMIT = 256 << 20
_PART = 1 << 20


def debug_files(elf: Elf, path: str, roots: Sequence[Path]) -> Iterator[Binary]:
    """Each debug file of this binary that there is and that is its own; close what comes out.

    `path` is the binary's, as its tenant sees it.
    """
    for root in roots:
        for steps in _places(elf, path):
            with suppress(OSError, ValueError):
                found = Binary(open_below(root, *steps))
                try:
                    mine = _belongs(Elf(found), elf)
                except BrokenElf:
                    mine = False
                if mine:
                    yield found
                else:
                    found.close()


def _places(elf: Elf, path: str) -> Iterator[tuple[str, ...]]:
    build_id = elf.build_id
    if len(build_id) > 2:
        yield (*_DEBUG, ".build-id", build_id[:2], f"{build_id[2:]}.debug")
    link = elf.debuglink
    if link:
        folder = tuple(path.strip("/").split("/")[:-1])
        yield (*folder, link[0])
        yield (*folder, ".debug", link[0])
        yield (*_DEBUG, *folder, link[0])


def _belongs(debug: Elf, elf: Elf) -> bool:
    """By build id where both have one, else by the CRC that .gnu_debuglink tells."""
    if debug.build_id and elf.build_id:
        return debug.build_id == elf.build_id and ".symtab" in debug.sections
    return elf.debuglink is not None and _crc(debug) == elf.debuglink[1]


def _crc(debug: Elf) -> int | None:
    size = debug.source.size
    if size > _CHECKED_LIMIT:
        return None
    crc = 0
    for at in range(0, size, _PART):
        crc = zlib.crc32(debug.source.read(at, min(_PART, size - at)), crc)
    return crc


def roots_of(pid: int, proc: Path = Path("/proc"), host: Path = Path("/")) -> tuple[Path, ...]:
    """Where to look for a process's debug files: its own root, then the host's if that differs."""
    own = proc / str(pid) / "root"
    try:
        return (host,) if os.path.samefile(own, host) else (own, host)
    except OSError:
        return (host,)
