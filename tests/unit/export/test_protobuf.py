"""The page in protobuf says what the page in text says, and the native buckets are the kernel's."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.export import exposition, proto
from tests.unit.export.noises import API, buckets, heard, waited, waits
from tests.unit.export.synthetic import sample, snapshot, tenant
from tests.unit.export.test_prometheus import COST

from cotenant.buckets import BOUNDS_S, COUNT
from cotenant.export.native import sparse
from cotenant.export.noise import Heard, Sheet
from cotenant.export.prometheus import Page
from cotenant.export.protobuf import Converter, varint, zigzag

NAMES = [
    "plain",
    'a"b\n{}',
    "back\\slash",
    "back\\nslash",
    "50%d",
    "\udcff",
    "한국어",
    "} 1",
    "\n# HELP x y\nx 1",
    'x="y",',
]


def both(*names: str) -> tuple[exposition.Read, list[proto.Family]]:
    """The same page both ways."""
    page = Page().render(snapshot(*[sample(tenant(i, n), i) for i, n in enumerate(names)]), COST)
    sheet = Sheet()
    sheet.note(heard())
    page = page.removesuffix(b"\n") + sheet.render(histogram=False)
    return exposition.read(page + b"\n"), proto.read(Converter().convert(page))


def flat(families: list[proto.Family]) -> list[tuple[str, dict[str, str], float]]:
    return [
        (one.name, labels, value)
        for one in families
        for labels, value in one.metrics
        if isinstance(value, float)
    ]


def test_every_line_is_there_with_its_labels_and_its_value():
    text, families = both(*NAMES)
    assert flat(families) == [(one.name, one.labels, float(one.value)) for one in text.lines]
    assert {one.name: one.type for one in families} == text.types
    assert {one.name: one.help for one in families} == text.helps


@settings(deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=3, unique=True))
def test_any_name_survives(names):
    text, families = both(*names)
    assert flat(families) == [(one.name, one.labels, float(one.value)) for one in text.lines]


def test_what_is_kept_from_page_to_page_changes_nothing():
    converter = Converter()
    for names in (("a", "b"), ("b", "c"), ("c",)):
        page = Page().render(snapshot(*[sample(tenant(i, n)) for i, n in enumerate(names)]))
        assert converter.convert(page) == Converter().convert(page)
        assert all(len(kept) <= page.count(b"\n") for kept in converter._known.values())


@given(st.integers(0, 2**64 - 1))
def test_varints(value):
    assert proto._varint(varint(value), 0) == (value, len(varint(value)))


@given(st.integers(-(2**62), 2**62))
def test_zigzag(value):
    assert proto._signed(zigzag(value)) == value


def histogram(counts) -> proto.Histogram:
    sheet = Sheet()
    sheet.note(Heard(waits(1, {API: waited(buckets=tuple(counts))})))
    (one,) = proto.read(sheet.native())
    assert (one.name, one.type) == ("cotenant_wait_seconds", "histogram")
    found = one.value(tenant="api", kind="container")
    assert isinstance(found, proto.Histogram)
    return found


SPARSE = st.lists(st.one_of(st.just(0), st.integers(0, 2**40)), min_size=COUNT, max_size=COUNT)


ENDS = [2.0 ** (k / 4) for k in range(-100, 40)]
"""Where the native buckets of schema 2 end, from bucket -100 on."""


@settings(deadline=None)
@given(SPARSE)
def test_native_buckets_are_our_own(counts):
    found = histogram(counts)
    assert found.waits == sum(counts) == found.zero_count + sum(found.buckets.values())
    assert (found.schema, found.zero_threshold) == (2, 2.0**-22)
    assert found.zero_count == counts[0]
    for i in range(1, COUNT):
        end = BOUNDS_S[i] if i < len(BOUNDS_S) else 2.0 ** (29 / 4)
        assert found.buckets.get(ENDS.index(end) - 100, 0) == counts[i]
    for bound, count in found.classic.items():
        assert count == sum(counts[: BOUNDS_S.index(bound) + 1])
    assert found.sum == pytest.approx(waited(buckets=tuple(counts)).waited_ns / 1e9)


def test_spans_are_joined_over_short_gaps():
    spans, deltas = sparse(buckets(b10=5, b11=7, b14=1, b18=2))
    assert spans == [(-78, 5), (3, 1)]
    assert deltas == [5, 2, -7, 0, 1, 1]


def test_an_empty_histogram_is_still_a_native_one():
    found = histogram([0] * COUNT)
    assert (found.waits, found.schema, found.buckets) == (0, 2, {})
    assert sparse([0] * COUNT) == ([(0, 0)], [])


def test_labels_of_the_histogram_are_those_of_the_text():
    sheet = Sheet()
    sheet.note(heard())
    text = exposition.read(sheet.render().removeprefix(b"\n") + b"\n")
    (one,) = proto.read(sheet.native())
    for labels, value in one.metrics:
        assert isinstance(value, proto.Histogram)
        assert text.value("cotenant_wait_seconds_count", **labels) == str(value.waits)
        assert float(text.value("cotenant_wait_seconds_sum", **labels)) == value.sum
        lines = text.of("cotenant_wait_seconds_bucket", **labels)
        assert [int(line.value) for line in lines[:-1]] == list(value.classic.values())
