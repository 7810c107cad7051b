"""The noise sense's part of the page: who has which lines, and that counters only rise."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.export.exposition import read
from tests.unit.export.noises import (
    API,
    BATCH,
    EVERYBODY,
    SECOND,
    SSH,
    buckets,
    finding,
    heard,
    waited,
    waits,
)
from tests.unit.export.synthetic import tenant

from cotenant.buckets import BOUNDS_S, COUNT
from cotenant.export.noise import Heard, Sheet, render
from cotenant.export.noise_families import LE
from cotenant.model import KERNEL, Kind, Tenant

HOSTILE = ['a"b\n{}', "back\\slash", "50%d", "%b%%", "\udcff", "한국어"]


def page(sheet: Sheet):
    return read(sheet.render().removeprefix(b"\n") + b"\n")


def test_every_tenant_has_its_waits():
    got = read(render(heard()))
    assert {line.labels["tenant"] for line in got.of("cotenant_waits_total")} == {
        who.name for who in EVERYBODY
    }
    one = {"tenant": "batch", "kind": "container"}
    assert got.value("cotenant_ran_seconds_total", **one) == "0.000000200"
    assert got.value("cotenant_waits_total", **one) == "203"
    assert got.value("cotenant_switches_total", switch="voluntary", **one) == "202"
    assert got.value("cotenant_switches_total", switch="involuntary", **one) == "203"
    assert got.value("cotenant_preemptions_total", by="self", **one) == "204"
    assert got.value("cotenant_preemptions_total", by="tenant", tenant="api") == "7"
    assert got.value("cotenant_preemptions_total", by="kernel", tenant="api") == "0"


def test_the_parts_of_a_wait_add_up_to_it():
    got = read(render(heard()))
    for who in EVERYBODY:
        own = {"tenant": who.name, "kind": who.kind.value}
        parts = got.of("cotenant_wait_reason_seconds_total", **own)
        assert len(parts) == 7
        whole = float(got.value("cotenant_waited_seconds_total", **own))
        assert sum(float(part.value) for part in parts) == pytest.approx(whole, abs=1e-9)
        assert float(got.value("cotenant_wait_seconds_sum", **own)) == whole
        foreign = got.value("cotenant_wait_reason_seconds_total", reason="tenant", **own)
        blamed = got.of("cotenant_blame_seconds_total", **own)
        assert sum(float(one.value) for one in blamed) == float(foreign)


def test_what_a_kernel_does_not_tell_apart_has_no_line():
    none = waited(5, irq_ns=None, steal_ns=None)
    got = read(render(Heard(waits(1, {API: none}))))
    reasons = {line.labels["reason"] for line in got.of("cotenant_wait_reason_seconds_total")}
    assert reasons == {"tenant", "self", "throttled", "idle", "unknown"}
    assert not got.of("cotenant_noise_host_cpu_ratio")


def test_the_classic_buckets_lie_on_bounds_of_our_own():
    assert len(LE) + 1 == 14
    assert [BOUNDS_S[i] for i in LE] == [2.0**n for n in range(-20, 6, 2)]


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**40), min_size=COUNT, max_size=COUNT))
def test_a_histogram_counts_all_waits_up_to_each_bound(counts):
    got = read(render(Heard(waits(1, {API: waited(buckets=tuple(counts))}))))
    lines = got.of("cotenant_wait_seconds_bucket")
    assert [line.labels["le"] for line in lines][-1] == "+Inf"
    for line in lines[:-1]:
        below = [bound for bound in BOUNDS_S if bound <= float(line.labels["le"])]
        assert int(line.value) == sum(counts[: len(below)])
    assert int(lines[-1].value) == sum(counts) == int(got.value("cotenant_wait_seconds_count"))
    assert all(int(a.value) <= int(b.value) for a, b in pairwise(lines))


def test_no_wait_is_in_the_sum_that_is_in_no_bucket():
    """While the budget allows counts alone, only the plain counters rise."""
    sheet = Sheet()
    first = waited(5, buckets=buckets(b20=4))
    sheet.note(Heard(waits(1, {API: first})))
    more = msgspec.structs.replace(first, waits=104, waited_ns=first.waited_ns + 7 * SECOND)
    sheet.note(Heard(waits(2, {API: more}, level="count")))
    sheet.note(Heard(waits(3, {API: more}, level="count")))
    got = page(sheet)
    assert got.value("cotenant_wait_seconds_count") == "4"
    assert got.value("cotenant_wait_seconds_sum") == f"{first.waited_ns / 1e9:.9f}"
    assert got.value("cotenant_waits_total") == "104"
    assert float(got.value("cotenant_waited_seconds_total")) > 7
    assert got.value("cotenant_noise_level") == "1"


def test_what_waited_meanwhile_is_written_anew():
    sheet = Sheet()
    sheet.note(Heard(waits(1, {API: waited(5), BATCH: waited(6)})))
    sheet.render()
    sheet.note(Heard(waits(2, {API: waited(50), BATCH: waited(6)})))
    fresh = Sheet()
    fresh.note(Heard(waits(2, {API: waited(50), BATCH: waited(6)})))
    assert sheet.render() == fresh.render()
    assert sheet.native() == fresh.native() != b""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(name):
    victim, culprit = tenant(8, name), tenant(9, name + "!")
    one = waits(1, {victim: waited(3), culprit: waited(4)}, {(victim, culprit): SECOND})
    sheet = Sheet()
    sheet.note(Heard(one, (finding(victim, (culprit, SECOND)),)))
    wanted = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    got = page(sheet)
    for family in ("cotenant_blame_seconds_total", "cotenant_noise_finding"):
        (line,) = got.of(family)
        assert (line.labels["tenant"], line.labels["culprit"]) == (wanted, wanted + "!")
    assert len(got.of("cotenant_wait_seconds_count", tenant=wanted)) == 1


def test_a_tenant_called_as_the_kernel_or_the_rest_is_told_apart():
    false_kernel, other = tenant(8, "kernel"), tenant(9, "other")
    books = {API: waited(), KERNEL: waited(9), false_kernel: waited(2), other: waited(3)}
    small = {(API, tenant(10 + i)): 1000 for i in range(3)}
    blame = {(API, KERNEL): SECOND, (API, false_kernel): SECOND, (API, other): SECOND}
    got = read(render(Heard(waits(1, books, blame | small))))
    assert len(got.of("cotenant_waits_total", tenant="kernel")) == 2
    told = {
        (line.labels["culprit"], line.labels.get("culprit_kind")): float(line.value)
        for line in got.of("cotenant_blame_seconds_total")
    }
    assert told == {
        ("kernel", "host"): 1.0, ("kernel", "container"): 1.0, ("other", "container"): 1.0,
        ("other", None): pytest.approx(3e-6),
    }  # fmt: skip


def test_a_dead_tenant_keeps_its_counters_for_a_while():
    sheet = Sheet(keep_finals_s=60)
    both = waits(1, {API: waited(5), BATCH: waited(6)}, {(API, BATCH): SECOND})
    sheet.note(Heard(both, began=(finding(),)))
    for second in (2, 30, 61):
        sheet.note(Heard(waits(second, {BATCH: waited(6)})))
        got = page(sheet)
        assert got.value("cotenant_ran_seconds_total", tenant="api") == "0.000000005"
        assert got.value("cotenant_blame_seconds_total", tenant="api") == "1.000000000"
        assert got.value("cotenant_noise_findings_total", tenant="api") == "1"
    sheet.note(Heard(waits(62, {BATCH: waited(6)})))
    got = page(sheet)
    assert not [line for line in got.lines if line.labels.get("tenant") == "api"]


def test_a_dead_one_yields_to_one_of_its_name():
    again = tenant(7, API.name)
    sheet = Sheet()
    sheet.note(Heard(waits(1, {API: waited(5), BATCH: waited(6)}, {(API, BATCH): SECOND})))
    books = {again: waited(7), BATCH: waited(6)}
    sheet.note(Heard(waits(2, books, {(again, BATCH): SECOND // 2})))
    got = page(sheet)
    assert got.value("cotenant_ran_seconds_total", tenant="api") == "0.000000007"
    assert len(got.of("cotenant_blame_seconds_total", tenant="api")) == 1


def test_a_renamed_tenant_has_its_new_name_at_once():
    sheet = Sheet()
    books: dict[Tenant, object] = {API: waited(5)}
    sheet.note(Heard(waits(1, books)))  # type: ignore[arg-type]
    sheet.render()
    renamed = msgspec.structs.replace(API, name="shop")
    sheet.note(Heard(waits(2, {renamed: books[API]})))  # type: ignore[dict-item]
    assert b'"api"' not in sheet.render() and b'"api"' not in sheet.native()
    assert page(sheet).of("cotenant_wait_seconds_sum", tenant="shop")


def test_a_finding_names_culprits_that_count():
    parts = ((BATCH, SECOND // 2), (SSH, SECOND // 4), (KERNEL, SECOND // 20))
    got = read(render(heard(findings=(finding(API, *parts),))))
    told = {line.labels["culprit"]: line.value for line in got.of("cotenant_noise_finding")}
    assert told == {"batch": "1", "ssh.service": "1"}
    assert got.value("cotenant_noise_findings_total", tenant="api") == "1"
    assert got.value("cotenant_noise_findings_total", tenant="batch") == "0"
    assert not read(render(heard(findings=()))).of("cotenant_noise_finding")


def test_what_the_sense_costs_and_misses():
    got = read(render(heard()))
    assert got.value("cotenant_noise_level") == "3"
    assert got.value("cotenant_noise_host_cpu_ratio") == "0.001250000"
    assert got.value("cotenant_noise_run_seconds", program="switched") == "0.000000150"
    lost = [line.value for line in got.lines if line.name.startswith("cotenant_noise_un")]
    assert lost == ["1", "2", "4", "6", "7"]
    assert got.value("cotenant_noise_backwards_total") == "3"


def test_nothing_sensed_is_level_0_and_no_made_up_value():
    assert [(line.name, line.value) for line in page(Sheet()).lines] == [
        ("cotenant_noise_level", "0")
    ]
    assert Sheet().native() == b""


def test_a_nested_or_kubernetes_tenant_carries_its_labels():
    pod = tenant(
        5, "default/shop/app", kind=Kind.CONTAINER, namespace="default", pod="shop",
        container="app",
    )  # fmt: skip
    got = read(render(Heard(waits(1, {pod: waited()}))))
    assert got.of("cotenant_wait_seconds_sum", namespace="default", pod="shop", container="app")
