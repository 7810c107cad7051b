"""The last sample of a tenant: put together from all its cgroups, given out once, never lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from tests.unit.meter.trees import tenant

from cotenant.kernel import records
from cotenant.kernel.cgroupfs import CgroupEvent
from cotenant.meter.decode import ABSENT, RECORD
from cotenant.meter.finals import Finals
from cotenant.meter.programs import Death
from cotenant.model import Cpu, Disk, Interface, Memory, Sample, Throttle, Traffic

SECOND = 1_000_000_000
CPU, MEMORY, UNIFIED, BLKIO = 1, 2, 0, 4


@dataclass
class Clock:
    ns: int = 100 * SECOND


def record(parts: int = 0, **values: int) -> tuple[int, ...]:
    """A record of zeros but for the values given."""
    named = dict.fromkeys(RECORD.fields, 0) | {"parts": parts} | values
    return tuple(named.values())


def death(hierarchy: int, number: int, at_ns: int = 100 * SECOND, **more: Any) -> Death:
    event = CgroupEvent(False, hierarchy, number, "/a")
    return Death(event, at_ns, more.pop("record", record()), more.pop("disks", ()))


def memory(**values: int | None) -> Memory:
    fields: dict[str, int | None] = dict.fromkeys(Memory.__struct_fields__)
    return Memory(**fields | {"usage": 0} | values)  # type: ignore[arg-type]


@pytest.fixture
def finals() -> Finals:
    return Finals()


WHO = tenant(cgroups={CPU: 11, MEMORY: 12, UNIFIED: 10, BLKIO: 14})


def die(finals: Finals, *hierarchies: int, at_ns: int = 100 * SECOND, **more: Any) -> None:
    for hierarchy in hierarchies:
        finals.add(death(hierarchy, WHO.cgroups[hierarchy], at_ns, **more))


def test_deaths_in_several_hierarchies_are_one_final(finals):
    finals.expect([WHO])
    die(finals, CPU, record=record(records.METER_CPU, cpu_usage_ns=500))
    assert finals.take(100 * SECOND) == [], "the memory tree has more to tell"
    die(finals, MEMORY, record=record(records.METER_MEMORY, memory_max_usage=77))
    traffic = {"traffic.received_bytes": 1, "traffic.sent_packets": 4}
    die(finals, UNIFIED, record=record(records.METER_TRAFFIC, **traffic))
    die(finals, BLKIO, at_ns=101 * SECOND, disks=((8 << 20, 1, 2, 3, 4),))
    [final] = finals.take(101 * SECOND)
    assert final.final and final.tenant is WHO and final.at_ns == 101 * SECOND
    assert final.cpu == Cpu(500, None, None)
    assert final.memory and final.memory.max_usage == 77
    assert final.traffic == Traffic(1, 0, 0, 4)
    assert final.disks and final.disks[0].written_bytes == 2


def test_a_final_is_given_out_once(finals):
    finals.expect([WHO])
    die(finals, *WHO.cgroups)
    assert len(finals.take(100 * SECOND)) == 1
    assert finals.take(200 * SECOND) == []
    die(finals, CPU)
    assert finals.take(300 * SECOND) == [], "told twice by the kernel, billed once"


def test_a_tree_that_never_tells_is_waited_for_a_while_only(finals):
    finals.expect([WHO])
    die(finals, CPU, record=record(records.METER_CPU, cpu_usage_ns=500))
    assert finals.take(101 * SECOND) == []
    [final] = finals.take(102 * SECOND)
    assert final.cpu == Cpu(500, None, None) and final.memory is None


def test_a_death_told_before_its_tenant_is_known_is_kept_for_it(finals):
    die(finals, *WHO.cgroups, record=record(records.METER_CPU, cpu_usage_ns=9))
    assert finals.take(100 * SECOND) == []
    finals.expect([WHO])
    [final] = finals.take(100 * SECOND)
    assert final.cpu == Cpu(9, None, None)


def test_a_cgroup_inside_a_tenant_is_no_ones_end(finals):
    finals.expect([WHO])
    finals.add(death(CPU, 999))
    assert finals.take(200 * SECOND) == []


def test_ids_are_told_apart_by_their_hierarchy(finals):
    finals.expect([WHO])
    finals.add(death(MEMORY, WHO.cgroups[CPU]))
    assert finals.take(200 * SECOND) == []


def test_the_dying_stay_known_when_the_registry_no_longer_lists_them(finals):
    finals.expect([WHO])
    die(finals, CPU)
    finals.expect([])
    finals.remember([])
    die(finals, MEMORY, UNIFIED, BLKIO)
    assert [final.tenant for final in finals.take(100 * SECOND)] == [WHO]


def test_what_a_death_does_not_tell_is_taken_from_the_last_look(finals):
    last = Sample(
        WHO, 99 * SECOND, cpu=Cpu(400, 300, 100), throttle=Throttle(1, 1, 1, None, 5, 1024),
        memory=memory(usage=50, cache=40, rss=10, failures=2, max_usage=60, oom_kills=0),
        traffic=Traffic(5, 5, 5, 5), interfaces=(Interface("eth0", *[7] * 8),),
        disks=(Disk(8, 0, "/dev/sda", 1, 1, 1, 1),), space_bytes=12,
    )  # fmt: skip
    finals.expect([WHO])
    finals.remember([last])
    die(finals, CPU, record=record(
        records.METER_CPU | records.METER_THROTTLE, cpu_usage_ns=500, periods=9,
        throttled_periods=8, throttled_ns=7, quota_us=ABSENT, period_us=100_000, shares=2,
    ))  # fmt: skip
    finals.remember([])
    die(finals, MEMORY, record=record(
        records.METER_MEMORY, memory_limit=ABSENT, memory_max_usage=90, memory_failures=3,
        memory_oom_kills=1,
    ))  # fmt: skip
    [final] = finals.take(200 * SECOND)
    assert final.cpu == Cpu(500, 300, 100), "total at death, split as of the last look"
    assert final.throttle == Throttle(9, 8, 7, None, 100_000, 1024)
    got = final.memory
    assert got and (got.usage, got.limit, got.max_usage, got.failures) == (0, None, 90, 3)
    assert (got.oom_kills, got.cache, got.rss) == (1, 40, 10)
    assert (final.traffic, final.interfaces, final.disks, final.space_bytes) == (
        last.traffic, last.interfaces, last.disks, 12)  # fmt: skip


def test_cpu_at_death_is_never_less_than_was_given_out(finals):
    finals.expect([WHO])
    finals.remember([Sample(WHO, 1, cpu=Cpu(600, 300, 300))])
    die(finals, *WHO.cgroups, record=record(records.METER_CPU, cpu_usage_ns=500))
    [final] = finals.take(100 * SECOND)
    assert final.cpu == Cpu(600, 300, 300)


def test_what_nobody_told_is_none_and_not_zero(finals):
    finals.expect([WHO])
    die(finals, *WHO.cgroups)
    [final] = finals.take(100 * SECOND)
    assert (final.cpu, final.memory, final.traffic, final.disks) == (None,) * 4


def test_memory_is_bounded_when_cgroups_come_and_go_forever(finals):
    clock = Clock()
    for i in range(2000):
        who = tenant(f"/{i}", key=i, cgroups={CPU: 2 * i, MEMORY: 2 * i + 1})
        finals.expect([who])
        finals.remember([Sample(who, clock.ns)])
        for hierarchy, number in who.cgroups.items():
            finals.add(death(hierarchy, number, clock.ns))
        finals.add(death(CPU, 10**9 + i, clock.ns))
        clock.ns += SECOND
        assert len(finals.take(clock.ns)) == 1
    assert len(finals._strays) <= 61
    assert not finals._dying
    assert len(finals._owner) <= 2 and len(finals._last) <= 1


def test_tenants_whose_death_is_never_told_are_forgotten(finals):
    """A full ring buffer loses deaths; the registry finds out by looking."""
    for i in range(2000):
        finals.expect([tenant(f"/{i}", key=i, cgroups={CPU: i})])
        finals.take(i * 100 * SECOND)
    assert len(finals._owner) <= 2


def test_a_tenant_that_left_the_list_a_moment_before_its_death_is_billed(finals):
    finals.expect([WHO])
    finals.expect([])
    die(finals, *WHO.cgroups)
    assert len(finals.take(100 * SECOND)) == 1


def test_those_who_come_make_nobody_forgotten(finals):
    finals.expect([WHO])
    for number in range(5):
        finals.meet([tenant(key=100 + number, cgroups={CPU: 200 + number})])
    die(finals, CPU, MEMORY, UNIFIED, BLKIO)
    assert [sample.tenant for sample in finals.take(100 * SECOND)] == [WHO]


def test_a_tree_nobody_watches_is_not_waited_for():
    finals = Finals(frozenset({CPU, MEMORY}))
    finals.expect([WHO])
    die(finals, CPU, MEMORY)
    assert [sample.tenant for sample in finals.take(100 * SECOND)] == [WHO]


def test_the_last_look_is_the_final_where_nobody_tells_more(finals):
    finals.expect([WHO])
    seen = Sample(WHO, 90 * SECOND, cpu=Cpu(7, 4, 3), memory=memory(usage=5))
    finals.remember([seen])
    finals.end(WHO, 100 * SECOND)
    [final] = finals.take(100 * SECOND)
    assert (final.final, final.at_ns) == (True, 90 * SECOND), "as of the look, not of the death"
    assert final.cpu is seen.cpu and final.memory is seen.memory
    assert finals.take(101 * SECOND) == [] and finals.unread == 0
    assert not finals._owner and not finals._last


def test_of_one_that_was_never_read_only_its_life_is_known(finals):
    finals.meet([WHO])
    finals.end(WHO, 100 * SECOND)
    assert finals.take(100 * SECOND) == [Sample(WHO, 100 * SECOND, final=True)]
    assert finals.unread == 1


def test_a_look_at_the_dying_takes_nothing_from_the_last_look(finals):
    """On v1 the trees go one after the other: what is gone stays as it was seen before."""
    seen = Sample(WHO, 90 * SECOND, cpu=Cpu(7, 4, 3), memory=memory(usage=5))
    finals.remember([seen])
    finals.remember([Sample(WHO, 91 * SECOND, cpu=Cpu(8, 4, 4))])
    finals.remember([Sample(WHO, 92 * SECOND)])
    finals.end(WHO, 100 * SECOND)
    [final] = finals.take(100 * SECOND)
    assert (final.at_ns, final.cpu, final.memory) == (91 * SECOND, Cpu(8, 4, 4), seen.memory)
