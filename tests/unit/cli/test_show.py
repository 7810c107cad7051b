from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from tests.unit.snapshots import HOSTILE

from cotenant.cli import show


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "–"),
        (0, "0"),
        (0.2, "<1"),
        (980, "980"),
        (1023.6, "1.0K"),
        (1536, "1.5K"),
        (12 << 20, "12M"),
        ((1 << 30) - 1, "1.0G"),
        (1023 << 20, "1023M"),
        (2000 << 60, "2000E"),
    ],
)
def test_bytes_are_short(value, told):
    assert show.amount(value) == told


@pytest.mark.parametrize(
    ("share", "told"),
    [(None, "–"), (0, "0"), (0.0001, "<0.1"), (0.032, "3.2"), (0.9999, "100"), (16, "1600")],
)
def test_shares_are_of_a_hundred(share, told):
    assert show.percent(share) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [(None, "–"), (0, "0"), (9999, "9999"), (12345, "12k"), (3.4e6, "3.4M"), (1.25, "1.2")],
)
def test_counts_are_short(value, told):
    assert show.count(value) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, "–"),
        (0, "0 s"),
        (0.0032, "3.2 ms"),
        (250, "4 min 10 s"),
        (7265, "2 h 1 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_times_have_two_units(seconds, told):
    assert show.duration(seconds) == told


@given(st.floats(0, 1e18))
def test_no_figure_outgrows_its_column(value):
    assert len(show.amount(value)) <= 5
    assert len(show.count(value)) <= 5
    assert len(show.percent(value / 1e15)) <= 6


@given(st.text() | st.sampled_from(HOSTILE), st.integers(1, 60))
def test_no_name_touches_the_screen_around_it(text, width):
    shown = show.name(text, width)
    assert cell_len(shown) <= width
    odd = {c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")}
    assert not odd
    assert not {c for c in shown if unicodedata.category(c) == "Cf"} - {"\u200e"}


def test_names_keep_what_tells_them_apart():
    assert show.name("kubepods-burstable-pod1234", 14) == "kubepods-…1234"
    assert show.name("web1", 14) == "web1"


@pytest.mark.parametrize("width", [14, 17, 20, 26])
def test_of_a_path_the_last_part_stays_whole_where_it_fits(width):
    names = [f"cotenant-demo.slice/{one}" for one in ("demo-hog", "demo-cache", "demo-limit")]
    shown = [show.name(name, width) for name in names]
    assert [name.rpartition("/")[2] for name in shown] == ["demo-hog", "demo-cache", "demo-limit"]
    assert show.name("prod/db-0/mysql", 12) == "…/db-0/mysql"
    assert show.name("process_api/" + "8de843" * 8, 20) == "process_api/8…8de843"
    assert show.name("a" * 30 + "/", 8) == "aaaaa…a/"


def test_what_cannot_be_seen_is_written_out():
    assert show.name('a"b\n{}') == 'a"b\\n{}'
    assert show.name("\u202eevil") == "\\u202eevil"
    assert show.name("") == "''"
    assert show.name("not\udcffutf8") == "not\\udcffutf8"


def test_letters_from_right_to_left_are_closed_so_that_figures_stay():
    assert show.name("כלב") == "כלב\u200e"


def test_none_and_zero_look_different_in_bars_too():
    assert show.spark([None, 0.0, 1.0], 1.0) == " ▁▇"
    assert show.meter(None, 4) == "    "
    assert show.meter(0.001, 4) == "╸   "
    assert show.meter(1.7, 4) == "━━━━"
