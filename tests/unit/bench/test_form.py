"""The one form of every benchmark."""

from __future__ import annotations

import msgspec
import pytest
from scripts.gen_benchmarks_page import page

from cotenant.bench.form import Result, bar, cell, judged, milliseconds, tables


def result() -> Result:
    made = Result("meter", {"kernel": "6.18", "cores": 2}, "in turn")
    made.rows = [
        {"part": "collection", "way": "cotenant", "cpu_ms": 0.75},
        {"part": "collection", "way": "files", "cpu_ms": 16.0, "turns": 7},
        {"part": "page", "tenants": 200, "series": 12_000},
    ]
    made.bars = [bar("files against cotenant", 21.3, "times", ">=", 20, "files")]
    made.skip("cadvisor", "There is no Go here.")
    return made


@pytest.mark.parametrize(
    ("compare", "value", "holds"), [("<=", 5.0, True), ("<=", 5.1, False), (">=", 4.9, False)]
)
def test_a_bar_holds_up_to_its_limit(compare, value, holds) -> None:
    assert bar("x", value, "ms", compare, 5.0).holds is holds


def test_a_bar_is_judged_before_it_is_rounded() -> None:
    missed = bar("x", 5.00001, "ms", "<=", 5.0)
    assert (missed.value, missed.holds) == (5.0, False)


def test_json_has_the_keys_that_the_design_names() -> None:
    told = msgspec.json.decode(msgspec.json.encode(result()))
    assert list(told) == ["bench", "host", "method", "rows", "bars", "skipped"]
    assert set(told["bars"][0]) == {"name", "value", "unit", "compare", "bar", "holds", "peer"}
    assert told["skipped"] == [{"name": "cadvisor", "reason": "There is no Go here."}]
    assert msgspec.json.decode(msgspec.json.encode(result()), type=Result) == result()


def test_rows_become_a_table_for_each_part() -> None:
    first, second = tables(result().rows)
    assert first == (
        "collection",
        ["way", "cpu ms", "turns"],
        [["cotenant", "0.75", "–"], ["files", "16", "7"]],
    )
    assert second == ("page", ["tenants", "series"], [["200", "12,000"]])


def test_none_is_a_dash_and_zero_is_zero() -> None:
    assert [cell(None), cell(0), cell(0.0), cell(1234.5)] == ["–", "0", "0", "1,234"]


def test_a_median_is_told_in_ms() -> None:
    assert milliseconds([1_000_000, 3_000_000, 90_000_000]) == 3.0


def test_a_miss_is_called_a_miss() -> None:
    assert judged(bar("x", 6, "ms", "<=", 5))[-1] == "MISSED"


def test_the_page_is_filled_at_its_marks_only() -> None:
    text = (
        "# Head\n<!-- meter -->\nold\n<!-- /meter -->\n<!-- noise -->\nold\n<!-- /noise -->\ntail\n"
    )
    filled = page(text, {"meter": result()})
    assert filled.startswith("# Head\n<!-- meter -->\nHost: kernel 6.18, cores 2.\n")
    assert "| cotenant | 0.75 | – |" in filled
    assert "- not measured: cadvisor: There is no Go here." in filled
    assert filled.endswith("<!-- noise -->\nNot measured yet.\n<!-- /noise -->\ntail\n")
    assert page(filled, {"meter": result()}) == filled
