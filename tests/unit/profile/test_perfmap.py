"""Names that a process wrote of itself: its own map in its own /tmp, and what tenants put there."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cotenant.profile.symbols import perfmap
from cotenant.profile.symbols.perfmap import PerfMap, PerfMaps

ME = os.getpid()
MAP = Path(f"/tmp/perf-{ME}.map")


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    MAP.unlink(missing_ok=True)
    yield
    MAP.unlink(missing_ok=True)


def append(text: str | bytes) -> None:
    with MAP.open("ab") as file:
        file.write(text.encode() if isinstance(text, str) else text)


def test_names_and_what_grows() -> None:
    append("7f0000001000 20 LazyCompile:~größe /srv/app.js:3\n7f0000002000 10 second\n")
    found = PerfMap(ME)
    assert found.lookup(0x7F000000101F) == ("LazyCompile:~größe /srv/app.js:3", 0x7F0000001000)
    assert found.lookup(0x7F0000001020) is None
    assert found.lookup(0x7F0000000FFF) is None
    append("7f0000003000 10 thi")
    found.refresh()
    assert found.lookup(0x7F0000003000) is None, "its line has no end yet"
    append("rd\n0x00007f0000004000 0x0000000000000010 with 0x\n")  # as Java writes
    found.refresh()
    assert found.lookup(0x7F0000003000) == ("third", 0x7F0000003000)
    assert found.lookup(0x7F000000400F) == ("with 0x", 0x7F0000004000)
    assert (found.malformed, found.unread, len(found)) == (0, 0, 4)


def test_what_is_told_later_holds() -> None:
    append("1000 100 old\n1000 40 new\n2000 100 covered\n2010 10 inner\n1ff0 200 over\n")
    found = PerfMap(ME)
    assert found.lookup(0x1000) == ("new", 0x1000)
    assert found.lookup(0x1050) == ("old", 0x1000)
    assert found.lookup(0x2015) == ("over", 0x1FF0)


def test_a_map_written_anew_is_read_anew() -> None:
    append("1000 10 before\n2000 10 gone\n")
    found = PerfMap(ME)
    found.refresh()
    MAP.write_text("1000 10 after\n")
    found.refresh()
    assert found.lookup(0x1000) == ("after", 0x1000)
    assert found.lookup(0x2000) is None
    other = MAP.with_suffix(".new")
    other.write_text("1000 10 replaced it, and is longer than the first was\n")
    other.rename(MAP)
    found.refresh()
    assert (found.lookup(0x1000) or ("",))[0].startswith("replaced")


def test_lines_that_say_nothing_are_counted() -> None:
    append("\n1000 10\nzz 10 name\n1000 0 empty\n11111111111111111 10 x\n1000 111111111 x\n")
    append(b"2000 10 \xff\xfe\x00 \x1b[31m\n")
    found = PerfMap(ME)
    assert found.lookup(0x2000) == ("��? \x1b[31m", 0x2000)
    assert (found.malformed, len(found)) == (6, 1)


def test_no_map_and_no_process() -> None:
    assert PerfMap(ME).lookup(0x1000) is None
    assert PerfMap(1 << 22).lookup(0x1000) is None


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_plain_file_is_not_opened(kind: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("1000 10 secret\n")
    if kind == "link":
        MAP.symlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(MAP)
    else:
        MAP.mkdir()
    found = PerfMap(ME)
    assert found.lookup(0x1000) is None
    assert (len(found), found.memory_bytes) == (0, 0)
    if kind == "folder":
        MAP.rmdir()


def test_a_gigabyte_of_nothing_costs_nothing() -> None:
    """Holes are read as zeros, without a line: 64 MiB of them, and no memory."""
    with MAP.open("wb") as file:
        file.truncate(1 << 30)
    found = PerfMap(ME)
    before = time.process_time()
    found.refresh()
    assert found.unread == (1 << 30) - perfmap.READ_LIMIT
    assert found.memory_bytes == 0
    found.lookup(1)
    for _ in range(1000):
        found.lookup(1)
    assert time.process_time() - before < 5, "it was not read again each time"


def test_a_map_full_of_names_is_bounded() -> None:
    line = b"1000 10 x\n"
    append(line * 2_000_000)
    found = PerfMap(ME)
    found.refresh()
    assert perfmap.MOST_NAMES <= len(found) <= perfmap.MOST_NAMES + perfmap._PART // len(line)
    assert found.unread > 0
    MAP.write_bytes(b"1000 10 " + b"y" * 400 + b"\n")
    append((b"1000 10 " + b"y" * 400 + b"\n") * 100_000)
    found.refresh()
    assert found.memory_bytes < 2 * perfmap.NAMES_LIMIT
    assert found.unread > 0


def test_the_largest_is_dropped_and_others_keep_their_names() -> None:
    append("1000 10 name\n" * 1000)
    maps = PerfMaps(budget_bytes=1000)
    assert maps.lookup(ME, 0x1000) is not None
    assert (maps.dropped, maps.memory_bytes) == (1, 0)
    assert maps.lookup(ME, 0x1000) is None, "not read again for a minute"
    roomy = PerfMaps()
    assert roomy.lookup(ME, 0x1000) == ("name", 0x1000)
    assert roomy.memory_bytes > 0
    roomy.keep([])
    assert roomy.memory_bytes == 0


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=80),
            st.just(b"1000 10 good\n"),
            st.builds(
                lambda a, b, c: b"%x %x %s\n" % (a, b, c),
                *(st.integers(0, 1 << 64), st.integers(0, 1 << 33), st.binary(max_size=600)),
            ),
        )
    ),
    st.integers(0, (1 << 64) - 1),
)
def test_any_map_is_read(parts: list[bytes], address: int) -> None:
    MAP.write_bytes(b"".join(parts))
    found = PerfMap(ME)
    found.lookup(address)
    whole = b"".join(parts)
    assert found.malformed + len(found) == whole.count(b"\n")
