"""From two snapshots to rates, and the row `host` that makes the rows sum to the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.meter.trees import tenant
from tests.unit.snapshots import MACHINE, make

from cotenant.meter.host import ROOT
from cotenant.meter.usage import between, rest, usages, whole
from cotenant.model import (
    HOST,
    UNATTRIBUTED,
    Cpu,
    Disk,
    Interface,
    Memory,
    Pids,
    Sample,
    Snapshot,
    Tenant,
    Throttle,
    Traffic,
    Usage,
)

SECOND = 1_000_000_000
RATES = [name for name in Usage.__struct_fields__ if name.endswith(("_cores", "_rate"))]


def snapshot(
    at_s: float, root: Sample, samples: Sequence[Sample] = (), finals: Sequence[Sample] = ()
) -> Snapshot:
    return Snapshot(int(at_s * SECOND), 0.0, "files", MACHINE, root, tuple(samples), tuple(finals))


def cpu(usage_s: float) -> Cpu:
    ns = int(usage_s * SECOND)
    return Cpu(ns, ns * 3 // 4, ns - ns * 3 // 4)


def sample(who: Tenant, at_s: float, **parts: Any) -> Sample:
    return Sample(who, int(at_s * SECOND), **parts)


def memory(**values: int | None) -> Memory:
    fields: dict[str, int | None] = dict.fromkeys(Memory.__struct_fields__)
    return Memory(**fields | {"usage": 0} | values)  # type: ignore[arg-type]


A, B = tenant("/a", 1), tenant("/b", 2)
INNER = tenant("/a/inner", 3, parent=1)


def pair(before: dict[str, Any], now: dict[str, Any]) -> Usage:
    return between(sample(A, 12.0, **now), sample(A, 10.0, **before))


def test_a_rate_is_growth_over_the_time_between():
    got = pair(
        {"cpu": cpu(5), "memory": memory(pgmajfault=10), "disks": (Disk(8, 0, "", 100, 0, 1, 1),)},
        {"cpu": cpu(6), "memory": memory(pgmajfault=14), "disks": (Disk(8, 0, "", 100, 0, 1, 1),
                                                                   Disk(8, 16, "", 4, 10, 1, 1))},
    )  # fmt: skip
    assert got.seconds == 2
    assert got.cpu_cores == pytest.approx(0.5)
    assert got.cpu_user_cores == pytest.approx(0.375)
    assert got.major_faults_rate == 2
    assert (got.read_bytes_rate, got.written_bytes_rate) == (2, 5)


def test_without_a_sample_before_there_is_no_rate():
    for before in (None, sample(A, 10, cpu=cpu(1)), sample(A, 11, cpu=cpu(1))):
        got = between(sample(A, 10, cpu=cpu(2)), before)
        assert all(getattr(got, name) is None for name in (*RATES, "seconds", "throttled_share"))


def test_not_measured_is_none_and_measured_nothing_is_zero():
    idle = {"cpu": cpu(1), "memory": memory(pgmajfault=1), "disks": (),
            "traffic": Traffic(1, 1, 1, 1)}  # fmt: skip
    assert all(getattr(pair(idle, idle), name) == 0 for name in RATES)
    assert all(getattr(pair({}, {}), name) is None for name in RATES)
    assert all(getattr(pair({}, idle), name) is None for name in RATES), "measured once only"
    unsplit = {"cpu": Cpu(5, None, None), "memory": memory(pgmajfault=None)}
    got = pair(unsplit, unsplit)
    assert (got.cpu_cores, got.cpu_user_cores, got.major_faults_rate) == (0, None, None)


def test_a_counter_that_began_anew_gives_no_negative_rate():
    got = pair(
        {"cpu": cpu(9), "traffic": Traffic(9, 9, 9, 9)},
        {"cpu": cpu(1), "traffic": Traffic(1, 1, 1, 1)},
    )
    assert (got.cpu_cores, got.received_bytes_rate) == (0, 0)


def test_network_rates_are_the_interfaces_where_the_tenant_has_its_own():
    def both(n: int) -> dict[str, Any]:
        traffic = Traffic(1000 * n, 0, 1000 * n, 0)
        one = Interface("eth0", 10 * n, 0, 0, 0, 20 * n, 0, 0, 0)
        return {"traffic": traffic, "interfaces": (one, one)}

    got = pair(both(0), both(1))
    assert (got.received_bytes_rate, got.sent_bytes_rate) == (10, 20)
    without = [{"traffic": both(n)["traffic"]} for n in (0, 1)]
    assert pair(*without).received_bytes_rate == 500


@pytest.mark.parametrize(
    ("periods", "throttled", "share"), [(10, 5, 0.5), (10, 0, 0.0), (0, 0, 0.0), (4, 4, 1.0)]
)
def test_throttled_share_is_of_the_periods_in_between(periods, throttled, share):
    before = Throttle(100, 50, 0, None, 100_000, None)
    now = Throttle(100 + periods, 50 + throttled, 0, None, 100_000, None)
    assert pair({"throttle": before}, {"throttle": now}).throttled_share == share


def test_a_throttle_book_that_began_anew_gives_no_share_out_of_range():
    """The controller was taken from the tenant and given back between two looks."""
    before = Throttle(100, 90, 0, None, 100_000, None)
    now = Throttle(120, 10, 0, None, 100_000, None)
    share = pair({"throttle": before}, {"throttle": now}).throttled_share
    assert share is not None and 0 <= share <= 1


# --- the row `host`


def test_rows_are_in_order_and_host_is_last():
    now = snapshot(10, sample(ROOT, 10), [sample(A, 10), sample(INNER, 10), sample(B, 10)])
    assert [row.tenant for row in usages(now, None)] == [A, INNER, B, HOST]


def test_nested_tenants_are_not_counted_twice():
    samples = [sample(who, 10, cpu=cpu(s), pids=Pids(n, None)) for who, s, n in
               ((A, 4, 6), (INNER, 3, 5), (B, 1, 2))]  # fmt: skip
    left = rest(snapshot(10, sample(ROOT, 10, cpu=cpu(10), pids=Pids(20, None)), samples))
    assert left.cpu == cpu(5)
    assert left.pids == Pids(12, None)


def test_host_never_reads_less_than_nothing():
    root = sample(ROOT, 10, cpu=cpu(1), pids=Pids(1, None), memory=memory(usage=1))
    more = sample(A, 10, cpu=cpu(3), pids=Pids(3, None), memory=memory(usage=3))
    now = snapshot(10, root, [more])
    left = rest(now)
    assert left.cpu == Cpu(0, 0, 0) and left.pids == Pids(0, None)
    assert left.memory and left.memory.usage == 0
    earlier = snapshot(8, sample(ROOT, 8, cpu=cpu(1)), [sample(A, 8, cpu=cpu(0))])
    assert usages(now, earlier)[-1].cpu_cores == 0


def test_what_the_host_does_not_measure_host_does_not_claim():
    now = snapshot(10, sample(ROOT, 10), [sample(A, 10, cpu=cpu(1), traffic=Traffic(1, 1, 1, 1))])
    left = rest(now)
    assert (left.cpu, left.memory, left.pids, left.traffic, left.disks) == (None,) * 5
    assert usages(now, now)[-1].cpu_cores is None


def test_a_tenant_that_dies_does_not_make_host_jump():
    """All that it ever used falls to the rest at once: counters jump, rates must not."""
    before = snapshot(10, sample(ROOT, 10, cpu=cpu(100)), [sample(A, 10, cpu=cpu(90))])
    last = sample(A, 10.5, cpu=cpu(90.5), final=True)
    now = snapshot(11, sample(ROOT, 11, cpu=cpu(100.7)), finals=[last])
    host = usages(now, before)[-1]
    assert host.sample.cpu == cpu(100.7)
    assert host.cpu_cores is not None and 0 <= host.cpu_cores <= 0.7


def test_what_a_tenant_used_before_it_died_is_not_hosts():
    """Half a second of work in a second that it did not outlive."""
    before = snapshot(10, sample(ROOT, 10, cpu=cpu(100)), [sample(A, 10, cpu=cpu(90))])
    last = sample(A, 10.5, cpu=cpu(90.5), final=True)
    now = snapshot(11, sample(ROOT, 11, cpu=cpu(100.5)), finals=[last])
    assert usages(now, before)[-1].cpu_cores == pytest.approx(0, abs=1e-9)


def test_rows_still_sum_to_the_whole_when_a_tenant_was_born_in_between():
    before = snapshot(10, sample(ROOT, 10, cpu=cpu(100)))
    now = snapshot(11, sample(ROOT, 11, cpu=cpu(100.5)), [sample(A, 11, cpu=cpu(0.5))])
    born, host = usages(now, before)
    assert born.cpu_cores is None, "nothing to compare it with"
    assert host.cpu_cores == pytest.approx(0.5)


# --- the row `unattributed`


def vda(written: int, read: int = 0) -> tuple[Disk, ...]:
    return (Disk(254, 0, "/dev/vda", read, written, read, written),)


def test_what_is_nobodys_is_a_row_and_not_hosts():
    before, now = (
        replace(
            snapshot(s, sample(ROOT, s, disks=vda(t + n + h)), [sample(A, s, disks=vda(t))]),
            unattributed=vda(n),
        )
        for s, t, n, h in ((10, 1, 10, 100), (12, 5, 50, 500))
    )
    rows = usages(now, before)
    assert [row.tenant for row in rows] == [A, UNATTRIBUTED, HOST]
    assert [row.written_bytes_rate for row in rows] == [2, 20, 200]
    assert [row.sample.disks for row in rows] == [vda(5), vda(50), vda(500)]


@pytest.mark.parametrize("nothing", [None, ()])
def test_where_nothing_is_nobodys_there_is_no_such_row(nothing):
    now = replace(snapshot(10, sample(ROOT, 10, disks=vda(7))), unattributed=nothing)
    (host,) = usages(now, None)
    assert (host.tenant, host.sample.disks) == (HOST, vda(7))


def test_what_is_nobodys_for_the_first_time_has_a_rate():
    """Measured before, and found to be nothing."""
    before = replace(snapshot(10, sample(ROOT, 10, disks=())), unattributed=())
    now = replace(snapshot(11, sample(ROOT, 11, disks=vda(9))), unattributed=vda(9))
    assert [row.written_bytes_rate for row in usages(now, before)] == [9, 0]


SECONDS = st.floats(0, 1000, allow_nan=False)
GROWTH = st.lists(st.tuples(SECONDS, SECONDS, st.integers(-1, 8)), max_size=9)


@given(GROWTH, SECONDS)
def test_rows_without_parent_sum_to_the_whole(grown, own):
    """`grown`: of each tenant CPU before, growth, and the index of its parent (-1: none)."""
    who = [
        tenant(f"/{i}", key=i + 1, parent=parent + 1 if 0 <= parent < i else None)
        for i, (_, _, parent) in enumerate(grown)
    ]
    top = [pair for one, pair in zip(who, grown, strict=True) if one.parent is None]
    start = sum(cpu(past).usage_ns for past, _, _ in top) / SECOND
    more = sum(cpu(p + g).usage_ns - cpu(p).usage_ns for p, g, _ in top) / SECOND
    before = snapshot(
        10,
        sample(ROOT, 10, cpu=cpu(start + 1)),
        [sample(one, 10, cpu=cpu(p)) for one, (p, _, _) in zip(who, grown, strict=True)],
    )
    now = snapshot(
        11,
        sample(ROOT, 11, cpu=cpu(start + 1 + more + own)),
        [sample(one, 11, cpu=cpu(p + g)) for one, (p, g, _) in zip(who, grown, strict=True)],
    )
    rows = [row for row in usages(now, before) if row.tenant.parent is None]
    total = whole(now, before).cpu_cores
    assert sum(row.cpu_cores or 0 for row in rows) == pytest.approx(total, abs=1e-6)
    used = sum(row.sample.cpu.usage_ns for row in rows if row.sample.cpu)
    assert now.root.cpu and used == pytest.approx(now.root.cpu.usage_ns, abs=20)


@given(st.integers(0, 60), st.integers(1, 5))
def test_made_up_hosts_sum_to_their_whole_in_every_measure(count, seed):
    now = make(count, second=3, seed=seed)
    rows = [row for row in usages(now, None) if row.tenant.parent is None]
    assert now.root.memory and now.root.disks
    memories = [row.sample.memory.usage for row in rows if row.sample.memory]
    assert sum(memories) == now.root.memory.usage
    disks = [disk for row in rows for disk in row.sample.disks or ()]
    for name in ("read_bytes", "written_bytes", "reads", "writes"):
        assert sum(getattr(disk, name) for disk in disks) == sum(
            getattr(disk, name) for disk in now.root.disks
        )
    tasks = [row.sample.pids.current for row in rows if row.sample.pids]
    assert now.root.pids and sum(tasks) == now.root.pids.current


def test_a_snapshot_and_itself_give_no_rates():
    now = make(12)
    assert all(row.seconds is None for row in usages(now, replace(now)))
