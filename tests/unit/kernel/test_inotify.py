"""inotify: real watches on real directories, and whatever bytes may come out of one."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotenant.errors import KernelRefused
from cotenant.kernel import inotify
from cotenant.kernel.inotify import CREATE, DELETE, IGNORED, IS_DIRECTORY, Inotify, Seen, decode

NAMES = st.binary(min_size=1, max_size=255).filter(lambda b: not {0, ord("/")} & set(b))


def encoded(watch: int, mask: int, name: bytes) -> bytes:
    """An event as the kernel writes it: the name ends with a zero, padded to 16 bytes."""
    padded = name + b"\0" * (16 - len(name) % 16) if name else b""
    return struct.pack("=iIII", watch, mask, 0, len(padded)) + padded


@given(
    st.lists(st.tuples(st.integers(-1, 2**31 - 1), st.integers(0, 2**32 - 1), NAMES | st.just(b"")))
)
def test_events_are_decoded_whatever_their_names(events):
    data = b"".join(encoded(*event) for event in events)
    assert list(decode(data)) == [Seen(w, m, os.fsdecode(name)) for w, m, name in events]


@pytest.fixture
def watches():
    opened = Inotify(3)
    yield opened
    opened.close()


def test_directories_made_and_removed_are_told_in_order(watches: Inotify, tmp_path: Path):
    watch = watches.add(str(tmp_path))
    assert watch is not None and list(watches.read()) == []
    hostile = tmp_path / os.fsdecode(b"new\nline \xff")
    hostile.mkdir()
    hostile.rmdir()
    assert list(watches.read()) == [
        Seen(watch, CREATE | IS_DIRECTORY, hostile.name),
        Seen(watch, DELETE | IS_DIRECTORY, hostile.name),
    ]


def test_watches_are_bounded_and_given_back(watches: Inotify, tmp_path: Path):
    directories = [tmp_path / name for name in "abcd"]
    for directory in directories:
        directory.mkdir()
    numbers = [watches.add(str(directory)) for directory in directories]
    assert None not in numbers[:3] and numbers[3] is None and watches.held == 3
    watches.remove(numbers[0] or 0)
    assert watches.add(str(directories[3])) is not None and watches.held == 3
    watches.remove(10**6)  # never given: nothing happens
    assert watches.held == 3


def test_a_watch_that_the_kernel_ended_is_not_held(watches: Inotify, tmp_path: Path):
    (tmp_path / "a").mkdir()
    watch = watches.add(str(tmp_path / "a"))
    (tmp_path / "a").rmdir()
    assert Seen(watch or 0, IGNORED, "") in list(watches.read())
    assert watches.held == 0


def test_what_cannot_be_watched_is_an_error(watches: Inotify, tmp_path: Path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("gone", "file", "link"):
        with pytest.raises(OSError, match=name):
            watches.add(str(tmp_path / name))
    assert watches.held == 0


def test_what_a_user_may_have_is_read_from_the_kernel(monkeypatch, tmp_path: Path):
    assert inotify.allowed() == int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
    monkeypatch.setattr(inotify, "_MOST", tmp_path / "none")
    assert inotify.allowed() == 8192


def test_a_user_without_a_further_inotify_is_told_so(monkeypatch):
    class Full:
        def inotify_init1(self, flags: int) -> int:
            return -1

    monkeypatch.setattr(inotify, "_libc", Full)
    with pytest.raises(KernelRefused) as refused:
        Inotify()
    assert "max_user_instances" in (refused.value.hint or "")
