"""Go's own table beside Go's own tools, and in the layouts of older versions."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.profile.binaries import GO, PYTHON, made_go, run

from cotenant.profile.binary import Binary
from cotenant.profile.elf import BrokenElf, Elf, Section
from cotenant.profile.symbols.functions import Symbols
from cotenant.profile.symbols.gopclntab import GoTable, Line

WAYS = {
    "plain": (),
    "pie": ("-buildmode=pie",),
    "external": ("-ldflags=-linkmode=external",),
    "external-pie": ("-buildmode=pie", "-ldflags=-linkmode=external"),
}

pytestmark = pytest.mark.go


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("go")


@pytest.mark.parametrize("way", WAYS)
def test_names_and_lines_of_a_stripped_program(folder: Path, way: str) -> None:
    """Its twin that was not stripped says, through `nm`, where everything is."""
    binary = made_go(folder, way, *WAYS[way])
    stripped = folder / f"{way}-stripped"
    run("strip", "-o", stripped, binary)
    told: dict[str, set[int]] = {}
    for line in run("nm", binary).splitlines():
        if re.match(r"[0-9a-f]+ [tT] ", line):
            address, _, name = line.split(None, 2)
            told.setdefault(name, set()).add(int(address, 16))
    with Binary.at(stripped) as file:
        elf = Elf(file)
        assert elf.is_go
        assert ".symtab" not in elf.sections
        table = GoTable.of(elf)
        assert table is not None
        rows = list(table.functions())
        # Both forms of a function that assembler calls have one name here.
        wrong = [
            row.name
            for row in rows
            if row.start not in told.get(row.name.decode(), {row.start})
            and f"{row.name.decode()}.abi0" not in told
            and f"{row.name.decode()}.abiinternal" not in told
        ]
        assert len(rows) > 1000
        assert wrong == []
        (work,), (main,) = told["main.work"], told["main.main"]
        assert Symbols.of(rows).lookup(work + 9) == ("main.work", work)
        for at, number in _lines(binary, "main.work").items():
            assert table.line(at) == Line(str(folder / "main.go"), number, 6)
        assert table.line(main) == Line(str(folder / "main.go"), 14, 14)
        assert table.line(0) is None
        assert table.line(1 << 60) is None


def _lines(binary: Path, function: str) -> dict[int, int]:
    """Lines by address as Go's own disassembler tells them."""
    found = {}
    for line in run(GO, "tool", "objdump", "-s", f"^{function}$", binary).splitlines():
        match = re.match(r"\s+main.go:(\d+)\s+0x([0-9a-f]+)\s", line)
        if match:
            found[int(match[2], 16)] = int(match[1])
    assert len(set(found.values())) > 2
    return found


def test_a_c_program_has_none() -> None:
    with Binary.at(PYTHON) as file:
        assert GoTable.of(Elf(file)) is None


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return out + bytes((value,))


def _stream(*steps: tuple[int, int]) -> bytes:
    """Changes of a value from -1 on, and for how many bytes each holds."""
    return (
        b"".join(_varint((c << 1) if c >= 0 else (-c << 1) - 1) + _varint(n) for c, n in steps)
        + b"\0"
    )


FILES = _stream((2, 32))  # file number 1
LINES = _stream((11, 8), (3, 8), (-6, 16))  # line 10, 13, 7


def _go12() -> bytes:
    """Go 1.2 to 1.15: one function, [0x1000, 0x1020), as go.dev/s/go12symtab lays it out."""
    head = struct.pack("<IHBB", 0xFFFFFFFB, 0, 1, 8) + struct.pack("<Q", 1)
    at = len(head) + 24 + 8  # after the table of functions and the offset of files
    function = 48
    name_at = at + function
    name, file = b"main.old\0", b"/src/old.go\0"
    file_at = name_at + len(name)
    streams_at = file_at + len(file)
    files_at = streams_at + 1 + len(FILES) + len(LINES)
    body = struct.pack("<QQQI4x", 0x1000, at, 0x1020, files_at)
    body += struct.pack(
        "<Q9i4x", 0x1000, name_at, 0, 0, 0, streams_at + 1, streams_at + 1 + len(FILES), 0, 0, 0
    )
    body += name + file + b"\0" + FILES + LINES
    return head + body + struct.pack("<II", 2, file_at)


