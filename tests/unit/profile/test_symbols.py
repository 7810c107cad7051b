"""Function names beside nm's."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.profile.binaries import CXX, LIBC, PYTHON, made, nm, run

from cotenant.profile.binary import Binary
from cotenant.profile.elf import BrokenElf, Elf
from cotenant.profile.symbols.functions import NAME_LIMIT, Row, Symbols
from cotenant.profile.unwind.tables import functions, linkage


@pytest.mark.parametrize("path", [LIBC, CXX, PYTHON])
def test_every_function_of_nm_is_named(path: Path) -> None:
    with Binary.at(path) as file:
        symbols = Symbols.of(functions(Elf(file), ".dynsym"))
    told = nm(path, "-D")
    assert len(told) > 1000
    for address, (size, names) in told.items():
        for at in (address, address + size - 1):
            name, start = symbols.lookup(at) or ("", 0)
            assert name in names or (start > address and name in told[start][1]), hex(at)
    assert symbols.lookup(0) is None
    assert symbols.lookup(1 << 63) is None


def test_of_several_names_the_one_that_perf_takes(tmp_path: Path) -> None:
    source = tmp_path / "x.s"
    source.write_text(
        ".text\n.type _weak,@function\n.weak _weak\n.type __both,@function\n.globl __both\n"
        ".type both,@function\n.globl both\n.type local_and_longer,@function\n.globl both\n"
        "label:\n_weak:\n__both:\nboth:\nlocal_and_longer:\n nop\n nop\n"
        ".size both, 2\n.size __both, 2\n.size _weak, 2\n.size local_and_longer, 2\n"
    )
    run("gcc", "-shared", "-nostdlib", "-o", tmp_path / "x.so", source)
    rows = list(functions(Elf((tmp_path / "x.so").read_bytes()), ".symtab"))
    assert [row.name for row in rows] == [b"both"]


def test_functions_without_a_size_go_on_to_the_next(tmp_path: Path) -> None:
    binary = made(tmp_path)
    elf = Elf(binary.read_bytes())
    symbols = Symbols.of(functions(elf, ".symtab"))
    address = {n: int(a, 16) for a, _, n in (x.split() for x in _three(run("nm", binary)))}
    assert symbols.lookup(address["bare"] + 3) == ("bare", address["bare"])
    text = elf.sections[".text"]
    assert (symbols.lookup(text.vaddr + text.size) or ("",))[0] != "bare"
    for name in ("hidden_one", "hidden_two", "shown", "main", "_start"):
        assert symbols.lookup(address[name]) == (name, address[name])


def test_entries_of_the_linkage_table_as_objdump_names_them() -> None:
    with Binary.at(PYTHON) as file:
        rows = {row.start: row.name.decode() for row in linkage(Elf(file))}
    told = run("objdump", "-d", "-j", ".plt", PYTHON)
    named = {
        int(line.split()[0], 16): line.split("<")[1].split(">")[0].split("@")[0] + "@plt"
        for line in told.splitlines()
        if line.endswith("@plt>:")
    }
    assert len(named) > 100
    assert named.items() <= rows.items()


def test_its_form_on_disk() -> None:
    symbols = Symbols.of([Row(16, 4, "größe".encode()), Row(32, 0, b"last", 40)], ".symtab")
    data = symbols.to_bytes()
    again = Symbols.from_bytes(data)
    assert again is not None
    assert again.source == ".symtab"
    assert [again.lookup(at) for at in (15, 16, 19, 20, 32, 39, 40)] == [
        None,
        ("größe", 16),
        ("größe", 16),
        None,
        ("last", 32),
        ("last", 32),
        None,
    ]
    empty = Symbols.from_bytes(Symbols.of(()).to_bytes())
    assert empty is not None
    assert len(empty) == 0
    assert empty.lookup(1) is None


@given(st.integers(0, 200), st.binary(min_size=1, max_size=8))
def test_a_damaged_cache_file_is_none(at: int, damage: bytes) -> None:
    data = Symbols.of([Row(16 * i, 4, b"name%d" % i) for i in range(1, 20)], "x").to_bytes()
    damaged = data[:at] + damage + data[at + len(damage) :]
    assert damaged == data or Symbols.from_bytes(damaged) is None
    assert Symbols.from_bytes(data[:at]) is None


rows = st.lists(
    st.builds(
        Row,
        st.integers(0, (1 << 64) - 1),
        st.one_of(st.just(0), st.integers(0, (1 << 64) - 1)),
        st.binary(max_size=6).filter(lambda name: b"\0" not in name),
        st.integers(0, 1 << 64),
    )
)


@given(rows, st.integers(0, (1 << 64) - 1))
def test_any_table_can_be_asked_and_kept(given_rows: list[Row], address: int) -> None:
    symbols = Symbols.of(given_rows)
    found = symbols.lookup(address)
    assert found is None or found[1] <= address
    again = Symbols.from_bytes(symbols.to_bytes())
    assert again is not None
    assert again.lookup(address) == found


def test_a_label_inside_a_function_does_not_hide_its_rest() -> None:
    symbols = Symbols.of([Row(100, 50, b"outer"), Row(110, 5, b"inner")])
    assert symbols.lookup(112) == ("inner", 110)
    assert symbols.lookup(120) == ("outer", 100)
    assert symbols.lookup(150) is None


def test_a_name_without_end_is_cut() -> None:
    symbols = Symbols.of([Row(1, 1, b"x" * (NAME_LIMIT + 1))])
    assert symbols.lookup(1) == ("x" * NAME_LIMIT, 1)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_mutated_tables_are_read_or_refused(data: st.DataObject) -> None:
    mutated = bytearray(_original())
    places = Elf(_original()).sections
    names = (".dynsym", ".dynstr", ".plt", ".plt.got", ".plt.sec", ".rela.plt", ".rela.dyn")
    for _ in range(data.draw(st.integers(1, 20))):
        place = places.get(data.draw(st.sampled_from(names)))
        if place and place.size > 8:
            at = place.offset + data.draw(st.integers(0, place.size - 8))
            value = data.draw(st.binary(min_size=1, max_size=8))
            mutated[at : at + len(value)] = value
    elf = Elf(bytes(mutated))
    try:
        symbols = Symbols.of([*functions(elf, ".dynsym"), *linkage(elf)])
        assert Symbols.from_bytes(symbols.to_bytes()) is not None
    except BrokenElf:
        return


_KEPT: list[bytes] = []


def _original() -> bytes:
    if not _KEPT:
        _KEPT.append(Path("/usr/lib/x86_64-linux-gnu/libz.so.1").read_bytes())
    return _KEPT[0]


def _three(text: str) -> list[str]:
    return [line for line in text.splitlines() if len(line.split()) == 3]
