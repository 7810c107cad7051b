"""CPU time: split as the kernel splits it, and never backwards."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cotenant.meter.cputime import Rising, split

NS = st.integers(0, 1 << 62)
READINGS = st.lists(st.tuples(NS, NS, NS), min_size=1, max_size=30)


@given(NS, NS, NS)
def test_user_and_system_add_up_to_usage(usage, user, system):
    parts = split(usage, user, system)
    assert sum(parts) == usage
    assert min(parts) >= 0


@given(st.integers(1, 1 << 40), st.integers(1, 1 << 40), st.integers(1, 1 << 40))
def test_the_ticks_proportion_divides_the_exact_total(usage, user, system):
    _, part = split(usage, user, system)
    assert abs(part * (user + system) - usage * system) < user + system


def test_a_part_that_has_no_tick_gets_nothing():
    assert split(70, 9, 0) == (70, 0)
    assert split(70, 0, 9) == (0, 70)
    assert split(70, 0, 0) == (70, 0)
    assert split(100, 30, 10) == (75, 25)


@given(READINGS)
def test_no_counter_ever_falls_or_is_negative(readings):
    rising = Rising()
    before = (0, 0, 0)
    for reading in readings:
        now = rising.rise(1, *reading)
        assert all(new >= old for new, old in zip(now, before, strict=True))
        assert now[1] + now[2] == now[0]
        before = now


@given(READINGS)
def test_usage_that_rises_is_given_out_as_it_is(readings):
    rising = Rising()
    for usage, user, system in sorted(readings):
        assert rising.rise(1, usage, user, system)[0] == usage
    assert rising.held == 0


def test_every_fall_of_usage_is_counted_as_held():
    rising = Rising()
    assert rising.rise(1, 100, 1, 1) == (100, 50, 50)
    assert rising.rise(1, 90, 1, 1) == (100, 50, 50)
    assert rising.rise(1, 99, 9, 1) == (100, 50, 50)
    assert rising.held == 2
    assert rising.rise(1, 101, 1, 1)[0] == 101
    assert rising.held == 2


def test_a_changed_proportion_lowers_neither_part():
    rising = Rising()
    assert rising.rise(1, 100, 1, 1) == (100, 50, 50)
    assert rising.rise(1, 104, 3, 1) == (104, 54, 50)
    assert rising.rise(1, 108, 1, 3) == (108, 54, 54)


def test_each_tenant_has_its_own_past():
    rising = Rising()
    rising.rise(1, 1000, 1, 1)
    assert rising.rise(2, 10, 1, 1) == (10, 5, 5)
    rising.forget(1)
    rising.forget(99)
    assert rising.rise(1, 20, 1, 1) == (20, 10, 10)
    assert rising.held == 0
