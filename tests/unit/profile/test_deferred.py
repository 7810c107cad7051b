"""Stacks that are walked later, against stacks laid out by hand."""

from __future__ import annotations

import struct

import pytest

from cotenant.kernel import records
from cotenant.profile.binaries import CodeFile
from cotenant.profile.deferred import FILE_WORD, MOST_WAIT_NS, Deferred
from cotenant.profile.processes.mappings import ANONYMOUS, Mapping
from cotenant.profile.programs import SAMPLE
from cotenant.profile.read import HEAD_BYTES, head_of
from cotenant.profile.unwind.rules import Rule, RuleKind, Rules, Table

BASE, SP, TGID, STARTED, KERNEL = 0x40_0000, 0x7FFF_0100, 7, 1234, (0xFFFF_0001, 0xFFFF_0002)
FUNCTIONS = {
    0x1000: Rule(RuleKind.RSP, 16),
    0x1100: Rule(RuleKind.RSP, 24, -16),
    0x1200: Rule(RuleKind.RBP, 16, -16),
    0x1300: Rule(RuleKind.START),
    0x1400: Rule(RuleKind.SIGNAL),
    0x1500: Rule(RuleKind.UNSUPPORTED),
    0x1600: Rule(RuleKind.RSP, 8, 1),
    0x1700: Rule(RuleKind.NONE),
    0x1800: Rule(RuleKind.PLT, 11),
    0x1900: Rule(RuleKind.RSP_DEREF, 8),
    0x1A00: Rule(RuleKind.RBP_DEREF, -8),
}
MAPPINGS = (
    Mapping(BASE, BASE + 0x10000, 0, "/bin/made", "aa"),
    Mapping(BASE + 0x20000, BASE + 0x30000, 0, "", kind=ANONYMOUS),
)


class OneFile(CodeFile):
    def bias(self, mapping):
        return mapping.start


class Made:
    """One binary whose functions are `FUNCTIONS`, or that is still waiting for its table."""

    def __init__(self) -> None:
        rules = Rules()
        rows = b"".join(
            struct.pack("<I", address | rules[rule]) for address, rule in FUNCTIONS.items()
        )
        self.table = Table(0, struct.pack("<II", 0, len(FUNCTIONS)), rows, rules.packed())
        self.file = OneFile(5, "/bin/made", "aa", "")
        self.nothing = OneFile(0, "", "", "")
        self.waits = False
        self.hurried = 0

    def rules(self, file):
        return self.table

    def is_waiting(self, file):
        return self.waits

    def hurry(self, file):
        self.hurried += 1

    def of(self, tgid, mapping):
        assert tgid == TGID
        return self.nothing if mapping.kind == ANONYMOUS else self.file


def snapshot(ip, words, bp=0, at_ns=100, stack_tail=b""):
    head = SAMPLE.pack(
        at_ns, 0, 0, 99, STARTED, TGID, records.PROFILE_CPU, records.PROFILE_END_NO_PROCESS, 0, 3,
        len(KERNEL), b"short",
    )  # fmt: skip
    stack = struct.pack(f"<{len(words)}Q", *words) + stack_tail
    return head + struct.pack("<3Q2Q", ip, SP, bp, *KERNEL) + stack


def walked(raw, made=None, mappings=MAPPINGS, now_ns=100):
    made = made or Made()
    deferred = Deferred(made, made.of)
    deferred.keep(raw)
    for each in deferred.due(1000):
        each.mappings = mappings
    (sample,) = deferred.finish(now_ns)
    head = head_of(sample[24:])
    words = memoryview(sample)[24 + HEAD_BYTES :].cast("Q").tolist()
    assert (head.tgid, head.started, head.comm) == (TGID, STARTED, "short")
    assert tuple(words[head.user :]) == KERNEL
    return tuple(words[: head.user]), head


def told(*addresses):
    return tuple(FILE_WORD | 5 << records.PROFILE_ADDRESS_BITS | address for address in addresses)


def to(address):
    """A return address that lies in the function at that one."""
    return BASE + address + 5


def test_from_the_innermost_function_to_the_threads_start():
    # leaf: 16 bytes; then 24 with rbp saved 16 below its frame address; then by that rbp
    stack = [0, to(0x1100), 0, SP + 40, to(0x1200), 0, to(0x1300)]
    user, head = walked(snapshot(BASE + 0x1002, stack))
    assert user == told(0x1002, 0x1104, 0x1204, 0x1304)
    assert head.end == records.PROFILE_END_COMPLETE


