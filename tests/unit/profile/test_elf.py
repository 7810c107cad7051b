"""The ELF reader beside readelf and nm, and before files that lie."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.profile.binaries import CXX, LIBC, PYTHON, made, nm, run

from cotenant.profile.binary import Binary
from cotenant.profile.elf import PT_LOAD, BrokenElf, Elf, Memory, identify

SYSTEM = (LIBC, CXX, PYTHON)


def read_all(elf: Elf) -> None:
    """Asks for everything."""
    _ = elf.segments, elf.is_go, elf.build_id, elf.debuglink
    identify(elf)
    for section in elf.section_list:
        elf.content(section, 1 << 22)
    for table in (".dynsym", ".symtab"):
        elf.symbols(table)
        elf.find("malloc", table)
        elf.find("main", table)
    for segment in elf.segments:
        elf.executable_bias(segment.offset)
        elf.at(segment.vaddr, 64)


@pytest.mark.parametrize("path", SYSTEM)
def test_as_readelf_tells_it(path: Path) -> None:
    with Binary.at(path) as file:
        elf = Elf(file)
        told = run("readelf", "-SlnW", path)
        assert f"Build ID: {elf.build_id}" in told
        assert f"There are {len(elf.section_list)} section headers" in told
        for section in elf.section_list[1:]:
            assert f" {section.name} " in told
            assert f"{section.vaddr:016x} {section.offset:06x} {section.size:06x}" in told
        for segment in elf.segments:
            if segment.type == PT_LOAD:
                assert f"0x{segment.offset:06x} 0x{segment.vaddr:016x}" in told
        assert identify(elf) == elf.build_id
        assert not elf.is_go


@pytest.mark.parametrize("path", SYSTEM)
def test_each_symbol_is_found_under_its_name(path: Path) -> None:
    with Binary.at(path) as file:
        elf = Elf(file)
        told = nm(path, "-D")
        for _, names in list(told.values())[::40]:
            for name in names:
                found = elf.find(name)
                assert found is not None
                assert name in told[found[0]][1], "of several versions, any"
        assert elf.find("no_such_symbol") is None
        assert elf.find("") is None


def test_a_symbol_is_found_without_a_hash_table(tmp_path: Path) -> None:
    binary = made(tmp_path, "-rdynamic", "-Wl,--hash-style=sysv")
    elf = Elf(binary.read_bytes())
    assert ".gnu.hash" not in elf.sections
    address = {name: a for a, (_, names) in nm(binary).items() for name in names}
    for table in (".dynsym", ".symtab"):
        assert elf.find("shown", table) == (address["shown"], nm(binary)[address["shown"]][0])
        assert elf.find("hown", table) is None
    assert elf.find("hidden_one") is None
    assert elf.find("hidden_one", ".symtab") is not None
    assert elf.find("printf") is None, "undefined"


def test_the_bias_turns_addresses_of_a_process_into_the_files() -> None:
    """This very process: where libc is mapped, and where the file says its code is."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    line = next(line for line in lines if "r-xp" in line and "libc.so.6" in line)
    start, offset = int(line.split("-")[0], 16), int(line.split()[2], 16)
    with Binary.at(line.split()[-1]) as file:
        elf = Elf(file)
        bias = elf.executable_bias(offset)
        assert bias is not None
        vaddr, _ = elf.find("getpid") or (0, 0)
        code = elf.at(vaddr, 16)
        with Path("/proc/self/mem").open("rb", 0) as memory:
            memory.seek(vaddr - bias - offset + start)
            assert memory.read(16) == code
        assert elf.executable_bias(0) is None or elf.executable_bias(0) == bias
        assert elf.executable_bias(file.size + 4096) is None


def test_a_segment_that_begins_inside_a_page() -> None:
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0x1234, 0x402234, 0, 0x100, 0x100, 0x1000)
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 64, 0, 0
    )
    elf = Elf((head + segment).ljust(0x2000, b"\x90"))
    assert elf.executable_bias(0x1000) == 0x401000
    assert elf.executable_bias(0x1300) == 0x401000
    assert elf.executable_bias(0x2000) is None
    assert elf.build_id == ""
    assert len(identify(elf)) == 64
    assert elf.sections == {}


