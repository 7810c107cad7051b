"""Tenants that did nothing are told at next to no price, and told the same."""

from __future__ import annotations

import msgspec
from tests.unit.export.noises import API, BATCH, SECOND, waited, waits

from cotenant.noise.blame import delays


def test_who_did_nothing_has_an_empty_window_like_any_other():
    book = waited(5)
    copy = msgspec.structs.replace(book)  # equal, and not known to be
    before = waits(1, {API: book, BATCH: book})
    quick, slow = delays(waits(2, {API: book, BATCH: copy}), before)
    assert msgspec.structs.replace(quick, tenant=slow.tenant) == slow
    assert (quick.waits, quick.waited_ns, quick.seconds, quick.p99_ns) == (0, 0, 1.0, None)
    assert not any(quick.buckets) and quick.parts == ()


def test_a_part_that_is_told_late_is_not_lost_on_who_did_nothing():
    book = waited(5)
    before, now = waits(1, {API: book}), waits(2, {API: book}, {(API, BATCH): SECOND})
    (delay,) = delays(now, before)
    assert [(part.culprit, part.ns) for part in delay.parts] == [(BATCH, SECOND)]


def test_windows_share_nothing_that_could_be_written_to():
    now = waits(2, {API: (book := waited(5)), BATCH: book})
    one, other = delays(now, waits(1, {API: book, BATCH: book}))
    one.preemptions["self"] += 1
    assert other.preemptions["self"] == 0
