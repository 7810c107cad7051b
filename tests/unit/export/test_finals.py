"""Tenants that died: how long they stay, and that nothing of them is lost to the totals."""

from __future__ import annotations

from tests.unit.export.exposition import read
from tests.unit.export.synthetic import HOST, NOW_NS, UNIX, sample, snapshot, tenant

from cotenant.export.prometheus import Page
from cotenant.model import Cpu, Kind

SECOND = 10**9


def final(of, at_ns=NOW_NS, **more):
    return sample(of, at_ns=at_ns, final=True, **more)


def at(seconds, *samples, **more):
    return snapshot(*samples, at_ns=NOW_NS + int(seconds * SECOND), **more)


def test_the_dead_keep_counters_and_lose_gauges():
    page = Page()
    got = read(page.render(at(1, finals=(final(tenant(1)),))))
    assert got.of("container_cpu_usage_seconds_total", name="web-1")
    assert got.of("cotenant_network_receive_bytes_total", tenant="web-1")
    assert got.of("cotenant_tenant_info", tenant="web-1")
    assert got.value("container_last_seen", name="web-1") == f"{UNIX:.3f}"
    for gone in ("container_memory_rss", "container_threads", "container_spec_cpu_shares"):
        assert not got.of(gone, name="web-1"), gone
    assert not got.of("container_network_receive_bytes_total", name="web-1")


def test_they_stay_for_a_minute():
    page = Page()
    page.note(at(0, finals=(final(tenant(1)),)))
    for seconds, there in ((1, True), (59, True), (60, True), (61, False), (300, False)):
        got = read(page.render(at(seconds)))
        assert bool(got.of("cotenant_tenant_info", tenant="web-1")) == there, seconds
    assert got.value("cotenant_departed_tenants_total", kind="container") == "1"


def test_a_snapshot_counts_once_however_often_it_is_rendered():
    page = Page()
    shot = at(1, finals=(final(tenant(1), cpu=Cpu(5 * SECOND, None, None)),))
    page.note(shot)
    page.render(shot)
    got = read(page.render(shot))
    assert got.value("cotenant_departed_tenants_total", kind="container") == "1"
    assert got.value("cotenant_departed_cpu_seconds_total", kind="container") == "5.000000000"


def test_snapshots_that_nobody_scraped_count_too():
    page = Page()
    for turn in range(100):
        who = tenant(turn + 1, kind=Kind.SERVICE)
        page.note(at(turn, finals=(final(who, cpu=Cpu(SECOND // 4, 0, 0)),)))
    got = read(page.render(at(100)))
    assert got.value("cotenant_departed_tenants_total", kind="service") == "100"
    assert got.value("cotenant_departed_cpu_seconds_total", kind="service") == "25.000000000"


def test_a_nested_one_is_not_billed_twice():
    page = Page()
    ten = Cpu(10 * SECOND, 0, 0)
    outer, inner = tenant(1), tenant(2, parent=1)
    got = read(page.render(at(1, finals=(final(outer, cpu=ten), final(inner, cpu=ten)))))
    assert got.value("cotenant_departed_cpu_seconds_total", kind="container") == "10.000000000"
    assert got.value("cotenant_departed_tenants_total", kind="container") == "2"


def test_the_living_keep_their_labels_when_a_tenant_is_started_again():
    path = "/system.slice/a.service"
    old = tenant(1, "a.service", kind=Kind.SERVICE, path=path)
    new = tenant(2, "a.service", kind=Kind.SERVICE, path=path)
    page = Page()
    page.note(at(0, finals=(final(old, cpu=Cpu(111, 0, 0)),)))
    got = read(page.render(at(1, sample(new, cpu=Cpu(222, 0, 0)))))
    assert got.value("container_cpu_usage_seconds_total", id=path) == "0.000000222"
    assert got.value("cotenant_duplicate_rows") == "2"


def test_of_two_finals_with_the_same_labels_the_newest_stays():
    page = Page()
    page.note(at(0, finals=(final(tenant(1), cpu=Cpu(111, 0, 0)),)))
    again = final(tenant(2, "web-1", path=tenant(1).path), cpu=Cpu(222, 0, 0))
    got = read(page.render(at(1, finals=(again,))))
    assert got.value("container_cpu_usage_seconds_total", name="web-1") == "0.000000222"


def test_there_is_room_for_so_many_and_the_rest_is_counted():
    page = Page(most_finals=10)
    finals = tuple(final(tenant(key)) for key in range(1, 31))
    got = read(page.render(at(0, finals=finals)))
    assert len(got.of("cotenant_tenant_info")) == 10
    assert got.value("cotenant_finals_evicted_total") == "20"
    assert got.value("cotenant_departed_tenants_total", kind="container") == "30"


def test_finals_off():
    page = Page(keep_finals_s=0)
    got = read(page.render(at(1, finals=(final(tenant(1)),))))
    assert not got.of("cotenant_tenant_info")
    assert got.value("cotenant_departed_tenants_total", kind="container") == "1"


def test_the_host_is_no_tenant():
    got = read(Page().render(at(1, sample(tenant(1)))))
    assert len(got.of("container_memory_rss", id="/")) == 1
    assert HOST.name not in {line.labels.get("tenant") for line in got.lines}
