"""The last hour of profiles: what was put in comes out, bounded, whatever happens to the files."""

from __future__ import annotations

import os
import stat
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.profiles.made import HASH, MAIN, POD, SERVE, USUAL, WEB, profile, read

from cotenant.agent.profile_store import Store
from cotenant.model import Frame, FrameKind, ProfileLost

T = 1_700_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = T

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    return Store(tmp_path / "profiles", clock=clock)


def add_windows(store, clock, count, **more):
    for number in range(count):
        clock.now = T + 15 * (number + 1)
        store.add(profile(from_s=T + 15 * number, **more))


def files(store):
    return sorted(path.name for path in store.directory.iterdir())


def test_a_window_comes_back_as_it_was(store):
    lost = ProfileLost(dropped=3)
    one = profile(lost=lost, notes=("a note",))
    assert store.add(one)
    back = store.query(None, T, T + 15)
    assert read(back) == read(one)
    assert (back.type, back.unit, back.period) == ("cpu", "nanoseconds", 10_000_000)
    assert (back.from_s, back.until_s, back.lost, back.notes) == (T, T + 15, lost, ("a note",))
    assert set(back.frames) == set(one.frames)
    assert {tenant.name: tenant.labels for tenant in back.tenants} == {
        WEB.name: WEB.labels,
        POD.name: POD.labels,
    }


def test_windows_of_a_time_are_added_up_and_others_left_out(store, clock):
    add_windows(store, clock, 4)
    whole = store.query("web", T, T + 60)
    assert read(whole) == {"web": {("main", "Server.serve", "hash_all"): 120,
                                   ("main", "Server.serve", "vfs_read"): 40}}  # fmt: skip
    assert (whole.from_s, whole.until_s) == (T, T + 60)
    part = store.query("web", T + 16, T + 29)
    assert read(part)["web"]["main", "Server.serve", "hash_all"] == 30
    assert (part.from_s, part.until_s) == (T + 15, T + 30)


def test_types_stay_apart(store):
    store.add(profile())
    store.add(profile({WEB: {(MAIN,): 7}}, type="off-cpu"))
    store.add(profile({WEB: {(MAIN,): 9}}, type="go/heap", unit="bytes"))
    assert read(store.query(None, T, T + 15, "off-cpu")) == {"web": {("main",): 7}}
    heap = store.query(None, T, T + 15, "go/heap")
    assert (read(heap), heap.unit) == ({"web": {("main",): 9}}, "bytes")
    assert read(store.query(None, T, T + 15)) == read(profile())


def test_nothing_kept_is_an_empty_profile_that_says_so(store):
    found = store.query("web", T, T + 60, "off-cpu")
    assert (found.stacks, found.unit, found.notes) == (
        (), "nanoseconds", ("Nothing of that time is kept.",),
    )  # fmt: skip
    assert not store.add(profile({}))
    assert not store.directory.exists()


@pytest.mark.parametrize("name", ["../up", "", "CPU", "a/b/c", "a.b", "cpu\n", "/etc"])
def test_a_type_that_is_no_file_name_is_refused(store, name):
    with pytest.raises(ValueError, match="no type"):
        store.add(profile(type=name))


def test_only_its_user_may_read(store, tmp_path):
    store.directory.mkdir(mode=0o755)
    store.add(profile())
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in store.directory.iterdir()} == {0o600}


def test_what_is_past_its_age_goes(store, clock):
    store.most_s = 60
    add_windows(store, clock, 10)
    kept = store.windows(0, 2 * T)
    assert min(one.until_s for one in kept) >= clock.now - 60
    assert len(files(store)) == len(kept) == 5
    assert store.counts.evicted == 0


