"""pprof: what is written reads back, Go's own form is understood, and no file does harm."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.export import proto
from tests.unit.export.profiles import HOSTILE, busy, hostile, profiles, small, tenant, told

from cotenant.errors import BadProfile
from cotenant.export import pprof, pprof_read
from cotenant.export.protobuf import block, number, varint
from cotenant.model import HOST, FrameKind, Profile


def message(profile: Profile, **options: bool) -> tuple[proto.Message, list[str]]:
    """The file as a reader that shares nothing with the writer sees it, and its strings."""
    read = proto.Message(gzip.decompress(pprof.render(profile, **options)))
    return read, [str(text, "utf-8") for text in read.fields[6]]


@given(profiles())
def test_all_that_pprof_can_hold_reads_back(profile: Profile) -> None:
    back = pprof.parse(pprof.render(profile))
    assert told(back) == told(profile)
    assert back.frames == profile.frames
    assert (back.type, back.unit, back.period) == (profile.type, profile.unit, profile.period)
    assert (back.from_s, back.until_s) == (profile.from_s, profile.until_s)
    assert (back.lost, back.notes) == (profile.lost, profile.notes)
    kinds = {tenant.name: tenant.kind for tenant in profile.tenants}
    assert all(kinds[tenant.name] == tenant.kind for tenant in back.tenants)


def test_a_small_one_field_by_field() -> None:
    profile = small()
    read, strings = message(profile)
    assert strings[0] == ""
    types = [(strings[one.one(1)], strings[one.one(2)]) for one in read.all(1)]
    assert types == [("samples", "count"), ("cpu", "nanoseconds")]
    period = proto.Message(read.one(11))
    assert (strings[period.one(1)], strings[period.one(2)]) == ("cpu", "nanoseconds")
    assert read.one(12) == profile.period
    assert (read.one(9), read.one(10)) == (1_790_000_000_250_000_000, 10_000_000_000)

    mappings = {one.one(1): one for one in read.all(3)}
    named = {strings[one.one(5)]: strings[one.one(6)] for one in mappings.values()}
    assert named == {
        "/usr/bin/python3.11": "8b" * 20,
        "/usr/lib/x86_64-linux-gnu/libc.so.6": "8b" * 20,
        "/usr/lib/libz.so.1": "8b" * 20,
        "/usr/bin/node": "8b" * 20,
        "[python]": "",
        "[kernel]": "",
        "[kernel] ext4": "",
        "[jit]": "",
        "[note]": "",
    }
    assert all(one.one(7) == 1 for one in mappings.values())

    functions = {one.one(1): one for one in read.all(5)}
    places = {one.one(1): one for one in read.all(4)}
    assert 0 not in functions and 0 not in places

    def name(place: int) -> tuple[str, str, int, int]:
        (line,) = places[place].all(4)
        of = functions[line.one(1)]
        return strings[of.one(2)], strings[of.one(4)], of.one(5), line.one(2)

    first = read.all(2)[0]
    path = list(first.one(1))
    assert name(path[0])[0] == "list_sort_impl"  # the innermost frame comes first
    assert name(path[1]) == ("Handler.rank", "/srv/app.py", 52, 57)
    assert name(path[-1])[0] == "_start"
    labels = {strings[one.one(1)]: strings[one.one(2)] for one in first.all(3)}
    assert labels == {
        "tenant": "web",
        "kind": "container",
        "process": "python3",
        "namespace": "shop",
        "pod": "web-7d9",
        "container": "app",
    }
    assert [strings[i] for i in read.fields[13]] == [
        "lost: dropped 2, kthreads 0, idle 800, stale 0, pythonless 0, folded 0, unmapped 0, "
        "untabled 0",
        "Ruby 3.1 in web: native frames only.",
    ]


@pytest.mark.parametrize(
    "kind, unit, name",
    [
        ("off-cpu", "nanoseconds", "off_cpu"),
        ("alloc", "bytes", "alloc_space"),
        ("faults", "count", "faults"),
        ("inuse_objects", "count", "inuse_objects"),
    ],
)
def test_sample_types_have_the_names_that_pyroscope_knows(kind: str, unit: str, name: str) -> None:
    read, strings = message(replace(small(), type=kind, unit=unit))
    assert (strings[read.all(1)[1].one(1)], strings[read.all(1)[1].one(2)]) == (name, unit)
    assert "-" not in name


def test_without_labels_no_sample_tells_whose_it_is() -> None:
    read, strings = message(small(), labels=False)
    assert all(not sample.all(3) for sample in read.all(2))
    assert "web" not in strings


def test_one_of_the_reserved_rows_is_itself_again() -> None:
    assert HOST in pprof.parse(pprof.render(small())).tenants


def test_hostile_names_stay_names() -> None:
    _, strings = message(hostile())
    assert not any(ord(c) < 32 for text in strings for c in text)
    back = pprof.parse(pprof.render(hostile()))
    assert len(back.tenants) == len(HOSTILE)
    kinds = {frame.kind for frame in back.frames if frame.name.startswith("[kernel]")}
    assert kinds == {FrameKind.NATIVE}


def test_a_thousand_stacks_are_small() -> None:
    data = pprof.render(busy(1000))
    assert len(gzip.decompress(data)) < 200_000
    assert told(pprof.parse(data)) == sorted(told(pprof.parse(pprof.render(pprof.parse(data)))))


def strings(*texts: str) -> bytes:
    return b"".join(block(6, text.encode()) for text in ("", *texts))


GO = (
    # A heap profile as Go writes it: four values, an inlined call, labels that are not ours.
    strings("alloc_objects", "count", "alloc_space", "bytes", "inuse_objects", "inuse_space",
            "main.leak", "main.main", "/srv/main.go", "/srv/server", "deadbeef", "goroutine")
    + block(1, number(1, 1) + number(2, 2)) + block(1, number(1, 3) + number(2, 4))
    + block(1, number(1, 5) + number(2, 2)) + block(1, number(1, 6) + number(2, 4))
    + block(2, number(1, 1) + block(2, b"\x05\x32\x02\x14")
            + block(3, number(1, 12) + number(3, 9)))
    + block(2, block(1, b"\x01\x02") + block(2, b"\x01\x0a\x01\x0a"))
    + block(3, number(1, 1) + number(2, 0x400000) + number(5, 10) + number(6, 11))
    + block(4, number(1, 1) + number(2, 1) + number(3, 0x401000)
            + block(4, number(1, 1) + number(2, 7)) + block(4, number(1, 2) + number(2, 20)))
    + block(4, number(1, 2) + number(2, 1) + number(3, 0x402000))
    + block(5, number(1, 1) + number(2, 7) + number(4, 9) + number(5, 5))
    + block(5, number(1, 2) + number(2, 8) + number(4, 9))
    + number(9, 10**18) + number(12, 524288) + number(14, 6)
)  # fmt: skip


def test_go_s_own_heap_profile() -> None:
    owner = tenant(7, "server")
    read = pprof.parse(GO, tenant=owner, process="server")
    assert (read.type, read.unit, read.period, read.from_s) == ("inuse_space", "bytes", 524288, 1e9)
    assert read.tenants == (owner,)
    leak, unnamed = read.stacks
    assert [read.frames[i].name for i in leak.frames] == ["main.main", "main.leak"]
    assert (leak.count, leak.value, leak.process) == (2, 20, "server")
    assert read.frames[leak.frames[1]].line == 7
    assert [read.frames[i].name for i in unnamed.frames] == [
        "server+0x402000", "main.main", "main.leak",
    ]  # fmt: skip
    other = pprof.parse(GO, type="alloc_space")
    assert (other.type, other.stacks[0].count, other.stacks[0].value) == ("alloc", 5, 50)
    with pytest.raises(BadProfile, match="no cpu; it has alloc_objects, alloc_space"):
        pprof.parse(GO, type="cpu")


TYPE = strings("cpu", "nanoseconds") + block(1, number(1, 1) + number(2, 2))


@pytest.mark.parametrize(
    "data, said",
    [
        (b"", "empty"),
        (b"\x1f\x8b", "unpacked"),
        (gzip.compress(TYPE)[:-9], "unpacked"),
        (b"hello, world", "form|ends|longer"),
        (strings("a"), "no sample type"),
        (block(1, number(1, 5)) + strings(), "no string 5"),
        (TYPE + block(2, block(1, b"\x09") + block(2, b"\x01")), "names a location"),
        (TYPE + block(2, b""), "names a location or value"),
        (TYPE + block(2, block(2, varint((1 << 64) - 5))), "below zero"),
        (TYPE + b"\x12\xff\x01", "longer than what holds it"),
        (TYPE + b"\x48" + b"\xff" * 11, "64 bits"),
        (TYPE + block(4, number(1, 1)) + block(2, block(1, b"\1" * 5000)), "4,096 frames"),
        (TYPE + block(4, number(1, 1) + block(4, b"") * 5000), "4,096 lines"),
        (TYPE + b"\x12\x00" * 1_000_001, "1,000,000 samples"),
    ],
)
def test_a_file_that_is_no_profile_is_said_to_be_none(data: bytes, said: str) -> None:
    with pytest.raises(BadProfile, match=said):
        pprof.parse(data)


def test_what_unpacks_to_more_than_the_limit_is_not_unpacked() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(65)) + packer.flush()
    with pytest.raises(BadProfile, match="larger than 64 MiB"):
        pprof.parse(bomb)


def test_frames_are_counted_after_inlining() -> None:
    lines = block(4, b"") * 4000
    place = TYPE + block(4, number(1, 1) + lines)
    most = pprof_read.MAX_FRAMES // 4000
    with pytest.raises(BadProfile, match="8,000,000 frames"):
        pprof.parse(place + block(2, block(1, b"\1") + block(2, b"\1")) * (most + 1))


@settings(max_examples=300)
@given(st.binary(max_size=300) | st.tuples(st.integers(0, 2000), st.binary(max_size=20)))
def test_any_bytes_give_a_profile_or_the_one_error(found: bytes | tuple[int, bytes]) -> None:
    if isinstance(found, tuple):  # a good file, broken in one place
        at, wrong = found
        good = gzip.decompress(pprof.render(small()))
        found = good[:at] + wrong + good[at + len(wrong) :]
    try:
        read = pprof.parse(found)
    except BadProfile:
        return
    pprof.render(read)
