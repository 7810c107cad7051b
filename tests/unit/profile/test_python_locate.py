from __future__ import annotations

import struct
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cotenant.profile.elf import BrokenElf, Elf
from cotenant.profile.python.debug_offsets import (
    COOKIE,
    DEBUG_OFFSETS_SIZE,
    DEBUG_VERSIONS,
    BadOffsets,
    debug_head,
    from_debug_offsets,
)
from cotenant.profile.python.evals import MOST_RANGES
from cotenant.profile.python.locate import Located, Unreadable, locate
from cotenant.profile.python.offsets import TABLE

# The first numbers of `_PyRuntime` in the files of 3.13.0 (pyenv) and 3.14.10 (Debian), 8 bytes
# each: version, free_threaded, then the groups as far as unicode_object.
TOLD = {
    (3, 13): """
        51183856 0 283320 608 632 194968 7272 7264 7344 7400 7656 7640 7648 16 7752 0 7768 7760 304
        0 8 16 72 152 160 232 32 80 8 0 56 72 70 208 112 120 128 136 68 52 96 104 200 16 8 416 24
        88 168 32 24 16 40 24 16 48 32 40 24 16 32 16 24 40 16 32 64 32 16 40
    """,
    (3, 14): """
        51251952 0 316616 784 808 225864 7280 7272 7344 7360 7408 7688 7672 7680 16 7784 0 7800 7792
        7992 0 832 0 8 16 72 152 160 232 32 88 8 0 56 80 74 64 0 216 112 120 128 136 68 52 96 104
        208 0 16 8 416 24 88 168 40 32 16 40 24 16 200 24 40 32 48 32 40 24 16 32 16 24 40 16 32 64
        32 16 40
    """,
}


def told(version: tuple[int, int], **changed: int) -> bytes:
    numbers = [int(word) for word in TOLD[version].split()]
    for place, number in changed.items():
        numbers[int(place.removeprefix("at"))] = number
    data = COOKIE + struct.pack(f"<{len(numbers)}Q", *numbers)
    return data.ljust(DEBUG_OFFSETS_SIZE, b"\0")


@pytest.mark.parametrize("version", DEBUG_VERSIONS)
def test_debug_offsets_tell_the_layout(version):
    assert from_debug_offsets(told(version), version) == TABLE[version]


def test_what_a_binary_tells_is_preferred():
    place = TOLD[3, 13].split().index("200")  # code_object.co_code_adaptive, the only 200
    layout = from_debug_offsets(told((3, 13), **{f"at{place}": 192}), (3, 13))
    assert layout == TABLE[3, 13]._replace(code_adaptive=192)


@pytest.mark.parametrize("version", DEBUG_VERSIONS)
def test_the_head_tells_version_and_gil(version):
    head = debug_head(told(version))
    assert head and (head.version >> 24, head.version >> 16 & 0xFF) == version
    assert not head.free_threaded
    head = debug_head(told(version, at1=1))
    assert head and head.free_threaded
    assert debug_head(bytes(1024)) is None
    assert debug_head(COOKIE) is None


def test_another_versions_order_is_refused():
    with pytest.raises(BadOffsets):
        from_debug_offsets(told((3, 13)), (3, 14))
    with pytest.raises(BadOffsets):
        from_debug_offsets(told((3, 14)), (3, 13))
    for short in (b"", COOKIE, told((3, 14))[:300], bytes(1024)):
        with pytest.raises(BadOffsets, match="missing"):
            from_debug_offsets(short, (3, 14))


@given(st.dictionaries(st.integers(2, 68), st.integers(0, (1 << 64) - 1), max_size=5))
def test_numbers_that_fit_no_struct_are_refused(changed):
    """Whatever comes through is small enough for the kernel side."""
    data = told((3, 13), **{f"at{place}": number for place, number in changed.items()})
    try:
        layout = from_debug_offsets(data, (3, 13))
    except BadOffsets:
        return
    for number in (
        layout.tstate_frame,
        layout.frame_code,
        layout.frame_lasti,
        layout.code_adaptive,
    ):
        assert 0 <= number <= 0xFFFF and number % 8 == 0


def running() -> Path:
    """The file of the Python that runs this, or the library that it is in."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split(None, 5)[5:]
        if path and "python" in Path(path[0]).name and "x" in line.split()[1]:
            return Path(path[0])
    raise AssertionError("this Python has no file")


def test_the_running_python_is_found_by_its_symbols():
    found = locate(Elf(running().read_bytes()), "another-name")
    assert isinstance(found, Located)
    assert found.version == sys.version_info[:2]
    assert found.release == ".".join(map(str, sys.version_info[:3]))
    assert found.layout == TABLE[found.version]
    assert 1 <= len(found.evals) <= MOST_RANGES
    assert all(begin < end for begin, end in found.evals)


@given(st.integers(0, 1 << 32))
@settings(deadline=None, max_examples=60)
def test_a_file_that_lies_is_broken_or_told(seed):
    """Bytes of headers, symbols and tables changed at random."""
    random = Random(seed)
    data = bytearray(ORIGINAL)
    elf = Elf(ORIGINAL)
    places = [(0, 64), (64, 56 * len(elf.segments))]
    places += [
        (section.offset, min(section.size, 1 << 16))
        for section in elf.section_list
        if section.name in (".gnu.hash", ".dynsym", ".eh_frame_hdr", ".PyRuntime", ".shstrtab")
    ]
    places.append((len(data) - 64 * len(elf.section_list), 64 * len(elf.section_list)))
    for _ in range(random.randrange(1, 200)):
        start, size = random.choice(places)
        data[start + random.randrange(size)] = random.choice((0, 0xFF, random.randrange(256)))
    try:
        found = locate(Elf(data), "python3.11")
    except BrokenElf:
        return
    assert found is None or isinstance(found, Located | Unreadable)
    if isinstance(found, Located):
        assert 1 <= len(found.evals) <= MOST_RANGES


ORIGINAL = running().read_bytes()