def test_packed_sections_are_unpacked_up_to_a_size(tmp_path: Path) -> None:
    binary = made(tmp_path)
    plain = Elf(binary.read_bytes()).section(".debug_info")
    run("objcopy", "--compress-debug-sections=zlib", binary)
    packed = Elf(binary.read_bytes())
    assert plain is not None
    assert packed.section(".debug_info") == plain
    assert packed.sections[".debug_info"].size < len(plain)
    with pytest.raises(BrokenElf, match="unpacks to"):
        packed.section(".debug_info", len(plain) - 1)
    assert packed.section(".bss") is None
    assert packed.section(".nothing") is None


def test_a_section_that_unpacks_to_more_than_it_claims(tmp_path: Path) -> None:
    binary = made(tmp_path)
    run("objcopy", "--compress-debug-sections=zlib", binary)
    data = bytearray(binary.read_bytes())
    place = Elf(bytes(data)).sections[".debug_str"]
    bomb = struct.pack("<IIQQ", 1, 0, 100, 1) + zlib.compress(bytes(1 << 20), 9)
    data[place.offset : place.offset + min(place.size, len(bomb))] = bomb[: place.size]
    with pytest.raises(BrokenElf, match="does not unpack"):
        Elf(bytes(data)).section(".debug_str")


def test_what_a_debuglink_says(tmp_path: Path) -> None:
    binary = made(tmp_path)
    debug = tmp_path / "victim.debug"
    run("objcopy", "--only-keep-debug", binary, debug)
    run("objcopy", "--strip-all", f"--add-gnu-debuglink={debug}", binary)
    elf = Elf(binary.read_bytes())
    assert elf.debuglink == ("victim.debug", zlib.crc32(debug.read_bytes()))
    place = elf.sections[".gnu_debuglink"]
    data = bytearray(binary.read_bytes())
    data[place.offset : place.offset + 3] = b"../"
    assert Elf(bytes(data)).debuglink is None


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "too short"),
        (b"\x7fELF", "too short"),
        (b"#!/bin/sh".ljust(100), "not ELF"),
        (b"\x7fELF\x01\x01".ljust(100, b"\0"), "64 bits"),
        (b"\x7fELF\x02\x02".ljust(100, b"\0"), "64 bits"),
    ],
)
def test_what_is_no_elf(data: bytes, says: str) -> None:
    with pytest.raises(BrokenElf, match=says):
        Elf(data)


def test_a_file_that_is_truncated_while_it_is_read(tmp_path: Path) -> None:
    """Mapped, it would kill the reader."""
    copy = tmp_path / "copy"
    copy.write_bytes(LIBC.read_bytes())
    with Binary.at(copy) as file:
        elf = Elf(file)
        _ = elf.sections
        with copy.open("r+b") as other:
            other.truncate(4096)
        with pytest.raises(BrokenElf, match="shorter"):
            elf.symbols(".dynsym")


def test_offsets_beyond_all_bounds() -> None:
    source = Memory(b"x" * 64)
    for offset, count in ((-1, 2), (60, 5), (1 << 64, 1), (0, 1 << 70), (3, -1)):
        with pytest.raises(BrokenElf):
            source.read(offset, count)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_nothing_but_broken_elf_comes_out_of_a_mutated_file(data: st.DataObject) -> None:
    """Headers are mutated most: all else is found through them."""
    original = _small()
    mutated = bytearray(original)
    sections = Elf(original)._sections_at
    for _ in range(data.draw(st.integers(1, 8))):
        area = data.draw(
            st.sampled_from([(0, 64), (64, 900), (sections, len(original)), (0, len(original))])
        )
        at = data.draw(st.integers(area[0], area[1] - 9))
        value = data.draw(
            st.one_of(st.binary(min_size=1, max_size=8), st.just(b"\xff" * 8), st.just(bytes(8)))
        )
        mutated[at : at + len(value)] = value
    try:
        read_all(Elf(bytes(mutated)))
    except BrokenElf:
        return


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_nothing_but_broken_elf_comes_out_of_noise(noise: bytes) -> None:
    try:
        read_all(Elf(b"\x7fELF\x02\x01\x01" + noise))
    except BrokenElf:
        return


_KEPT: list[bytes] = []


def _small() -> bytes:
    """A small dynamic binary of the system's."""
    if not _KEPT:
        _KEPT.append(Path("/bin/true").read_bytes())
    return _KEPT[0]
