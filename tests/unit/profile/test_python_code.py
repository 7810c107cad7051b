from __future__ import annotations

import os
import struct
import sys
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.profile.python_memory import Memory

from cotenant.model import Frame, FrameKind
from cotenant.profile.python import code as code_module
from cotenant.profile.python.code import FILE_LIMIT, NAME_LIMIT, Codes, NoFrame, instruction_offset
from cotenant.profile.python.offsets import TABLE, Layout

LAYOUTS = pytest.mark.parametrize("layout", TABLE.values(), ids=lambda it: f"{it.version[1]}")
NEWEST = TABLE[max(TABLE)]


def table_of(layout, lines: int = 1) -> bytes:
    """Each of so many lines has one instruction of two bytes, the first one the first line."""
    if layout.version >= (3, 11):
        return b"".join(bytes((0x80 | (10 + (at > 0)) << 3, 0, 0)) for at in range(lines))
    if layout.version == (3, 10):
        return b"".join(bytes((2, at > 0)) for at in range(lines))
    return bytes((2, 1)) * (lines - 1)


def read(codes: Codes, code: int, first_line: int, instruction: int = 0) -> Frame:
    found = codes.frame(code, first_line, instruction)
    assert isinstance(found, Frame)
    return found


@LAYOUTS
@pytest.mark.parametrize("name", ["f", "größe", "имя", "Klasse.𠀀.<locals>.<lambda>", ""])
def test_a_frame_has_name_file_and_line(layout, name):
    memory = Memory(layout)
    table = memory.blob(table_of(layout, 5))
    code = memory.code(memory.text(name), memory.text("/srv/путь/a.py"), 40, table)
    codes = Codes(layout, memory.read)
    assert codes.frame(code, 40, 6) == Frame(
        name, FrameKind.PYTHON, "/srv/путь/a.py", line=43, first_line=40
    )
    assert read(codes, code | 1, 40, 0xFFFFFFFE).line == 40  # tagged, and nothing run yet
    assert codes.stale == 0


def test_this_process_reads_its_own_code():
    """No made-up memory: what the running Python keeps of this function."""
    layout = TABLE[sys.version_info[:2]]
    own = test_this_process_reads_its_own_code.__code__
    memory = os.open("/proc/self/mem", os.O_RDONLY)
    try:
        codes = Codes(layout, lambda address, count: os.pread(memory, count, address))
        for start, _, line in own.co_lines():
            frame = codes.frame(id(own), own.co_firstlineno, start)
            assert frame == Frame(
                own.co_qualname, FrameKind.PYTHON, __file__, line or 0, own.co_firstlineno
            )
    finally:
        os.close(memory)


@LAYOUTS
def test_another_first_line_or_no_object_is_stale(layout):
    memory = Memory(layout)
    name, file = memory.text("f"), memory.text("a.py")
    code = memory.code(name, file, 40, memory.blob(table_of(layout)))
    codes = Codes(layout, memory.read)
    assert codes.frame(code, 41, 0) is NoFrame.STALE
    for nothing in (0, 8, 0x7FFF_FFFF_FFF0, 1 << 62, memory.code(0, file, 40, 0)):
        assert codes.frame(nothing, 40, 0) is NoFrame.STALE
    assert codes.frame(memory.code(name, 0xDEAD000, 40, 0), 40, 0) is NoFrame.STALE
    assert codes.stale == 7


@LAYOUTS
def test_a_shim_is_no_frame_and_not_lost(layout):
    memory = Memory(layout)
    init = memory.text("__init__")
    codes = Codes(layout, memory.read)
    assert codes.frame(memory.code(init, init, 0, 0), 0, 0) is NoFrame.SHIM
    assert codes.stale == 0


@LAYOUTS
def test_without_its_line_table_a_frame_has_a_name(layout):
    memory = Memory(layout)
    code = memory.code(memory.text("f"), memory.text("a.py"), 40, 0xDEAD000)
    frame = Codes(layout, memory.read).frame(code, 40, 6)
    assert frame == Frame("f", FrameKind.PYTHON, "a.py", line=0, first_line=40)


@LAYOUTS
def test_long_strings_are_cut_and_lies_about_them_refused(layout):
    memory = Memory(layout)
    table = memory.blob(table_of(layout))
    long = memory.code(
        memory.text("n" * (NAME_LIMIT + 1)), memory.text("ф" * (FILE_LIMIT + 9)), 1, table
    )
    codes = Codes(layout, memory.read)
    frame = read(codes, long, 1)
    assert frame.name == "n" * NAME_LIMIT + "…"
    assert frame.file == "ф" * FILE_LIMIT + "…"
    lies = [
        memory.text("f", length=-1),
        memory.text("f", length=1 << 40),  # more than can be read
        memory.text("f", state=0),
        memory.text("f", state=1 << 2 | 1 << 6),  # not compact
        memory.text("f", state=3 << 2 | 1 << 5),
        memory.text("f", state=2 << 2 | 1 << 5 | 1 << 6),  # ASCII of two bytes each
    ]
    for lie in lies:
        assert codes.frame(memory.code(lie, table, 1, table), 1, 0) is NoFrame.STALE
    for size in (-1, 1 << 40):
        code = memory.code(
            memory.text("f"), memory.text("a"), 1, memory.blob(table_of(layout), size)
        )
        assert read(codes, code, 1, 0).line == 0


def test_names_never_hold_what_utf8_cannot():
    memory = Memory(NEWEST)
    name = memory.text("a\udc80b\ud800")
    frame = read(Codes(NEWEST, memory.read), memory.code(name, name, 5, 0), 5)
    assert frame.name.encode() and frame.name[0] == "a" and "b" in frame.name


