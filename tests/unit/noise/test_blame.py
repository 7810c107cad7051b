"""From two collections to delays; windows joined; what would have been fair."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.noise.made import MS, S, delay, tenant, waited, waits

from cotenant.model import HOST, KERNEL, Blame, Delay, Kind, Tenant, class_of
from cotenant.noise.blame import delays, fair_shares, merged

A, B, C = tenant(1, "a"), tenant(2, "b"), tenant(3, "c")


def test_delays_are_what_rose_in_between() -> None:
    before = waits(10, [(A, waited(ran_ns=5, waited_ns=100, self_ns=40, waits=3)), (B, waited())],
                   {(1, 2): Blame(60, 1)})  # fmt: skip
    now = waits(12, [(A, waited(ran_ns=9, waited_ns=250, self_ns=90, waits=7)), (B, waited())],
                {(1, 2): Blame(160, 4)})  # fmt: skip
    first, second = delays(now, before)
    assert (first.tenant, second.tenant) == (A, B)
    assert (first.seconds, first.ran_ns, first.waited_ns, first.waits) == (2.0, 4, 150, 4)
    assert {(p.culprit, p.reason): p.ns for p in first.parts} == {
        (B, "tenant"): 100,
        (None, "self"): 50,
    }
    assert first.culprit and (first.culprit.culprit, first.culprit.preempted) == (B, 3)
    assert first.preemptions == {"self": 0, "tenant": 3, "service": 0, "kernel": 0}
    assert second.parts == () and second.p99_ns is None


def test_without_a_before_they_are_what_rose_since_the_start() -> None:
    (only,) = delays(waits(12, [(A, waited(waited_ns=7, unknown_ns=7))]), None)
    assert only.seconds == 0 and only.waited_ns == 7 and only.share("unknown") == 1.0


def test_a_tenant_that_appears_is_counted_from_nought() -> None:
    (only,) = delays(waits(2, [(A, waited(waited_ns=7, idle_ns=7))]), waits(1, []))
    assert only.waited_ns == 7


def test_who_preempted_is_told_by_class() -> None:
    unit = Tenant(9, "cron", Kind.SERVICE, "/cron", {})
    assert [class_of(t) for t in (A, unit, HOST, KERNEL)] == [
        "tenant",
        "service",
        "service",
        "kernel",
    ]


part_lists = st.lists(
    st.tuples(st.sampled_from([B, C, "self", "steal"]), st.integers(0, S)), max_size=6
)


@given(st.lists(st.builds(lambda parts, p99: delay(A, parts, p99_ns=p99), part_lists,
                          st.floats(300, 1e9)), min_size=1, max_size=5))  # fmt: skip
def test_joined_windows_lose_nothing(windows: list[Delay]) -> None:
    joined = merged(windows)
    assert joined.seconds == pytest.approx(sum(w.seconds for w in windows))
    assert joined.waited_ns == sum(w.waited_ns for w in windows) == sum(p.ns for p in joined.parts)
    assert sum(joined.buckets) == joined.waits == sum(w.waits for w in windows)


def test_two_hogs_of_equal_weight_share_evenly_and_by_weight_otherwise() -> None:
    window = [delay(A, [(B, S // 2)], ran_ns=S // 2), delay(B, [(A, S // 2)], ran_ns=S // 2)]
    assert fair_shares(window, {}) == {1: S / 2, 2: S / 2}
    assert fair_shares(window, {1: 3072, 2: 1024}) == {1: 3 * S / 4, 2: S / 4}


def test_who_asks_for_little_gets_it_and_the_rest_goes_to_the_others() -> None:
    window = [
        delay(A, [(B, 100 * MS)], ran_ns=100 * MS),
        delay(B, [(A, 100 * MS)], ran_ns=900 * MS),
    ]
    assert fair_shares(window, {}) == {1: 200 * MS, 2: 800 * MS}


def test_being_throttled_asks_for_nothing() -> None:
    window = [
        delay(A, [(B, 100 * MS), ("throttled", 900 * MS)], ran_ns=100 * MS),
        delay(B, [(A, 800 * MS)], ran_ns=900 * MS),
    ]
    assert fair_shares(window, {})[1] == pytest.approx(200 * MS)


def test_nobody_contends_on_a_quiet_host() -> None:
    assert fair_shares([delay(A, [("idle", MS)], ran_ns=S), delay(B, ran_ns=S)], {}) == {}


@given(
    st.lists(
        st.tuples(st.integers(0, S), st.integers(1, S), st.integers(2, 4096)),
        min_size=2,
        max_size=6,
    )
)
def test_fair_shares_are_max_min(loads: list[tuple[int, int, int]]) -> None:
    """All is shared out, nobody gets more than it asked for, and who got less than that got no
    less by its weight than anybody else.
    """
    tenants = [tenant(i + 1) for i in range(len(loads))]
    window = [
        delay(who, [(tenants[i - 1], wait)], ran_ns=ran)
        for i, (who, (ran, wait, _)) in enumerate(zip(tenants, loads, strict=True))
    ]
    weights = {who.key: weight for who, (_, _, weight) in zip(tenants, loads, strict=True)}
    fair = fair_shares(window, dict(weights))
    ran = sum(load[0] for load in loads)
    assert sum(fair.values()) == pytest.approx(ran, rel=1e-6, abs=10)
    asked = {who.key: load[0] + load[1] for who, load in zip(tenants, loads, strict=True)}
    assert all(fair[key] <= asked[key] * (1 + 1e-9) + 1 for key in fair)
    short = [key for key in fair if fair[key] < asked[key] - 1]
    for key in short:
        level = fair[key] / weights[key]
        assert all(fair[other] / weights[other] <= level * (1 + 1e-6) + 1 for other in fair)
