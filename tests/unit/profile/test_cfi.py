"""Unwind tables of small sections made by hand, and of what no compiler would write."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.profile import frames

from cotenant.profile.unwind import cfi
from cotenant.profile.unwind import section as sections
from cotenant.profile.unwind.cfi import BrokenTable, Rule, RuleKind, Table, TooLarge
from cotenant.profile.unwind.rules import LOST

VADDR = 0x40_0000
TEXT = 0x1_2000
NONE, RSP_8 = Rule(RuleKind.NONE), Rule(RuleKind.RSP, 8)

ADVANCE_4 = b"\x44"
PUSH_RBP = b"\x41\x0e\x10\x86\x02"  # advance 1, def_cfa_offset 16, offset rbp at CFA - 16


def table_of(*functions: tuple[int, int, bytes], head: bytes | None = None) -> Table:
    table = cfi.table(frames.eh_frame(VADDR, list(functions), head), VADDR)
    frames.check(table)
    return table


def told(table: Table) -> list[tuple[int, Rule]]:
    """All rows with whole addresses."""
    pages, rows = memoryview(table.pages).cast("I"), memoryview(table.rows).cast("I")
    return [
        ((table.first_page + page) << 16 | row & 0xFFFF, table.rule(row >> 16))
        for page in range(len(pages) - 1)
        for row in rows[pages[page] : pages[page + 1]]
    ]


def rule_after(instructions: bytes, head: bytes | None = None) -> Rule:
    """The rule that holds behind these, at the fifth byte of a function."""
    table = table_of((TEXT, 16, ADVANCE_4 + instructions), head=head)
    assert table.lookup(TEXT) == table.lookup(TEXT + 3)
    return table.lookup(TEXT + 4)


def test_a_function_with_a_frame_pointer():
    body = PUSH_RBP + b"\x43\x0d\x06" + b"\x02\x80\x0c\x07\x08"
    assert told(table_of((TEXT, 0x100, body))) == [
        (TEXT, RSP_8),
        (TEXT + 1, Rule(RuleKind.RSP, 16, -16)),
        (TEXT + 4, Rule(RuleKind.RBP, 16, -16)),
        (TEXT + 0x84, Rule(RuleKind.RSP, 8, -16)),
        (TEXT + 0x100, NONE),
    ]


def test_lookup_holds_until_the_next_row_and_not_beyond_the_ends():
    table = table_of((TEXT, 8, PUSH_RBP))
    assert table.lookup(TEXT - 1) == table.lookup(TEXT + 8) == NONE
    assert table.lookup(TEXT) == RSP_8
    assert table.lookup(TEXT + 1) == table.lookup(TEXT + 7) == Rule(RuleKind.RSP, 16, -16)
    for far in (0, 1 << 43, 1 << 63, (1 << 64) - 1):
        assert table.lookup(far) == NONE


def test_functions_that_touch_have_no_gap_and_others_have_one():
    grown = b"\x41\x0e\x20"
    assert told(table_of((TEXT, 8, grown), (TEXT + 8, 8, b""), (TEXT + 32, 8, b""))) == [
        (TEXT, RSP_8),
        (TEXT + 1, Rule(RuleKind.RSP, 32)),
        (TEXT + 8, RSP_8),
        (TEXT + 16, NONE),
        (TEXT + 32, RSP_8),
        (TEXT + 40, NONE),
    ]


def test_equal_rules_are_one_row_across_functions_and_instructions():
    same = b"\x41\x0e\x08\x41\x83\x02\x41\xc3"
    assert told(table_of((TEXT, 8, same), (TEXT + 8, 8, same))) == [
        (TEXT, RSP_8),
        (TEXT + 16, NONE),
    ]


def test_functions_may_come_in_any_order():
    functions = [(TEXT + 64 * at, 32, PUSH_RBP + bytes([0x41, 0x0E, 8 * at])) for at in range(2, 9)]
    expected = table_of(*functions)
    random.Random(4).shuffle(functions)
    assert told(table_of(*functions)) == told(expected)


def test_where_functions_overlap_the_later_one_holds():
    inner = (TEXT + 16, 8, b"\x0e\x20")
    outer = (TEXT, 64, b"\x48\x0e\x10\x50\x0e\x30")
    assert told(table_of(outer, inner)) == [
        (TEXT, RSP_8),
        (TEXT + 8, Rule(RuleKind.RSP, 16)),
        (TEXT + 16, Rule(RuleKind.RSP, 32)),
        (TEXT + 24, NONE),
    ]


def test_of_two_that_begin_together_one_holds_and_an_empty_one_is_none():
    table = table_of((TEXT, 16, b""), (TEXT, 16, b""), (TEXT + 4, 0, b"\x0e\x20"))
    assert told(table) == [(TEXT, RSP_8), (TEXT + 16, NONE)]


def test_instructions_beyond_the_function_say_nothing():
    assert told(table_of((TEXT, 8, b"\x48\x0e\x10\x41\x0e\x20"))) == [
        (TEXT, RSP_8),
        (TEXT + 8, NONE),
    ]


def test_every_page_begins_with_what_holds_there():
    grown = b"\x41\x0e\x20" + b"\x04" + struct.pack("<I", 0x2_FFFF) + b"\x0e\x30"
    begin = 0x1_8000
    assert told(table_of((begin, 0x4_0000, grown), (0x6_0000, 0x1_0000, b""))) == [
        (begin, RSP_8),
        (begin + 1, Rule(RuleKind.RSP, 32)),
        (0x2_0000, Rule(RuleKind.RSP, 32)),
        (0x3_0000, Rule(RuleKind.RSP, 32)),
        (0x4_0000, Rule(RuleKind.RSP, 32)),
        (0x4_8000, Rule(RuleKind.RSP, 48)),
        (0x5_0000, Rule(RuleKind.RSP, 48)),
        (0x5_8000, NONE),
        (0x6_0000, RSP_8),
        (0x7_0000, NONE),
    ]


def test_a_row_at_a_page_s_beginning_stands_alone_there():
    at_page = b"\x04" + struct.pack("<I", 0x8000) + b"\x0e\x20"
    assert told(table_of((0x1_8000, 0x9000, at_page))) == [
        (0x1_8000, RSP_8),
        (0x2_0000, Rule(RuleKind.RSP, 32)),
        (0x2_1000, NONE),
    ]


def test_an_advance_by_nothing_makes_no_second_row():
    nothing = b"\x0e\x20\x40\x0e\x28\x02\x00\x0e\x30\x41\x0e\x10\x03\x00\x00\x0e\x18"
    assert told(table_of((TEXT, 8, nothing))) == [
        (TEXT, Rule(RuleKind.RSP, 48)),
        (TEXT + 1, Rule(RuleKind.RSP, 24)),
        (TEXT + 8, NONE),
    ]


def test_states_are_remembered_and_restored():
    body = PUSH_RBP + b"\x42\x0a\x0e\x20\x42\x0a\x0c\x06\x10\xc6\x42\x0b\x42\x0b"
    at_2 = Rule(RuleKind.RSP, 16, -16)
    table = table_of((TEXT, 32, body))
    assert [table.lookup(TEXT + at) for at in (2, 3, 5, 7, 9)] == [
        at_2,
        Rule(RuleKind.RSP, 32, -16),
        Rule(RuleKind.RBP, 16),
        Rule(RuleKind.RSP, 32, -16),
        at_2,
    ]


def test_a_function_begins_as_the_cie_says_whatever_the_one_before_left_behind():
    left = PUSH_RBP + b"\x0a\x0a\x0d\x06\x07\x10"
    table = table_of((TEXT, 16, left), (TEXT + 16, 16, PUSH_RBP), (TEXT + 32, 16, b""))
    assert table.lookup(TEXT + 15) == Rule(RuleKind.START)
    assert table.lookup(TEXT + 16) == table.lookup(TEXT + 32) == RSP_8
    assert table.lookup(TEXT + 17) == Rule(RuleKind.RSP, 16, -16)
    with pytest.raises(BrokenTable):
        table_of((TEXT, 16, left), (TEXT + 16, 16, b"\x0b"))


def plt(literal: int) -> bytes:
    code = bytes([0x77, 8, 0x80, 0, 0x3F, 0x1A, 0x30 + literal, 0x2A, 0x33, 0x24, 0x22])
    return b"\x0f" + bytes([len(code)]) + code


DEREF = b"\x06\x23\x08"
CASES = {
    "def_cfa": (b"\x0c\x07\x90\x01", Rule(RuleKind.RSP, 144)),
    "def_cfa_offset of two bytes": (b"\x0e\x88\x10", Rule(RuleKind.RSP, 2056)),
    "def_cfa_sf": (b"\x12\x06\x7e", Rule(RuleKind.RBP, 16)),
    "def_cfa_offset_sf": (b"\x13\x7c", Rule(RuleKind.RSP, 32)),
    "def_cfa_register": (b"\x0d\x06", Rule(RuleKind.RBP, 8)),
    "another register": (b"\x0d\x0a", Rule(RuleKind.UNSUPPORTED)),
    "no offset of it": (b"\x0e\xff\xff\xff\xff\x0f", Rule(RuleKind.UNSUPPORTED)),
    "offset_extended": (b"\x05\x06\x03", Rule(RuleKind.RSP, 8, -24)),
    "offset_extended_sf": (b"\x11\x06\x7f", Rule(RuleKind.RSP, 8, 8)),
    "negative_offset_extended": (b"\x2f\x06\x02", Rule(RuleKind.RSP, 8, 16)),
    "restore_extended": (b"\x86\x02\x06\x06", RSP_8),
    "same_value": (b"\x86\x02\x08\x06", RSP_8),
    "rbp undefined": (b"\x07\x06", Rule(RuleKind.RSP, 8, LOST)),
    "rbp in another register": (b"\x09\x06\x0c", Rule(RuleKind.RSP, 8, LOST)),
    "rbp by val_offset": (b"\x14\x06\x02", Rule(RuleKind.RSP, 8, LOST)),
    "rbp by expression": (b"\x10\x06\x02\x77\x78", Rule(RuleKind.RSP, 8, LOST)),
    "rbp by val_expression": (b"\x16\x06\x02\x77\x78", Rule(RuleKind.RSP, 8, LOST)),
    "rbp too far away": (b"\x86\xff\x7f", Rule(RuleKind.RSP, 8, LOST)),
    "other registers": (b"\x83\x02\x8c\x90\x01\x05\x0e\x04\x07\x03\xc3\x2e\x90\x01", RSP_8),
    "no caller": (b"\x07\x10", Rule(RuleKind.START)),
    "return address in a register": (b"\x09\x10\x05", Rule(RuleKind.UNSUPPORTED)),
    "return address elsewhere": (b"\x90\x02", Rule(RuleKind.UNSUPPORTED)),
    "return address given back": (b"\x09\x10\x05\xd0", RSP_8),
    "entry of a PLT": (plt(11), Rule(RuleKind.PLT, 11)),
    "entry of a PLT for CET": (plt(10), Rule(RuleKind.PLT, 10)),
    "OpenSSL": (b"\x0f\x06\x77\x98\x01" + DEREF, Rule(RuleKind.RSP_DEREF, 152)),
    "OpenSSL, red zone": (b"\x86\x02\x0f\x05\x77\x78" + DEREF, Rule(RuleKind.RSP_DEREF, -8, -16)),
    "aligned": (b"\x10\x06\x02\x76\x00\x0f\x03\x76\x58\x06", Rule(RuleKind.RBP_DEREF, -40)),
    "aligned, rbp elsewhere": (b"\x0f\x03\x76\x58\x06", Rule(RuleKind.UNSUPPORTED)),
    "some expression": (b"\x0f\x02\x77\x08", Rule(RuleKind.UNSUPPORTED)),
    "a signal's, but no signal": (b"\x0f\x04\x77\xa0\x01\x06", Rule(RuleKind.UNSUPPORTED)),
    "register of an expression": (plt(11) + b"\x0d\x07", Rule(RuleKind.UNSUPPORTED)),
    "an expression, then none": (plt(11) + b"\x0c\x07\x08", RSP_8),
}


@pytest.mark.parametrize(("instructions", "rule"), CASES.values(), ids=list(CASES))
def test_each_instruction(instructions, rule):
    assert rule_after(instructions) == rule


def test_a_signal_s_frame():
    by_expression = b"\x0f\x04\x77\xa0\x01\x06" + b"\x10\x10\x03\x77\xa8\x01"
    head = frames.cie(b"", letters=b"zRS")
    assert table_of((TEXT, 9, by_expression), head=head).lookup(TEXT) == Rule(RuleKind.SIGNAL)
    head = frames.cie(letters=b"zRS")
    assert table_of((TEXT, 9, b""), head=head).lookup(TEXT) == RSP_8


def test_what_a_cie_may_bring():
    personality = b"\x9b" + bytes(4) + b"\x1b\x1b"
    for head in (
        frames.cie(letters=b"zPLR", extra=personality),
        frames.cie(letters=b"zRPL", extra=b"\x1b\x00" + bytes(8) + b"\x1b"),
        frames.cie(version=3),
        frames.cie(b"\x00\x00" + frames.CIE_RSP_8 + b"\x00"),
    ):
        assert table_of((TEXT, 8, PUSH_RBP), head=head).lookup(TEXT) == RSP_8
    saved = frames.cie(frames.CIE_RSP_8 + b"\x86\x02")
    assert rule_after(b"\x86\x04\xc6", head=saved) == Rule(RuleKind.RSP, 8, -16)
    assert rule_after(b"", head=frames.cie(returns_at=15)) == Rule(RuleKind.UNSUPPORTED)
    assert rule_after(b"", head=frames.cie(b"")) == Rule(RuleKind.UNSUPPORTED)


@pytest.mark.parametrize(
    ("encoding", "form", "relative"),
    [(0x00, "<qq", False), (0x04, "<QQ", False), (0x1C, "<qQ", True), (0x03, "<II", False)],
)
def test_pointers_are_encoded_in_several_ways(encoding, form, relative):
    head = frames.cie(extra=bytes([encoding]))
    section = frames.eh_frame(VADDR, [], head)[:-4]
    place = len(section) + 8
    begin = TEXT - VADDR - place if relative else TEXT
    body = struct.pack("<I", place - 4) + struct.pack(form, begin, 8) + b"\0" + PUSH_RBP
    body += bytes(-len(body) % 4)
    table = cfi.table(section + struct.pack("<I", len(body)) + body, VADDR)
    assert told(table) == [
        (TEXT, RSP_8),
        (TEXT + 1, Rule(RuleKind.RSP, 16, -16)),
        (TEXT + 8, NONE),
    ]


def test_a_section_without_functions_is_an_empty_table():
    for section in (b"", bytes(4), bytes(64), frames.eh_frame(VADDR, [])):
        table = cfi.table(section, VADDR)
        frames.check(table)
        assert table.rows == b"" and table.lookup(TEXT) == NONE


def test_an_end_mark_in_the_middle_is_not_believed():
    one = frames.eh_frame(VADDR, [(TEXT, 8, b"")])[:-4]
    two = frames.eh_frame(VADDR + len(one) + 12, [(TEXT + 8, 8, PUSH_RBP)])
    table = cfi.table(one + bytes(12) + two, VADDR)
    assert [pc for pc, _ in told(table)] == [TEXT, TEXT + 9, TEXT + 16]


BROKEN = {
    "cut off in a number": b"\x0e\x80",
    "cut off in an operand": b"\x0e",
    "cut off in two": b"\x0c\x07",
    "cut off in an advance": b"\x04\x01",
    "cut off in an expression": b"\x0f\x05\x77",
    "an endless number": b"\x0c\x07" + b"\x80" * 40 + b"\x00",
    "an unknown instruction": b"\x3f",
    "set_loc": b"\x01" + bytes(8),
    "restored, never remembered": b"\x0b",
    "remembered without end": b"\x0a" * 65,
}


@pytest.mark.parametrize("instructions", BROKEN.values(), ids=list(BROKEN))
def test_broken_instructions_are_told(instructions):
    # As many as leave nothing to be filled up behind them, which would be read as theirs.
    body = b"\x41" * ((3 - len(instructions)) % 4) + instructions
    with pytest.raises(BrokenTable) as told:
        table_of((TEXT, 4096, body))
    assert not isinstance(told.value, TooLarge)


@pytest.mark.parametrize(
    "head",
    [
        frames.cie(version=4),
        frames.cie(letters=b"eh"),
        frames.cie(letters=b"zX"),
        frames.cie(extra=b"\x3b"),
        frames.cie(extra=b"\x9b"),
        frames.cie(extra=b"\x01"),
        frames.cie(letters=b"zRP", extra=b"\x1b\x50"),
        frames.cie(b"\x41" + frames.CIE_RSP_8),
        frames.cie()[:9],
        frames.cie()[:4],
    ],
)
def test_a_cie_that_cannot_be_read_is_told(head):
    with pytest.raises(BrokenTable):
        table_of((TEXT, 8, b""), head=head)


def test_bounds_are_kept(monkeypatch):
    grown = b"".join(b"\x41\x0e" + bytes([8 * at]) for at in range(1, 16))
    many = frames.eh_frame(VADDR, [(TEXT + 32 * at, 32, grown) for at in range(40)])
    rows = len(cfi.table(many, VADDR).rows) // 4
    assert cfi.table(many, VADDR, most_rows=rows)
    with pytest.raises(TooLarge):
        cfi.table(many, VADDR, most_rows=rows // 2)
    with pytest.raises(TooLarge):
        middle = 1 << 31
        ends = [(0x1000, 8, b""), (2 * middle - 0x1000, middle, b"")]
        cfi.table(frames.eh_frame(middle, ends), middle)
    with pytest.raises(TooLarge):
        monkeypatch.setattr(sections, "MOST_FUNCTIONS", 40)
        cfi.table(many, VADDR)
    with pytest.raises(TooLarge):
        cfi.table(bytes(cfi.MOST_BYTES + 1), VADDR)


def leb(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14])


def test_all_numbers_of_rules_can_be_given_and_no_more():
    body = b"".join(b"\x41\x0e" + leb(at) for at in range(65_532))
    table = table_of((TEXT, 70_000, body))
    assert len(table.rules) // 8 == 65_532 + 2  # and NONE, UNSUPPORTED
    assert table.lookup(TEXT + 40_000) == Rule(RuleKind.RSP, 39_999)
    with pytest.raises(TooLarge):
        table_of((TEXT, 70_000, body + b"\x41\x0e" + leb(65_532) + b"\x41\x0e" + leb(65_533)))


@pytest.mark.parametrize("instruction", [b"\x41\x0c\x0a", b"\x41\x86", b"\x41\x09\x10\x01\x0e"])
def test_states_are_counted_though_their_rules_are_equal(instruction):
    body = b"".join(instruction + leb(at) for at in range(140_000))
    with pytest.raises(TooLarge):
        table_of((TEXT, 1 << 20, body))


REAL, REAL_AT = frames.section(Path("/lib64/ld-linux-x86-64.so.2"))


def read(section: bytes, vaddr: int) -> None:
    """A table that keeps its promises, or BrokenTable."""
    try:
        table = cfi.table(section, vaddr, most_rows=200_000)
    except BrokenTable:
        return
    frames.check(table)


@given(st.binary(max_size=400), st.integers(0, (1 << 64) - 1))
@settings(deadline=None, max_examples=500)
def test_whatever_comes_is_a_table_or_told_to_be_broken(section, vaddr):
    read(section, vaddr)


@given(st.binary(max_size=60), st.binary(max_size=60), st.integers(0, 1 << 32))
@settings(deadline=None, max_examples=500)
def test_whatever_instructions_say(initial, body, long):
    head = frames.cie(frames.CIE_RSP_8 + initial)
    long &= 0xFFFF_FFFF
    read(frames.eh_frame(VADDR, [(TEXT, long, body), (TEXT + 64, 8, body)], head), VADDR)


@given(st.lists(st.tuples(st.integers(0, len(REAL) - 1), st.binary(min_size=1, max_size=8))))
@settings(deadline=None, max_examples=300)
def test_whatever_is_changed_in_a_real_one(changes):
    section = bytearray(REAL)
    for at, other in changes:
        section[at : at + len(other)] = other
    read(bytes(section), REAL_AT)


@given(st.integers(0, len(REAL)), st.integers(0, len(REAL)))
@settings(deadline=None, max_examples=100)
def test_whatever_part_of_a_real_one_is_there(first, last):
    read(REAL[first:last], REAL_AT)