def test_code_is_read_once_and_looked_at_once_per_round():
    memory = Memory(NEWEST)
    name, file, table = memory.text("f"), memory.text("a.py"), memory.blob(table_of(NEWEST))
    code = memory.code(name, file, 1, table)
    codes = Codes(NEWEST, memory.read)
    first = codes.frame(code, 1, 0)
    after_first = memory.reads
    assert codes.frame(code, 1, 0) == first and memory.reads == after_first
    assert codes.next_round(), "all that was told is told so again"
    assert codes.frame(code, 1, 0) == first and codes.frame(code, 1, 0) == first
    assert memory.reads == after_first + 1
    # Another function of the same first line at the same place.
    memory.set_word(code + (NEWEST.code_qualname or 0), memory.text("g"))
    memory.set_word(code + NEWEST.code_name, memory.text("g"))
    assert not codes.next_round()
    assert read(codes, code, 1, 0).name == "g"
    # Gone with its process: it was true once.
    memory.drop(code)
    assert codes.next_round()
    assert read(codes, code, 1, 0).name == "g"
    assert codes.stale == 0


def test_memory_is_bounded_however_many_and_however_large(monkeypatch):
    monkeypatch.setattr(code_module, "MOST_BYTES", 1 << 20)
    memory = Memory(NEWEST)
    name, file = memory.text("f"), memory.text("a" * FILE_LIMIT)
    table = memory.blob(table_of(NEWEST, 2000))
    codes = Codes(NEWEST, memory.read, most=40)
    everything = [memory.code(name, file, 1, table) for _ in range(100)]
    for code in everything:
        assert read(codes, code, 1, 4).line == 3
        assert len(codes._known) <= 40 and codes._bytes <= 1 << 20
        assert codes._bytes == sum(known.size for known in codes._known.values())
    assert len(codes._known) < 40  # so bytes were the bound here
    before = memory.reads
    assert read(codes, everything[-1], 1, 4).line == 3 and memory.reads == before


def test_a_round_decodes_so_many_tables_and_the_next_one_goes_on(monkeypatch):
    table = table_of(NEWEST, 1000)
    monkeypatch.setattr(code_module, "TABLES_PER_ROUND", 3 * len(table) + 1)
    memory = Memory(NEWEST)
    name, file, address = memory.text("f"), memory.text("a.py"), memory.blob(table)
    codes = Codes(NEWEST, memory.read)
    everything = [memory.code(name, file, 1, address) for _ in range(5)]
    assert [read(codes, code, 1, 4).line for code in everything] == [3, 3, 3, 0, 0]
    assert not codes.next_round(), "lines that were not told are told now"
    assert [read(codes, code, 1, 4).line for code in everything] == [3] * 5
    assert codes.next_round()


def test_between_two_rounds_so_many_are_looked_at_and_more_when_they_are_met(monkeypatch):
    monkeypatch.setattr(code_module, "MOST_LOOKS", 3)
    memory = Memory(NEWEST)
    name, file, table = memory.text("f"), memory.text("a.py"), memory.blob(table_of(NEWEST))
    codes = Codes(NEWEST, memory.read)
    everything = [memory.code(name, file, 1, table) for _ in range(4)]
    for code in everything:
        read(codes, code, 1)
    before = memory.reads
    assert not codes.next_round() and memory.reads == before
    for code in everything[:3]:
        read(codes, code, 1)
    assert memory.reads == before + 3
    assert codes.next_round() and memory.reads == before + 6


@given(st.sampled_from(list(TABLE.values())), st.integers(0, 1 << 32))
@settings(deadline=None)
def test_random_memory_never_raises(layout, seed):
    """Every read is answered with anything, short or an error; often with what passes a gate."""
    random = Random(seed)
    codes = Codes(layout, lambda _, count: anything(random, layout, count))
    for _ in range(30):
        found = codes.frame(random.randrange(1 << 64), 7, random.randrange(1 << 32))
        if isinstance(found, Frame):
            found.name.encode()
            found.file.encode()
        if random.random() < 0.3:
            codes.next_round()


def anything(random: Random, layout: Layout, count: int) -> bytes:
    choice = random.random()
    if choice < 0.1:
        raise OSError
    if choice < 0.2:
        return random.randbytes(random.randrange(count))
    answer = bytearray(random.randbytes(count))
    if choice < 0.8 and count == layout.str_state + 4:
        struct.pack_into("<q", answer, layout.str_length, random.randrange(40))
        struct.pack_into("<I", answer, layout.str_state, random.choice((4, 8, 16)) | 1 << 5)
    elif choice < 0.99 and count == layout.bytes_size + 8:
        struct.pack_into("<q", answer, layout.bytes_size, random.randrange(-1, 1000))
    elif count >= 128:
        struct.pack_into("<i", answer, layout.code_firstlineno, 7)
        for at in (layout.code_filename, layout.code_linetable, layout.code_qualname or 112):
            struct.pack_into("<Q", answer, at, 0x5555_0000_0000 + random.randrange(1 << 20))
    return bytes(answer)


def test_instructions_as_each_version_tells_them():
    assert instruction_offset(TABLE[3, 9], 0, 12) == 12
    assert instruction_offset(TABLE[3, 10], 0, 12) == 24
    assert instruction_offset(TABLE[3, 10], 0, 0xFFFFFFFF) == 0xFFFFFFFE
    for version in ((3, 11), (3, 12), (3, 13), (3, 14)):
        layout = TABLE[version]
        assert instruction_offset(layout, 0x7F00_0001, 0x7F00_0000 + layout.code_adaptive + 6) == 6
        assert instruction_offset(layout, 0x7F00_0000, 0x7F00_0000) >= 1 << 31
