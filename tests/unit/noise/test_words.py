"""A finding in words."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.unit.noise.made import MS, Parts, S, delay, tenant

from cotenant.model import Finding
from cotenant.noise.words import duration, sentence

API, ONE, TWO = tenant(1, "api"), tenant(2, "batch-7"), tenant(3, "batch-9")


def test_the_sentence_with_its_arithmetic() -> None:
    parts: Parts = [(ONE, 1323 * MS), (TWO, 1296 * MS), ("self", 54 * MS), ("idle", 27 * MS)]
    finding = Finding(delay(API, parts, p99_ns=14 * MS, seconds=10), 0.3 * MS, "baseline", 0)
    assert sentence(finding) == (
        "api waited 2.7 s in the last 10 s (p99 14 ms, usual 0.3 ms): 49 % batch-7, 48 % batch-9, "
        "2 % itself, 1 % waking an idle CPU; not throttled, no steal"
    )


def test_what_the_kernel_does_not_tell_apart_is_not_said_to_be_absent() -> None:
    found = replace(delay(API, [(ONE, 600 * MS)], p99_ns=5 * MS, seconds=3), unmeasured=("steal",))
    assert sentence(Finding(found, None, "absolute", 0)).endswith(
        "not throttled, steal not measured"
    )


def test_the_sentence_without_a_past_says_so() -> None:
    parts: Parts = [(ONE, 600 * MS), ("throttled", 300 * MS), ("steal", 100 * MS)]
    finding = Finding(delay(API, parts, p99_ns=5.5 * MS, seconds=3), None, "absolute", 0)
    assert sentence(finding) == (
        "api waited 1.0 s in the last 3 s (p99 5.5 ms, its usual not known yet: over 2 ms, most of "
        "it for others): 60 % batch-7, 30 % its own quota, 10 % the hypervisor; 30 % throttled, "
        "10 % steal"
    )


@pytest.mark.parametrize(
    "ns, text",
    [(0, "0 us"), (99_999, "100 us"), (300_000, "0.3 ms"), (MS, "1.0 ms"), (14.4 * MS, "14 ms"),
     (2.7 * S, "2.7 s"), (90 * S, "90 s")],
)  # fmt: skip
def test_durations(ns: float, text: str) -> None:
    assert duration(ns) == text