def test_files_never_take_more_than_they_may(store, clock):
    add_windows(store, clock, 1)
    size = store.counts.bytes
    store.configure(most_bytes=3 * size + size // 2, most_s=3600)
    add_windows(store, clock, 20)
    assert sum(path.stat().st_size for path in store.directory.iterdir()) <= store.most_bytes
    assert store.counts.windows == 3
    assert store.counts.evicted == 17  # the first of the 20 replaced the one before
    assert [one.from_s for one in store.windows(0, 2 * T)] == [T + 255, T + 270, T + 285]


def test_a_window_larger_than_all_is_left_out_and_counted(tmp_path):
    store = Store(tmp_path / "p", most_bytes=100)
    assert not store.add(profile())
    assert (store.counts.evicted, store.counts.windows) == (1, 0)


def test_an_agent_started_again_finds_what_was_kept(store, clock):
    add_windows(store, clock, 3)
    (store.directory / ("x" * 10 + ".new")).write_bytes(b"half")
    (store.directory / "someone-elses").write_bytes(b"?")
    again = Store(store.directory, clock=clock)
    assert read(again.query(None, T, T + 45)) == read(store.query(None, T, T + 45))
    assert again.counts == store.counts
    assert "xxxxxxxxxx.new" not in files(store)
    assert "someone-elses" in files(store)


def test_a_link_is_not_followed(store, tmp_path):
    store.add(profile())
    [one] = store.directory.iterdir()
    one.rename(tmp_path / "elsewhere")
    one.symlink_to(tmp_path / "elsewhere")
    assert store.query(None, T, T + 15).stacks == ()
    assert (tmp_path / "elsewhere").exists()
    assert Store(store.directory).counts.windows == 0


@pytest.mark.parametrize("cut", [0, 7, 15, 40, -1])
def test_a_file_cut_short_is_skipped_and_counted_once(store, clock, cut):
    add_windows(store, clock, 2)
    path = store.directory / files(store)[0]
    path.write_bytes(path.read_bytes()[:cut])
    for _ in range(2):
        assert read(store.query("pod", T, T + 30)) == {}
        found = store.query(None, T, T + 30)
        assert found.from_s == (T if cut == -1 else T + 15)
    assert store.counts.corrupt == 1


def test_each_byte_of_a_file_is_guarded(store):
    one = profile()
    store.add(one)
    [path] = store.directory.iterdir()
    good = path.read_bytes()
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 0x10
        path.write_bytes(bad)
        fresh = Store(store.directory, clock=lambda: T)
        fresh.query(None, T, T + 15)
        assert fresh.counts.corrupt == 1, at
        path.write_bytes(good)


@given(st.binary(max_size=400))
def test_whatever_a_file_holds_nothing_is_raised(tmp_path_factory, data):
    directory = tmp_path_factory.mktemp("p")
    (directory / f"{int(T * 1e3):013d}-{int(T * 1e3):013d}-cpu.profile").write_bytes(data)
    store = Store(directory, clock=lambda: T)
    assert store.query(None, T, T).stacks == ()
    assert store.counts.corrupt == 1


def test_a_head_that_unfolds_without_end_is_not_unfolded(store):
    head = zlib.compress(bytes(1 << 27))
    front = b"CTPROF1\n" + zlib.crc32(head).to_bytes(4, "little") + len(head).to_bytes(4, "little")
    store.add(profile())
    [path] = store.directory.iterdir()
    path.write_bytes(front + head)
    assert store.query(None, T, T + 15).stacks == ()
    assert store.counts.corrupt == 1


def test_a_disk_that_takes_nothing_is_counted_and_said(tmp_path):
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file" / "p")
    with pytest.raises(OSError):
        store.add(profile())
    assert (store.counts.failed, store.counts.windows) == (1, 0)


def test_names_that_are_no_text_are_kept_spelt_out(store):
    odd = Frame(os.fsdecode(b"f\xff"), FrameKind.NATIVE)
    store.add(profile({WEB: {(MAIN, odd): 2}, POD: {(SERVE, HASH): 1}}))
    assert read(store.query("web", T, T)) == {"web": {("main", "f\\xff"): 2}}


def test_a_tenant_is_the_same_after_the_agent_was_started_again(store):
    from msgspec.structs import replace

    store.add(profile())
    store.add(profile({replace(WEB, key=77): USUAL[WEB]}, from_s=T + 15))
    both = store.query("web", T, T + 30)
    assert len(both.tenants) == 1
    assert read(both)["web"]["main", "Server.serve", "hash_all"] == 60
    assert [tenant.name for tenant in store.tenants(T, T + 30)] == ["web", POD.name]


def test_what_is_there_now_is_not_added_up_over_time(store):
    store.add(profile(type="go/heap", unit="bytes"))
    store.add(profile({WEB: {(MAIN,): 3}}, from_s=T + 15, type="go/heap", unit="bytes"))
    found = read(store.query(None, T, T + 60, "go/heap"))
    assert found == {"web": {("main",): 3}, POD.name: read(profile())[POD.name]}
    assert read(store.query("web", T, T + 1, "go/heap")) == {"web": read(profile())["web"]}
