"""JSON: the shape that `cotenant metrics --format json` promises."""

from __future__ import annotations

import json

from tests.unit.export.synthetic import UNIX, sample, snapshot, tenant

from cotenant.export import records
from cotenant.model import Disk, Memory, Usage


def test_the_shape():
    got = json.loads(records.render(snapshot(sample(tenant(1)), finals=(sample(tenant(2)),))))
    assert list(got) == [
        "at", "tier", "machine", "root", "tenants", "finals", "unattributed", "lost",
    ]  # fmt: skip
    assert got["at"] == UNIX
    assert [one["tenant"]["name"] for one in got["tenants"]] == ["web-1"]
    assert [one["tenant"]["name"] for one in got["finals"]] == ["web-2"]
    assert got["root"]["tenant"]["kind"] == "host"
    assert got["lost"]["unknown"] == 7


def test_units_are_in_the_names():
    one = sample(tenant(1))
    record = json.loads(records.render(snapshot(one)))["tenants"][0]
    assert record["memory"]["usage_bytes"] == one.memory.usage
    assert record["memory"]["working_set_bytes"] == one.memory.working_set
    assert record["memory"]["pgfault"] == one.memory.pgfault
    assert record["cpu"]["usage_ns"] == one.cpu.usage_ns
    assert record["disks"][0]["device"] == "/dev/vda"
    assert record["space_bytes"] == one.space_bytes


def test_none_is_null_and_always_there():
    record = json.loads(records.render(snapshot(sample(tenant(1), memory=None))))["tenants"][0]
    assert record["memory"] is None
    full = json.loads(records.render(snapshot(sample(tenant(1)))))["tenants"][0]
    assert set(full) == set(record)
    assert len(full["memory"]) == len(Memory.__struct_fields__) + 1


def test_what_is_nobody_s_is_a_list_of_devices_and_null_where_not_measured():
    vda = Disk(254, 0, "/dev/vda", 0, 4096, 0, 1)
    for given, device in ((None, None), ((), []), ((vda,), ["/dev/vda"])):
        got = json.loads(records.render(snapshot(unattributed=given)))["unattributed"]
        assert (got and [one["device"] for one in got]) == device
    assert got[0]["written_bytes"] == 4096


def test_a_name_that_is_no_utf8():
    got = json.loads(records.render(snapshot(sample(tenant(1, "\udcff한")))))
    assert got["tenants"][0]["tenant"]["name"] == "�한"


def test_usages_have_rates_beside_the_record():
    usage = Usage(sample=sample(tenant(1)), seconds=1.0, cpu_cores=0.5, read_bytes_rate=7.0)
    (got,) = json.loads(records.render_usages([usage]))
    assert got["rates"]["cpu_cores"] == 0.5
    assert got["rates"]["read_bytes_rate"] == 7.0
    assert got["rates"]["sent_bytes_rate"] is None
    assert got["tenant"]["name"] == "web-1"
