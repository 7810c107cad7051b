"""What `readelf` says of real binaries, and small .eh_frame sections made by hand."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from cotenant.profile.unwind.cfi import Table

_SECTION = re.compile(r"\] \.eh_frame +\w+ +([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+) ")
_EXTENT = re.compile(r" FDE cie=([0-9a-f]+) pc=([0-9a-f]+)\.\.([0-9a-f]+)$")
_ROW = re.compile(r"[0-9a-f]{16} ")


def section(path: Path) -> tuple[bytes, int]:
    """The .eh_frame section of a binary, and its address."""
    text = _readelf("-SW", path)
    found = _SECTION.search(text)
    assert found, f"{path} has no .eh_frame"
    vaddr, offset, size = (int(one, 16) for one in found.groups())
    return path.read_bytes()[offset : offset + size], vaddr


class Row(NamedTuple):
    """One row as readelf prints it; `end` is that of its function."""

    pc: int
    end: int
    cfa: str
    rbp: str
    back: str


def rows(path: Path) -> Iterator[Row]:
    """All rows readelf makes of a binary. Where it prints none for a function, the CIE's."""
    initial: dict[str, Row] = {}
    names: list[str] = []
    cie, begin, end, told = "", 0, 0, True
    for line in [*_readelf("-wNF", path).splitlines(), "0 0 0 FDE"]:
        if " FDE" in line or " CIE" in line:
            if not told:
                yield initial[cie]._replace(pc=begin, end=end)
            told = True
        if found := _EXTENT.search(line):
            cie, begin, end, told = found[1], int(found[2], 16), int(found[3], 16), False
        elif " CIE " in line:
            cie, end = line.split()[0], 0
        elif "LOC" in line:
            names = line.split()
        elif _ROW.match(line) and len(names) == len(line.split()):
            values = dict(zip(names, line.split(), strict=True))
            row = Row(
                int(values["LOC"], 16), end, values["CFA"], values.get("rbp", "u"), values["ra"]
            )
            if end:
                told = True
                yield row
            else:
                initial[cie] = row


def _readelf(option: str, path: Path) -> str:
    """N: a file of debugging information has an .eh_frame too, an empty one. It is not meant."""
    return subprocess.run(
        ["readelf", option, str(path)], capture_output=True, text=True, check=True
    ).stdout


CIE_RSP_8 = b"\x0c\x07\x08\x90\x01"
"""What every compiler begins with: def_cfa rsp + 8; the return address at CFA - 8."""


def cie(
    instructions: bytes = CIE_RSP_8,
    *,
    letters: bytes = b"zR",
    extra: bytes = b"\x1b",
    version: int = 1,
    returns_at: int = 16,
) -> bytes:
    """A CIE without its length."""
    head = bytes([0, 0, 0, 0, version]) + letters + b"\0\x01\x78" + bytes([returns_at])
    return head + (bytes([len(extra)]) + extra if letters else b"") + instructions


def eh_frame(
    vaddr: int, functions: list[tuple[int, int, bytes]], head: bytes | None = None
) -> bytes:
    """A section with one CIE, and functions of (begin, length, instructions)."""
    data = _entry(cie() if head is None else head)
    for begin, length, instructions in functions:
        place = len(data) + 8
        extent = struct.pack("<iI", begin - vaddr - place, length)
        data += _entry(struct.pack("<I", place - 4) + extent + b"\0" + instructions)
    return data + bytes(4)


def _entry(body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack("<I", len(body)) + body


def check(table: Table) -> None:
    """What holds of every table, whatever it was made of."""
    pages = list(memoryview(table.pages).cast("I"))
    found = list(memoryview(table.rows).cast("I"))
    rules = len(table.rules) // 8
    assert len(set(table.rules[at * 8 : at * 8 + 8] for at in range(rules))) == rules <= 65536
    assert pages[0] == 0 and pages[-1] == len(found)
    for page, (first, end) in enumerate(pairwise(pages)):
        here = found[first:end]
        assert here, "a page without rows"
        assert page == 0 or here[0] & 0xFFFF == 0, "a page begins with nothing said"
        for one, following in pairwise(here):
            assert one & 0xFFFF < following & 0xFFFF, "rows out of order"
            assert one >> 16 != following >> 16, "a row repeats the one before"
        assert max(here) >> 16 < rules
    if found:
        assert table.rule(found[-1] >> 16).kind == 0, "the last function has no end"