@pytest.mark.parametrize(
    ("ip", "stack", "bp", "end", "count"),
    [
        (0x1500, [], 0, records.PROFILE_END_UNSUPPORTED, 1),
        (0x1700, [], 0, records.PROFILE_END_COMPLETE, 1),
        (0x1700, [], 8, records.PROFILE_END_NO_RULE, 1),
        (0x1700, [SP + 64, to(0x1300)], SP, records.PROFILE_END_COMPLETE, 2),
        (0x1700, [SP + 64, 0x1234], SP, records.PROFILE_END_NO_RULE, 1),
        (0x1000, [0, 0], 0, records.PROFILE_END_COMPLETE, 1),
        (0x1000, [0, 0x1234], 0, records.PROFILE_END_NO_MAPPING, 2),
        (0x1000, [0], 0, records.PROFILE_END_FAULT, 1),
        (0x1200, [0], SP - 64, records.PROFILE_END_FAULT, 1),
        (0x1600, [to(0x1200)], SP, records.PROFILE_END_FAULT, 2),  # rbp is lost, then asked for
        (0x180F, [0, to(0x1300)], 0, records.PROFILE_END_COMPLETE, 2),
        (0x1801, [to(0x1300)], 0, records.PROFILE_END_COMPLETE, 2),
        (0x1900, [0, SP + 16, to(0x1300)], 0, records.PROFILE_END_COMPLETE, 2),
        (0x1A00, [SP + 24, 0, to(0x1300)], SP + 8, records.PROFILE_END_COMPLETE, 2),
    ],
)
def test_how_a_walk_ends(ip, stack, bp, end, count):
    user, head = walked(snapshot(BASE + ip, stack, bp))
    assert (head.end, len(user)) == (end, count)


def test_a_stack_that_goes_on_behind_its_snapshot_is_told_as_such():
    whole = (1 + records.PROFILE_SNAPSHOT_PAGES) * records.PROFILE_PAGE
    _, head = walked(snapshot(BASE + 0x1200, [], SP + whole, stack_tail=bytes(whole - 64)))
    assert head.end == records.PROFILE_END_SNAPSHOT
    _, head = walked(snapshot(BASE + 0x1200, [], SP + whole, stack_tail=bytes(4096)))
    assert head.end == records.PROFILE_END_FAULT  # the stack itself ended


def test_back_from_a_signals_handler():
    frame = [0] * 24
    frame[(40 + 80) // 8], frame[(40 + 120) // 8] = 0, SP + 160
    frame[(40 + 128) // 8] = BASE + 0x1300
    user, head = walked(snapshot(BASE + 0x1400, frame))
    assert (user, head.end) == (told(0x1400, 0x1300), records.PROFILE_END_COMPLETE)


def test_jit_code_goes_by_the_frame_pointer():
    jit = BASE + 0x20010
    user, head = walked(snapshot(jit, [SP + 32, to(0x1300)], SP))
    assert (user, head.end) == ((jit, *told(0x1304)), records.PROFILE_END_COMPLETE)
    assert walked(snapshot(jit, [0, 0], SP - 8))[1].end == records.PROFILE_END_JIT


def test_whose_mappings_never_came_is_told_as_the_kernel_would_have():
    for mappings, end in ((None, records.PROFILE_END_NO_PROCESS), ((), 1)):
        user, head = walked(snapshot(BASE + 0x1000, [0]), mappings=mappings)
        assert (user, head.end) == ((BASE + 0x1000,), end)


def test_it_waits_for_a_table_but_not_for_ever():
    made = Made()
    made.waits = True
    deferred = Deferred(made, made.of)
    deferred.keep(snapshot(BASE + 0x1300, []))
    deferred.keep(snapshot(BASE + 0x1300, [], at_ns=5000))
    due = list(deferred.due(1000))
    assert [each.at_ns for each in due] == [100]
    due[0].mappings = MAPPINGS
    assert list(deferred.finish(200)) == []
    assert made.hurried == 1
    assert len(list(deferred.finish(100 + MOST_WAIT_NS))) == 1
    assert [each.at_ns for each in deferred.due(6000)] == [5000]
    assert len(list(deferred.finish(0))) == 1  # nothing waits at the end