def _parts(magic: int) -> bytes:
    """Go 1.16 (full addresses) or 1.18 (offsets from the text, at 0x1000): one function."""
    late = magic != 0xFFFFFFFA
    words = 8 if late else 7
    names = b"\0main.new\0"
    units = struct.pack("<III", 0xFFFFFFFF, 0xFFFFFFFF, 0)
    files = b"/src/new.go\0"
    streams = b"\0" + FILES + LINES
    offsets = []
    at = 8 + 8 * words
    for part in (names, units, files, streams):
        offsets.append(at)
        at += len(part)
    fields = (1, 0, 0, 0, 1, 1 + len(FILES), 0, 1, 5)  # name, ..., pcfile, pcln, 0, unit, line
    if late:
        table = struct.pack("<III", 0, 12, 0x20) + struct.pack("<I9i", 0, *fields)
    else:
        table = struct.pack("<QQQ", 0x1000, 24, 0x1020) + struct.pack("<Q9i", 0x1000, *fields)
    text = (0x1000,) if late else ()
    head = struct.pack("<IHBB", magic, 0, 1, 8)
    head += struct.pack(f"<{words}Q", 1, 1, *text, *offsets, at)
    return (head + names + units + files + streams + table).ljust(256, b"\0")


def _table(data: bytes) -> GoTable:
    """In an ELF file of its own."""
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + bytes(48)
    section = Section(".gopclntab", 1, 2, 0x5000, 64, len(data), 0, 0)
    return GoTable(Elf(head + data), section)


@pytest.mark.parametrize(
    ("data", "name", "file", "first_line"),
    [
        (_go12(), b"main.old", "/src/old.go", 0),
        (_parts(0xFFFFFFFA), b"main.new", "/src/new.go", 0),
        (_parts(0xFFFFFFF0), b"main.new", "/src/new.go", 0),
        (_parts(0xFFFFFFF1), b"main.new", "/src/new.go", 5),
    ],
    ids=["1.2", "1.16", "1.18", "1.20"],
)
def test_layouts_of_older_versions(data: bytes, name: bytes, file: str, first_line: int) -> None:
    table = _table(data)
    (row,) = table.functions()
    assert (row.start, row.size, row.name) == (0x1000, 0x20, name)
    lines = [table.line(at) for at in (0x1000, 0x1007, 0x1008, 0x1010, 0x101F)]
    assert lines == [Line(file, line, first_line) for line in (10, 10, 13, 7, 7)]
    assert table.line(0xFFF) is None
    assert table.line(0x1020) is None


@settings(max_examples=300, deadline=None)
@given(st.sampled_from((0, 1, 2, 3)), st.data())
def test_a_mutated_table_is_read_or_refused(which: int, data: st.DataObject) -> None:
    whole = (_go12(), _parts(0xFFFFFFFA), _parts(0xFFFFFFF0), _parts(0xFFFFFFF1))[which]
    mutated = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(4, len(whole) - 9))
        value = data.draw(st.one_of(st.binary(min_size=1, max_size=8), st.just(b"\xff" * 8)))
        mutated[at : at + len(value)] = value
    try:
        table = _table(bytes(mutated))
        Symbols.of(table.functions())
        for at in (0, 0xFFF, 0x1000, 0x1011, 1 << 63):
            table.line(at)
    except BrokenElf:
        return


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_mutated_program_is_read_or_refused(data: st.DataObject) -> None:
    """The table of Go's own formatter, damaged where its parts are found."""
    whole = _gofmt()
    mutated = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 10))):
        at = data.draw(st.one_of(st.integers(8, 80), st.integers(8, len(whole) - 9)))
        value = data.draw(st.one_of(st.binary(min_size=1, max_size=4), st.just(b"\xff" * 8)))
        mutated[at : at + len(value)] = value
    try:
        table = _table(bytes(mutated))
        for number, row in enumerate(table.functions()):
            if number % 997 == 0:
                table.line(row.start + 1)
    except BrokenElf:
        return


_KEPT: list[bytes] = []


def _gofmt() -> bytes:
    if not _KEPT:
        with Binary.at("/usr/local/go/bin/gofmt") as file:
            _KEPT.append(bytes(Elf(file).section(".gopclntab") or b""))
    return _KEPT[0]
