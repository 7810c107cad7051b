"""ebpf-mon's form."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.export.synthetic import sample, snapshot, tenant

from cotenant.export import text
from cotenant.model import Disk, Memory

EBPF_MON = (
    "cache rss rss_huge shmem mapped_file dirty writeback swap pgpgin pgpgout pgfault pgmajfault "
    "VmSize"
).split()


def lines(*samples):
    return text.render(snapshot(*samples)).decode("ascii").splitlines()


def test_ebpf_mon_s_thirteen_come_first():
    got = lines(sample(tenant(1, "redis")))
    assert [line.split()[0] for line in got[:13]] == [f"redis_{word}" for word in EBPF_MON]


def test_values_are_the_sample_s_own():
    one = sample(tenant(1, "redis"))
    found = dict(line.split(" ") for line in lines(one))
    assert found["redis_rss"] == str(one.memory.rss)
    assert found["redis_VmSize"] == str(one.vm_bytes)
    assert found["redis_cpu_usage_ns"] == str(one.cpu.usage_ns)
    assert found["redis_memory_working_set"] == str(one.memory.working_set)
    assert found["redis_interface:eth0:received_bytes"] == str(one.interfaces[0].received_bytes)
    assert found["redis_disk:/dev/vda:writes"] == str(one.disks[0].writes)


def test_none_has_no_line():
    parts = ("cpu", "throttle", "pids", "pressure", "traffic", "interfaces", "disks")
    nothing: Any = dict.fromkeys((*parts, "vm_bytes", "space_bytes"))
    assert lines(sample(tenant(1, "a"), memory=None, **nothing)) == []
    numbers: Any = dict.fromkeys(Memory.__struct_fields__) | {"usage": 0, "rss": 0}
    got = lines(sample(tenant(1, "a"), memory=Memory(**numbers), **nothing))
    assert got == ["a_rss 0", "a_memory_usage 0"]


def test_hostile_names_are_one_word():
    assert text.escape('a"b\n{}') == r"a\x22b\x0a\x7b\x7d"
    assert text.escape("한") == r"\xed\x95\x9c"
    assert text.escape("default/web/app:1.0-x_y") == "default/web/app:1.0-x_y"
    assert text.escape("back\\slash") == r"back\x5cslash"


@given(st.text())
def test_escaping_can_be_undone(name):
    escaped = text.escape(name) if _is_utf8(name) else ""
    raw = re.sub(r"\\x([0-9a-f]{2})", lambda two: chr(int(two.group(1), 16)), escaped)
    assert not _is_utf8(name) or raw.encode("latin-1").decode() == name
    assert re.fullmatch(r"([A-Za-z0-9_.:/-]|\\x[0-9a-f]{2})*", escaped)


def _is_utf8(name):
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def test_only_the_living_and_not_the_host():
    got = text.render(snapshot(sample(tenant(1, "a")), finals=(sample(tenant(2, "dead")),)))
    assert {line.split(b"_")[0] for line in got.splitlines()} == {b"a"}
    assert text.render(snapshot()) == b""


def test_what_is_nobody_s_stands_under_its_own_name():
    page = snapshot(unattributed=(Disk(254, 0, "/dev/vda", 0, 4096, 0, 1),))
    assert text.render(page).decode().splitlines() == [
        "unattributed_disk:/dev/vda:written_bytes 4096",
        "unattributed_disk:/dev/vda:writes 1",
    ]
