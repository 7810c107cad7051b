from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotenant.profile.python import lines
from cotenant.profile.python.lines import TABLE_LIMIT, Lines

VERSIONS = ((3, 9), (3, 10), (3, 11), (3, 14))


def test_every_line_of_this_pythons_standard_library():
    """The others': tests/kernel/test_profile_python_binaries.py."""
    script = Path(__file__).with_name("stdlib_lines.py")
    done = subprocess.run(
        [sys.executable, "-B", script, lines.__file__], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    compared, offsets = map(int, done.stdout.split())
    assert compared > 10_000 and offsets > 500_000


@pytest.mark.parametrize(
    ("version", "table", "told"),
    [
        # lnotab: 4 bytes on, line + 1; 6 on, line - 3; the last line goes on
        ((3, 9), bytes((4, 1, 6, 253)), {0: 10, 2: 10, 4: 11, 8: 11, 10: 8, 1000: 8}),
        # more than 127 lines further takes two pairs at one place
        ((3, 9), bytes((4, 127, 0, 73)), {0: 10, 4: 210}),
        # ranges: 4 bytes at line + 0, 2 without a line, 2 at line + 1; nothing after that
        ((3, 10), bytes((4, 0, 2, 128, 2, 1)), {0: 10, 2: 10, 4: 0, 6: 11, 8: 0}),
        # an empty range only moves the line
        ((3, 10), bytes((0, 127, 2, 73)), {0: 210}),
        # none for 1 unit, then + 5 without columns for 2, then one-line form + 1, then short form
        (
            (3, 11),
            bytes((0x80 | 15 << 3, 0x80 | 13 << 3 | 1, 10, 0x80 | 11 << 3, 4, 9, 0x80, 0)),
            {0: 0, 2: 15, 4: 15, 6: 16, 8: 16, 10: 0},
        ),
        # the long form: line - 2, end line, columns; of two bytes each
        (
            (3, 13),
            bytes((0x80 | 14 << 3, 5, 0x41, 1, 0x41, 1, 0x41, 1, 0x80 | 10 << 3, 0, 0)),
            {0: 8, 2: 8, 4: 0},
        ),
    ],
)
def test_lines_by_the_documented_forms(version, table, told):
    found = Lines(version, table, 10)
    assert {offset: found.line(offset) for offset in told} == told


@pytest.mark.parametrize("version", VERSIONS)
def test_a_frame_that_runs_nothing_yet_is_at_its_first_line(version):
    assert Lines(version, b"", 7).line(-1) == 7


@given(st.binary(max_size=300), st.integers(-(2**31), 2**31 - 1), st.integers(-5, 2**31))
@pytest.mark.parametrize("version", VERSIONS)
def test_any_bytes_are_a_table(version, table, first, offset):
    found = Lines(version, table, first)
    assert isinstance(found.line(offset), int)
    assert offset < 0 or found.line(offset) >= 0


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("byte", [0x00, 0x7F, 0x80, 0xFF, 0xE8, 0xF0])
def test_a_hostile_table_costs_one_step_per_byte(version, byte):
    """Beyond the limit it is not looked at: ten times as long takes no more memory."""
    found = Lines(version, bytes([byte]) * TABLE_LIMIT * 10, 1)
    assert found.size <= 8 * (TABLE_LIMIT + 2)
    assert found.line(2**32) >= 0
