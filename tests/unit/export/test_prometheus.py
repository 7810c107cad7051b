"""The exposition: what is on the page, for whom, and how exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.export.exposition import read
from tests.unit.export.noises import heard
from tests.unit.export.synthetic import MACHINE, NOW_NS, UNIX, sample, snapshot, tenant

from cotenant.export import profile_families
from cotenant.export.families import ALL
from cotenant.export.noise import render
from cotenant.export.own import BpfCost, OwnCost
from cotenant.export.profile_families import KeptRow, PullRow, PushRow
from cotenant.export.prometheus import Page
from cotenant.model import Disk, Interface, Kind, Memory, Throttle

COST = OwnCost(
    cpu_ns=1_500_000_001,
    resident_bytes=1,
    collections=2,
    collect_ns=3,
    scrapes=4,
    renders=5,
    render_ns=6,
    config_problem=0,
    bpf=(BpfCost("count", 1024, 1, 57),),
)
SECOND = 10**9


def bare(of, **more):
    """A sample of which only what is given was measured."""
    parts = ("cpu", "throttle", "memory", "pids", "pressure", "traffic", "interfaces", "disks")
    nothing: Any = dict.fromkeys((*parts, "vm_bytes", "space_bytes"))
    return sample(of, **(nothing | more))


def test_golden_page():
    page = Page().render(snapshot(sample(tenant(1)), sample(tenant(2, "b"), 500)), COST)
    golden = Path(__file__).with_name("golden.prom")
    assert page.decode() == golden.read_text(), (
        "the page changed; if it should have: python -m tests.unit.export.golden"
    )


def test_every_family_can_be_on_a_page():
    page = Page()
    page.note(snapshot(finals=(sample(tenant(9)),), at_ns=NOW_NS - SECOND))
    nobodys = (Disk(254, 0, "/dev/vda", 0, 4096, 0, 1),)
    names = set(read(page.render(snapshot(sample(tenant(1)), unattributed=nobodys), COST)).types)
    names |= set(read(render(heard())).types)
    profiles = profile_families.render(KeptRow(), 0, [PushRow("a")], PullRow())
    names |= set(read(profiles.removeprefix(b"\n") + b"\n").types)
    assert names == {one.name for one in ALL}


def test_types_and_helps_are_the_table_s():
    got = read(Page().render(snapshot(sample(tenant(1))), COST))
    for one in ALL:
        if one.name in got.types:
            assert (got.types[one.name], got.helps[one.name]) == (one.type, one.help)


def test_no_family_is_in_the_table_twice():
    assert len({one.name for one in ALL}) == len(ALL)


def test_the_root_has_cadvisor_s_row():
    got = read(Page().render(snapshot(sample(tenant(1)))))
    (root,) = got.of("container_cpu_usage_seconds_total", id="/")
    assert root.labels == {"id": "/", "cpu": "total"}
    assert got.value("container_spec_memory_limit_bytes", id="/") == str(MACHINE.memory_bytes)
    assert not [line for line in got.lines if line.labels.get("tenant") == "host"]


def test_what_is_none_has_no_line():
    got = read(Page().render(snapshot(bare(tenant(1)), root=bare(tenant(0, "", path="/")))))
    names = {line.name for line in got.lines if not line.name.startswith("machine_")}
    assert {name for name in names if name.startswith("container_")} == {
        "container_last_seen",
        "container_start_time_seconds",
        "container_scrape_error",
    }
    assert "cotenant_memory_shmem_bytes" not in names


def test_one_none_among_many_takes_only_its_own_line():
    def memory(limit):
        numbers = dict.fromkeys(Memory.__struct_fields__, 5) | {"limit": limit}
        return Memory(**numbers)

    page = Page()
    limits: list[list[int | None]] = [
        [1, None, 3],
        [None, None, None],
        [1, 2, 3],
        [None, 2, None],
        [4, None, 6],
    ]
    who = [tenant(key) for key in (1, 2, 3)]
    for turn, row in enumerate(limits):
        got = read(
            page.render(
                snapshot(
                    *[
                        sample(one, memory=memory(limit))
                        for one, limit in zip(who, row, strict=True)
                    ],
                    at_ns=NOW_NS + turn,
                )
            )
        )
        found = {
            line.labels["name"]: line.value
            for line in got.of("container_spec_memory_limit_bytes")
            if "name" in line.labels
        }
        wanted = {
            one.name: str(limit) for one, limit in zip(who, row, strict=True) if limit is not None
        }
        assert found == wanted


def test_no_quota_no_throttling_lines():
    free = Throttle(0, 0, 0, None, 100_000, 1024)
    got = read(Page().render(snapshot(sample(tenant(1), throttle=free))))
    assert not got.of("container_cpu_cfs_periods_total", name="web-1")
    assert got.value("container_spec_cpu_shares", name="web-1") == "1024"


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_nanoseconds_become_seconds_exactly(usage, throttled):
    one = sample(tenant(1))
    one = msgspec.structs.replace(
        one,
        cpu=msgspec.structs.replace(one.cpu, usage_ns=usage, user_ns=None),
        throttle=Throttle(1, 1, throttled, 1, 1, 1),
    )
    got = read(Page().render(snapshot(one)))
    for name, ns in (
        ("container_cpu_usage_seconds_total", usage),
        ("container_cpu_cfs_throttled_seconds_total", throttled),
    ):
        whole, fraction = got.value(name, name="web-1").split(".")
        assert len(fraction) == 9
        assert int(whole) * SECOND + int(fraction) == ns
        assert whole == str(int(whole))


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_name_survives(name, image):
    one = tenant(1, name, image=image)
    got = read(Page().render(snapshot(sample(one))))
    wanted = name.encode("utf-8", "replace").decode()
    assert got.of("cotenant_tenant_info", tenant=wanted)[0].labels["tenant"] == wanted
    assert got.of("container_cpu_usage_seconds_total", name=wanted)


@pytest.mark.parametrize("name", ['a"b\n{}', "한국어", "back\\slash", "50%d", "%b%%", "\udcff"])
def test_hostile_names(name):
    got = read(Page().render(snapshot(sample(tenant(1, name)), sample(tenant(2)))))
    wanted = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    assert {line.labels["tenant"] for line in got.of("cotenant_tenant_info")} == {wanted, "web-2"}


def test_a_renamed_tenant_has_its_new_name_at_once():
    page = Page()
    old = tenant(1, "old")
    assert b'name="old"' in page.render(snapshot(sample(old), sample(tenant(2))))
    new = msgspec.structs.replace(old, name="new")
    got = page.render(snapshot(sample(new), sample(tenant(2)), at_ns=NOW_NS + 1))
    assert b'"old"' not in got
    assert len(read(got).of("container_memory_rss", name="new")) == 1


def test_values_stay_with_their_tenant_through_births_and_deaths():
    page = Page(keep_finals_s=0)
    who = {key: tenant(key) for key in range(1, 6)}
    for turn, keys in enumerate(([1, 2, 3], [2, 3], [4, 2, 3, 5], [5], [], [1, 5])):
        samples = [bare(who[key], vm_bytes=key, space_bytes=key) for key in keys]
        got = read(page.render(snapshot(*samples, at_ns=NOW_NS + turn)))
        for name, label in (
            ("container_fs_usage_bytes", "name"),
            ("cotenant_process_virtual_bytes", "tenant"),
        ):
            found = [
                (line.labels[label], line.value) for line in got.of(name) if label in line.labels
            ]
            assert sorted(found) == sorted((f"web-{key}", str(key)) for key in keys)


def test_nested_tenants_are_there_but_not_named():
    node = tenant(1, "kind-node", path="/docker/aa")
    unit = tenant(
        2, "kind-node/kubelet.service", kind=Kind.SERVICE, path="/docker/aa/kubelet", parent=1
    )
    inner = tenant(
        3, "default/web/app", path="/docker/aa/pod/app", parent=1,
        namespace="default", pod="web", container="app",
    )  # fmt: skip
    got = read(Page().render(snapshot(sample(node), sample(unit), sample(inner))))
    rows = {line.labels["id"]: line.labels for line in got.of("container_memory_rss")}
    assert rows["/docker/aa"]["name"] == "kind-node"
    assert rows["/docker/aa/kubelet"] == {"id": "/docker/aa/kubelet"}
    assert "name" not in rows["/docker/aa/pod/app"]
    assert rows["/docker/aa/pod/app"]["container"] == "app"
    assert rows["/docker/aa/pod/app"]["image"] == "registry/app:1"
    info = {line.labels["tenant"]: line.labels for line in got.of("cotenant_tenant_info")}
    assert info["default/web/app"]["parent"] == "kind-node"
    assert "parent" not in info["kind-node"]


def test_services_have_no_container_name():
    ssh = tenant(1, "ssh.service", kind=Kind.SERVICE, path="/system.slice/ssh.service", image=None)
    got = read(Page().render(snapshot(sample(ssh))))
    (row,) = got.of("container_memory_rss", id="/system.slice/ssh.service")
    assert row.labels == {"id": "/system.slice/ssh.service"}


def test_a_pod_s_network_is_counted_once():
    pod = {"namespace": "default", "pod": "web", "netns": 77}
    who = [
        tenant(1, "default/web/b", path="/kubepods/pod1/b", container="b", **pod),
        tenant(2, "default/web/POD", path="/kubepods/pod1/a", container="POD", started_at=1.0,
               image="pause", **pod),
    ]  # fmt: skip
    got = read(Page().render(snapshot(*[sample(one) for one in who])))
    (row,) = got.of("container_network_receive_bytes_total", pod="web")
    assert row.labels == {
        "id": "/kubepods/pod1",
        "image": "pause",
        "namespace": "default",
        "pod": "web",
        "interface": "eth0",
    }
    assert len(got.of("container_memory_rss", container="b")) == 1
    assert len(got.of("container_memory_rss", image="pause", container="")) == 1


def test_a_shared_network_belongs_to_who_was_there_first():
    late = tenant(1, "late", netns=5, started_at=20.0)
    first = tenant(2, "first", netns=5, started_at=10.0)
    got = read(Page().render(snapshot(sample(late), sample(first))))
    rows = [line.labels.get("name") for line in got.of("container_network_transmit_bytes_total")]
    assert sorted(str(row) for row in rows) == ["None", "first"]


def test_every_interface_and_device_has_its_row():
    two = (Interface("eth0", *range(8)), Interface("lan 1", *range(10, 18)))
    got = read(Page().render(snapshot(sample(tenant(1), interfaces=two))))
    assert got.value("container_network_receive_bytes_total", interface="lan 1") == "10"
    operations = got.of("container_blkio_device_usage_total", name="web-1", major="254", minor="0")
    assert {line.labels["operation"] for line in operations} == {"Read", "Write"}


def test_runtime_labels_only_when_asked_for():
    labelled = tenant(1, labels={"com.docker.compose.service": "db", "secret": "x"})
    assert b"container_label" not in Page().render(snapshot(sample(labelled)))
    page = Page(runtime_labels=["com.docker.compose.service", "absent"])
    got = page.render(snapshot(sample(labelled)))
    assert b'container_label_com_docker_compose_service="db"' in got
    assert b"secret" not in got


def test_the_agent_s_cost():
    got = read(Page().render(snapshot(), COST))
    assert got.value("cotenant_agent_cpu_seconds_total") == "1.500000001"
    assert got.value("cotenant_bpf_timed_seconds_total", program="count") == "0.000000057"
    assert not read(Page().render(snapshot())).of("cotenant_agent_cpu_seconds_total")
    assert not read(Page().render(snapshot(), OwnCost())).of("cotenant_agent_resident_bytes")


def test_what_is_nobody_s_is_told_by_device_and_only_where_it_was_measured():
    vda, vdb = Disk(254, 0, "/dev/vda", 0, 4096, 0, 1), Disk(254, 16, "/dev/vdb", 0, 512, 0, 2)
    got = read(Page().render(snapshot(unattributed=(vda, vdb))))
    assert got.value("cotenant_unattributed_written_bytes_total", device="/dev/vda") == "4096"
    assert got.value("cotenant_unattributed_writes_total", device="/dev/vdb") == "2"
    assert b"unattributed" not in Page().render(snapshot(unattributed=None))


def test_what_is_lost_is_on_the_page():
    got = read(Page().render(snapshot()))
    assert got.value("cotenant_lost_births_total") == "1"
    assert got.value("cotenant_unknown_tenants") == "7"
    assert got.of("cotenant_meter_info", tier="iterator", node="node-1")
    assert got.value("cotenant_sample_timestamp_seconds") == f"{UNIX:.3f}"
