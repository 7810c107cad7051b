"""A kernel record's bytes land in the fields of the same meaning."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotenant.kernel import records
from cotenant.meter.decode import ABSENT, NOTHING, RECORD, decode, disks_of
from cotenant.model import Memory, Pids, Pressure, Throttle, Traffic

EVERY_PART = (
    records.METER_CPU | records.METER_THROTTLE | records.METER_MEMORY | records.METER_STATES_PART
    | records.METER_PIDS | records.METER_PRESSURE | records.METER_TRAFFIC | records.METER_VM
)  # fmt: skip

# By what meter.h says of each: the record's name and the model's.
MEMORY = {
    "memory_usage": "usage", "memory_limit": "limit", "memory_max_usage": "max_usage",
    "memory_failures": "failures", "memory_low": "low_events", "memory_high": "high_events",
    "memory_max": "max_events", "memory_oom": "oom_events", "memory_oom_kills": "oom_kills",
    "memory_kernel": "kernel",
    f"states[{records.METER_FILE}]": "cache", f"states[{records.METER_ANON}]": "rss",
    f"states[{records.METER_ANON_HUGE}]": "rss_huge", f"states[{records.METER_SHMEM}]": "shmem",
    f"states[{records.METER_FILE_MAPPED}]": "mapped_file",
    f"states[{records.METER_DIRTY}]": "dirty", f"states[{records.METER_WRITEBACK}]": "writeback",
    f"states[{records.METER_SWAP}]": "swap",
    f"states[{records.METER_INACTIVE_FILE}]": "inactive_file",
    f"states[{records.METER_ACTIVE_FILE}]": "active_file",
    f"events[{records.METER_PGPGIN}]": "pgpgin", f"events[{records.METER_PGPGOUT}]": "pgpgout",
    f"events[{records.METER_PGFAULT}]": "pgfault",
    f"events[{records.METER_PGMAJFAULT}]": "pgmajfault",
}  # fmt: skip
PRESSURE = dict(
    zip(
        (f"pressure_us[{i}]" for i in range(6)),
        "cpu_some_us cpu_full_us memory_some_us memory_full_us io_some_us io_full_us".split(),
        strict=True,
    )
)


def record(**values: int) -> bytes:
    """A record whose every word is different; `name=value` or `name__0=value` sets one."""
    named = {name: 1000 + at for at, name in enumerate(RECORD.fields)} | {"parts": EVERY_PART}
    named |= {name.replace("__", "[") + "]" * ("__" in name): v for name, v in values.items()}
    assert len(named) == len(RECORD.fields)
    return struct.pack(RECORD.format, *named.values())


def word(name: str) -> int:
    return 1000 + RECORD.fields.index(name)


def test_a_layout_is_as_long_as_its_format_and_names_every_value():
    for name, layout in vars(records).items():
        if name.endswith("_LAYOUT"):
            assert struct.calcsize(layout.format) == layout.size, name
            values = struct.unpack(layout.format, bytes(layout.size))
            assert len(values) == len(layout.fields), name
            assert len(set(layout.fields)) == len(layout.fields), name


def test_every_word_of_memory_lands_in_the_field_of_its_meaning():
    memory = decode(record()).memory
    for theirs, ours in MEMORY.items():
        assert getattr(memory, ours) == word(theirs), ours
    assert set(MEMORY.values()) == set(Memory.__struct_fields__)


def test_every_word_of_the_other_parts_lands_in_the_field_of_its_meaning():
    parts = decode(record())
    assert parts.cpu == (word("cpu_usage_ns"), word("cpu_user_ns"), word("cpu_system_ns"))
    for name in Throttle.__struct_fields__:
        assert getattr(parts.throttle, name) == word(name)
    for name in Traffic.__struct_fields__:
        assert getattr(parts.traffic, name) == word(f"traffic.{name}")
    for theirs, ours in PRESSURE.items():
        assert getattr(parts.pressure, ours) == word(theirs)
    assert set(PRESSURE.values()) == set(Pressure.__struct_fields__)
    assert parts.pids == Pids(word("pids"), word("pids_limit"))
    assert parts.vm_bytes == word("vm_bytes")
    assert parts.states


@pytest.mark.parametrize(
    ("bit", "part"),
    [
        (records.METER_CPU, "cpu"),
        (records.METER_THROTTLE, "throttle"),
        (records.METER_MEMORY, "memory"),
        (records.METER_PIDS, "pids"),
        (records.METER_PRESSURE, "pressure"),
        (records.METER_TRAFFIC, "traffic"),
        (records.METER_VM, "vm_bytes"),
    ],
)
def test_a_part_that_was_not_filled_is_none_and_no_other(bit, part):
    full, lacking = decode(record()), decode(record(parts=EVERY_PART & ~bit))
    nothing: dict[str, Any] = {part: None}
    assert lacking == full._replace(**nothing)
    only: dict[str, Any] = {part: getattr(full, part)}
    assert decode(record(parts=bit)) == NOTHING._replace(**only)


def test_a_record_no_collection_filled_is_nothing():
    assert decode(bytes(RECORD.size)) == NOTHING


def test_states_that_were_not_read_are_told():
    assert not decode(record(parts=EVERY_PART & ~records.METER_STATES_PART)).states


@pytest.mark.parametrize(("theirs", "ours"), MEMORY.items())
def test_absent_memory_is_none_and_zero_is_zero(theirs, ours):
    name = theirs.rstrip("]").replace("[", "__")
    assert getattr(decode(record(**{name: ABSENT})).memory, ours) is None
    assert getattr(decode(record(**{name: 0})).memory, ours) == 0


def test_no_limit_is_none():
    parts = decode(record(quota_us=ABSENT, pids_limit=ABSENT))
    assert parts.throttle and parts.throttle.quota_us is None
    assert parts.throttle.period_us == word("period_us")
    assert parts.throttle.shares == word("shares")
    assert parts.pids == Pids(word("pids"), None)


# --- disks


def test_copies_of_one_device_are_summed():
    vda, sda = 254 << 20, 8 << 20 | 3
    disks = disks_of([(vda, 1, 2, 3, 4), (sda, 5, 0, 1, 0), (vda, 10, 20, 30, 40)])
    assert [(d.major, d.minor) for d in disks] == [(254, 0), (8, 3)]
    first = disks[0]
    assert (first.read_bytes, first.written_bytes, first.reads, first.writes) == (11, 22, 33, 44)


def test_a_device_that_did_nothing_is_left_out():
    assert disks_of([(9 << 20, 0, 0, 0, 0)]) == ()
    assert disks_of([]) == ()


def test_a_device_without_a_name_goes_by_its_numbers():
    assert disks_of([(4095 << 20 | 77, 1, 0, 1, 0)])[0].device == "4095:77"


COUNTS = st.tuples(
    st.sampled_from([0, 254 << 20, 8 << 20 | 1]),
    *[st.integers(0, 1 << 48)] * 4,
)


@given(st.lists(COUNTS, max_size=20))
def test_no_byte_and_no_request_is_lost_or_made_up(entries):
    disks = disks_of(entries)
    assert sum(d.read_bytes for d in disks) == sum(e[1] for e in entries)
    assert sum(d.written_bytes for d in disks) == sum(e[2] for e in entries)
    assert sum(d.reads for d in disks) == sum(e[3] for e in entries)
    assert sum(d.writes for d in disks) == sum(e[4] for e in entries)
    assert len({(d.major, d.minor) for d in disks}) == len(disks)
