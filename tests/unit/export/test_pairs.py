"""Which pairs have a line of their own: bounded, and no line ever falls."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.export.noises import SECOND, waited, waits
from tests.unit.export.synthetic import tenant

from cotenant.export.pairs import LEAST_NS, QUIET_NS, Pairs
from cotenant.model import Tenant

WHO = tuple(tenant(key) for key in range(1, 7))
BOOKS = {who: waited() for who in WHO}
LINES = st.tuples(st.sampled_from(WHO), st.sampled_from(WHO)).filter(
    lambda pair: pair[0] != pair[1]
)
STEPS = st.lists(
    st.tuples(
        st.dictionaries(LINES, st.integers(0, 3 * LEAST_NS), max_size=12),
        st.sampled_from([1, 1, 1, 61]),
        st.integers(0, 4),
        st.sets(st.sampled_from(WHO), max_size=1),
    ),
    max_size=15,
)


@settings(deadline=None)
@given(STEPS)
def test_lines_only_rise_and_nothing_is_lost(steps):
    pairs, second, alive = Pairs(), 0, set(WHO)
    totals: dict[tuple[Tenant, Tenant], int] = {}
    before: dict[tuple[int, int | None], int] = {}
    foreign = dict.fromkeys([who.key for who in WHO], 0)
    for risen, pause, most, dying in steps:
        second += pause
        pairs.most = most
        alive -= dying
        totals = {p: ns for p, ns in totals.items() if p[0] in alive and p[1] in alive}
        for pair, ns in risen.items():
            if pair[0] in alive and pair[1] in alive:
                totals[pair] = totals.get(pair, 0) + ns
                foreign[pair[0].key] += ns
        now = waits(second, {who: BOOKS[who] for who in alive}, totals)
        pairs.note(now, now.waited.keys())
        lines = {(victim, culprit): ns for victim, culprit, ns in pairs.lines()}
        own = [pair for pair in lines if pair[1] is not None]
        assert len(own) <= most
        for pair, ns in lines.items():
            if pair in before and pair[1] is None:
                assert ns >= before[pair]
            elif pair in before and ns < before[pair]:
                assert ns <= risen[_pair(pair)]  # it lost its line and got a new one: begun at 0
        for who in alive:
            assert pairs.foreign.get(who.key, 0) == foreign[who.key]
        before = lines


def _pair(keys):
    return tuple(next(who for who in WHO if who.key == key) for key in keys)


def note(pairs, second, totals):
    now = waits(second, BOOKS, totals)
    pairs.note(now, now.waited.keys())
    return {(victim, culprit): ns for victim, culprit, ns in pairs.lines()}


def test_the_pairs_that_cost_most_have_lines_and_keep_them():
    a, b, c, d = WHO[:4]
    pairs = Pairs(2)
    lines = note(pairs, 1, {(a, b): 9 * SECOND, (a, c): 8 * SECOND, (a, d): 7 * SECOND})
    assert lines == {(1, 2): 9 * SECOND, (1, 3): 8 * SECOND, (1, None): 7 * SECOND}
    lines = note(pairs, 2, {(a, b): 10 * SECOND, (a, c): 9 * SECOND, (a, d): 70 * SECOND})
    assert lines == {(1, 2): 10 * SECOND, (1, 3): 9 * SECOND, (1, None): 70 * SECOND}


def test_a_pair_that_went_quiet_gives_way_to_one_that_is_not():
    a, b, c = WHO[:3]
    pairs = Pairs(1)
    totals = {(a, b): SECOND, (a, c): LEAST_NS - 1}
    assert note(pairs, 61, totals) == {(1, 2): SECOND, (1, None): LEAST_NS - 1}
    totals = {(a, b): SECOND + QUIET_NS - 1, (a, c): LEAST_NS}
    lines = note(pairs, 122, totals)
    assert lines == {(1, 2): SECOND + QUIET_NS - 1, (1, None): LEAST_NS}
    lines = note(pairs, 183, totals | {(a, c): LEAST_NS + SECOND})
    assert lines == {(1, 3): SECOND, (1, None): LEAST_NS}


def test_a_late_line_begins_at_what_rose_since():
    a, b = WHO[:2]
    pairs = Pairs()
    assert note(pairs, 1, {(a, b): LEAST_NS - 1}) == {(1, None): LEAST_NS - 1}
    lines = note(pairs, 2, {(a, b): LEAST_NS + 5})
    assert lines == {(1, 2): 6, (1, None): LEAST_NS - 1}


def test_no_lines_at_all_are_asked_for():
    a, b = WHO[:2]
    assert note(Pairs(0), 1, {(a, b): SECOND}) == {(1, None): SECOND}
