"""Unwind tables of this machine's binaries say what readelf says of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from tests.unit.profile import frames

from cotenant.profile.unwind import cfi
from cotenant.profile.unwind.rules import LOST, Rule, RuleKind

LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
NAMED = ["libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "libgcc_s.so.1", "libcrypto.so.3"]


def known() -> list[Path]:
    """The ones with something special in them, this Python, a shell."""
    named = [LIBRARIES / name for name in NAMED]
    return [path.resolve() for path in (*named, Path(sys.executable), Path("/bin/bash"))]


def binaries() -> list[Path]:
    """Those that are known, and a dozen more."""
    others = {path.resolve() for path in LIBRARIES.glob("lib*.so.*") if path.is_file()}
    small = sorted(path for path in others if os.stat(path).st_size < 3_000_000)
    step = max(1, len(small) // 13)
    return list(dict.fromkeys([*known(), *small[::step][:13]]))


EXPRESSIONS = {
    RuleKind.PLT,
    RuleKind.SIGNAL,
    RuleKind.RSP_DEREF,
    RuleKind.RBP_DEREF,
    RuleKind.UNSUPPORTED,
}


def is_same(row: frames.Row, rule: Rule) -> bool:
    if row.back == "u":
        return rule.kind == RuleKind.START
    register, plus, offset = row.cfa.partition("+")
    if row.cfa == "exp":
        return rule.kind in EXPRESSIONS
    if row.back != "c-8" or register not in ("rsp", "rbp"):
        return rule.kind == RuleKind.UNSUPPORTED
    return (
        rule.kind == (RuleKind.RSP if register == "rsp" else RuleKind.RBP)
        and rule.cfa == int(plus + offset)
        and rule.rbp == (int(row.rbp[1:]) if row.rbp[0] == "c" else 0 if row.rbp in "us" else LOST)
    )


@pytest.mark.parametrize("path", binaries(), ids=lambda path: path.name)
def test_all_rows_are_readelfs(path):
    """Of the libraries that happen to be here, some have no function at all, and in libgcrypt's
    assembler a register alone follows an expression: without a meaning, but readelf goes on.
    """
    is_known = path in known()
    table = cfi.table(*frames.section(path))
    frames.check(table)
    seen = expressed_in = 0
    ends: dict[int, bool] = {}
    for row in frames.rows(path):
        if row.pc < row.end:
            rule = table.lookup(row.pc)
            expressed_in = row.end if row.cfa == "exp" else expressed_in
            is_left_out = row.end == expressed_in and rule.kind == RuleKind.UNSUPPORTED
            assert is_same(row, rule) or (is_left_out and not is_known), f"{row} is {rule}"
            ends[row.end] = ends.get(row.end, False)
            seen += 1
        ends[row.pc] = True
    assert seen > 1 if is_known else seen or not table.rows
    for end, has_row in ends.items():
        assert has_row or table.lookup(end) == Rule(RuleKind.NONE)


def test_special_rules_are_found_where_they_are_known_to_be():
    libc = cfi.table(*frames.section(LIBRARIES / "libc.so.6"))
    libcrypto = cfi.table(*frames.section(LIBRARIES / "libcrypto.so.3"))
    assert {RuleKind.PLT, RuleKind.START, RuleKind.SIGNAL} <= _kinds(libc)
    assert {RuleKind.PLT, RuleKind.RSP_DEREF} <= _kinds(libcrypto)


def _kinds(table: cfi.Table) -> set[int]:
    return {table.rule(row >> 16).kind for row in memoryview(table.rows).cast("I")}


def test_a_table_survives_being_packed():
    table = cfi.table(*frames.section(LIBRARIES / "libm.so.6"))
    assert cfi.Table.unpacked(table.packed()) == table
    for length in (0, 10, 16, 17, len(table.packed()) - 4):
        with pytest.raises(cfi.BrokenTable):
            cfi.Table.unpacked(table.packed()[:length])
