"""docs/noise.md tells the constants that the code has."""

from __future__ import annotations

import re
from pathlib import Path

from cotenant import buckets
from cotenant.kernel import records
from cotenant.noise import budget, programs, seats, verdict

ROOT = Path(__file__).parents[2]
PAGE = " ".join((ROOT / "docs/noise.md").read_text().split())
MAPS = (ROOT / "src/cotenant/bpf/noise/maps.bpf.h").read_text()


def defined(name):
    """A number that is #defined in maps.bpf.h."""
    found = re.search(rf"^#define {name} (\d+)", MAPS, re.M)
    assert found, name
    return int(found[1])


def test_the_verdict_is_told_as_it_is_judged():
    for told in (
        f"at least {verdict.LEAST_SHARE:.0%} of the window",
        f"at least {verdict.FOREIGN:.0%} of that",
        f"at most {verdict.STEAL:.0%} of it",
        f"over {verdict.USUAL_TIMES:.0f} times its usual, and over "
        f"{verdict.USUAL_P99_NS / 1e6:.0f} ms",
        f"its p99 is over {verdict.ABSOLUTE_P99_NS / 1e6:.0f} ms",
        f"{verdict.BEGIN} accusing windows in a row begin a finding, {verdict.END} in a row",
        f"own last {verdict.MEMORY} windows, and known after {verdict.PAST_S:.0f} s",
        f"over the last {verdict.SPAN} windows",
    ):
        assert told.replace("%", " %") in PAGE, told


def test_the_budget_is_told_as_it_is_kept():
    for told in (
        f"1 of {records.NOISE_TIMED:,} runs",
        f"Past {budget.SHARE * 100:.1f} % of the host's CPU time (`noise_budget`) for "
        f"{budget.OVER} windows",
        f"After {budget.UNDER} windows at half of the budget",
    ):
        assert told in PAGE, told


def test_the_bounds_are_told_as_they_are():
    spilled = re.search(r"max_entries, (\d+)\);\s+__type\(key, struct spilled_key\)", MAPS)
    assert spilled
    for told in (
        f"up to {programs.MAX_SEATS:,}, at least {programs.MIN_SEATS:,}; as many as fit in "
        f"{programs.MEMORY_BYTES >> 20} MiB",
        f"rests {seats.REST_S:.0f} s",
        f"| {defined('CELLS')}; one that was silent for {defined('CELL_REST')} collections",
        f"{int(spilled[1]):,} pairs",
        f"| {records.NOISE_PAIRS:,} | told by the next",
        f"slices of one CPU | {defined('SLICES')} |",
        f"ring of its last {defined('SLICES')} slices",
        f"{defined('TASKS'):,}, by the low bits of the pid",
        f"one per group and CPU in {programs.EVENTS_GAP_NS // 10**6} ms, "
        f"{records.NOISE_EVENTS_BYTES >> 10} KiB",
    ):
        assert told in PAGE, told
    assert defined("HELD_SPANS") == 4 and "the last four spans" in PAGE


def test_the_seats_are_told_as_they_are_counted():
    for cpus, told in re.findall(r"\| (\d+) \| ([\d,]+) \| [\d.]+ MB", PAGE):
        assert programs.seats_for(int(cpus)) == int(told.replace(",", ""))


def test_the_histogram_is_told_as_it_is():
    assert f"{buckets.COUNT} buckets" in PAGE and f"schema {buckets.SCHEMA}" in PAGE
    assert (
        f"from {buckets.BOUNDS_S[0] * 1e9:.0f} ns (2^-22 s) to {buckets.BOUNDS_S[-1]:.0f} s" in PAGE
    )
