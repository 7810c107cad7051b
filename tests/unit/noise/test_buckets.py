"""The buckets of user space against the kernel's own, and what is read off them."""

from __future__ import annotations

from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.noise.made import buckets

from cotenant.buckets import BOUNDS_S, COUNT, octaves, quantile_ns
from cotenant.kernel import records


def bucket_of(ns: int) -> int:
    """bpf/noise/waits.bpf.h: to_binary and bucket_of, word for word."""
    units = ns + (ns >> 13) * 604 if ns >> 35 else ns + ((ns * 316718722 & (1 << 64) - 1) >> 32)
    if units >> records.NOISE_FIRST_EXPONENT == 0:
        return 0
    exponent = units.bit_length() - 1
    if exponent > records.NOISE_LAST_EXPONENT:
        return records.NOISE_BUCKETS - 1
    part = (units << (63 - exponent)) >> 32
    quarter = (part >= 0x9837F052) + (part >= 0xB504F334) + (part >= 0xD744FCCB)
    return 1 + (exponent - records.NOISE_FIRST_EXPONENT) * records.NOISE_PER_OCTAVE + quarter


def test_both_sides_have_the_same_number_of_buckets() -> None:
    assert COUNT == records.NOISE_BUCKETS == len(BOUNDS_S) + 1


@given(st.floats(min_value=2.0, max_value=11.5).map(lambda e: int(10**e)))
def test_the_kernels_bucket_lies_where_the_bounds_say(ns: int) -> None:
    """At a bound, integers may fall to either side of it: within 1e-4 (1 ns below 20 us)."""
    found = bucket_of(ns)
    slack = max(1.0, ns * 1.2e-4)
    least, most = (bisect_right(BOUNDS_S, (ns + off) / 1e9) for off in (-slack, slack))
    assert least <= found <= most


def test_the_ends_are_open() -> None:
    assert bucket_of(0) == bucket_of(237) == 0
    assert bucket_of(240) == 1
    assert bucket_of(1 << 45) == COUNT - 1


@given(st.lists(st.integers(300, 100 * 10**9), min_size=1, max_size=200),
       st.floats(min_value=0.01, max_value=1.0))  # fmt: skip
def test_a_quantile_is_off_by_less_than_an_eighth_of_its_bucket_bounds(
    waits: list[int], share: float
) -> None:
    """It lies in the bucket of the true one: off by 2^(1/4) at most, and 9 % from its middle."""
    found = quantile_ns(buckets(*waits), share)
    assert found is not None
    waits.sort()
    true = waits[max(-(-len(waits) * share // 1).__int__() - 1, 0)]
    assert true / 2**0.25 * 0.999 <= found <= true * 2**0.25 * 1.001


@pytest.mark.parametrize("ns", [1_000, 83_400, 3_900_000, 131_000_000])
def test_a_known_p99_is_within_an_eighth(ns: int) -> None:
    found = quantile_ns(buckets(*[ns / 100] * 980, *[ns] * 20), 0.99)
    assert found == pytest.approx(ns, rel=0.125)


def test_no_waits_have_no_quantile() -> None:
    assert quantile_ns((0,) * COUNT, 0.5) is None


def test_all_in_the_last_bucket_is_its_bound() -> None:
    found = quantile_ns(buckets(300e9), 1.0)
    assert found is not None and found >= BOUNDS_S[-1] * 1e9


@given(st.lists(st.integers(0, 50), min_size=COUNT, max_size=COUNT))
def test_octaves_lose_no_wait(counts: list[int]) -> None:
    assert sum(octaves(counts, 1000)) == sum(counts)
