"""The cache: what was put comes back whole or not at all, and no more is kept than allowed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cotenant.profile import cache
from cotenant.profile.cache import Cache

KEY = "ab" * 32


@pytest.fixture
def place(tmp_path):
    return tmp_path / "kept" / "profile"


def files(place: Path) -> list[Path]:
    return sorted(place.iterdir())


def test_what_was_put_comes_back(place):
    kept = Cache(place)
    assert kept.get("table", KEY) is None
    assert kept.put("table", KEY, b"rows") and kept.put("symbols", KEY, b"")
    for one in (kept, Cache(place)):
        assert one.get("table", KEY) == b"rows"
        assert one.get("symbols", KEY) == b""
        assert one.get("table", "cd" * 32) is None
    assert kept.put("table", KEY, b"other rows") and kept.get("table", KEY) == b"other rows"


def test_nobody_else_can_look_in(place):
    Cache(place).put("table", KEY, b"rows")
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in files(place)] == [0o600]


def test_a_directory_of_others_is_not_used(place, tmp_path):
    Cache(place).put("table", KEY, b"rows")
    place.chmod(0o777)
    assert Cache(place).get("table", KEY) is None and not Cache(place).put("table", KEY, b"new")
    place.chmod(0o700)
    assert Cache(place).get("table", KEY) == b"rows"
    link = tmp_path / "link"
    link.symlink_to(place)
    assert Cache(link).get("table", KEY) is None and not Cache(link).put("table", KEY, b"new")


def test_a_key_is_no_path(place, tmp_path):
    kept = Cache(place)
    keys = ["../../out", "", "/etc/passwd", "a\0b", "é\udc80", "x" * 300, "."]
    for key in keys:
        assert kept.put("table", key, key.encode(errors="surrogatepass"))
    for key in keys:
        assert kept.get("table", key) == key.encode(errors="surrogatepass")
    assert len(files(place)) == len(keys)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def damages(data: bytes) -> list[bytes]:
    flipped = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(len(data))]
    return [*flipped, b"", data[:5], data[:-1], data + b"\0"]


def test_a_corrupt_file_is_a_miss_and_goes(place):
    kept = Cache(place)
    kept.put("table", KEY, b"some rows")
    (path,) = files(place)
    whole = path.read_bytes()
    for damaged in damages(whole):
        path.write_bytes(damaged)
        assert kept.get("table", KEY) is None
        assert files(place) == []
    path.write_bytes(whole)
    assert kept.get("table", KEY) == b"some rows"


def test_another_version_is_a_miss(place, monkeypatch):
    Cache(place).put("table", KEY, b"rows")
    monkeypatch.setattr(cache, "VERSION", cache.VERSION + 1)
    assert Cache(place).get("table", KEY) is None


def test_links_pipes_and_directories_are_misses(place, tmp_path):
    kept = Cache(place)
    kept.put("table", KEY, b"rows")
    (path,) = files(place)
    outside = tmp_path / "outside"
    path.rename(outside)
    path.symlink_to(outside)
    assert kept.get("table", KEY) is None
    path.unlink()
    os.mkfifo(path)
    assert kept.get("table", KEY) is None
    path.unlink(missing_ok=True)
    path.mkdir()
    assert kept.get("table", KEY) is None and not kept.put("table", KEY, b"rows")
    assert outside.exists() and len(files(place)) == 1


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        assert not Cache(place).put("table", KEY, b"rows")
        assert Cache(place).get("table", KEY) is None


def aged(place: Path, key: str, seconds: int) -> None:
    os.utime(place / f"{key}.table", (seconds, seconds))


def test_what_was_used_longest_ago_goes_first(place):
    kept = Cache(place, most_bytes=10_000)
    for at, key in enumerate("abcdefghi"):
        kept.put("table", key, bytes(1000))
        aged(place, key, 1_000_000 + at)
    assert kept.get("table", "a") is not None  # used just now
    kept.put("table", "j", bytes(1000))
    names = [path.stem for path in files(place)]
    assert "a" in names and "j" in names and "b" not in names and "i" in names
    assert sum(path.stat().st_size for path in files(place)) <= 9000


def test_it_never_holds_more_than_allowed_whoever_wrote_it(place):
    for at in range(60):
        assert Cache(place, most_bytes=10_000).put("table", f"one{at}", bytes(1000))
        aged(place, f"one{at}", 1_000_000 + 2 * at)  # many are written within one tick of its clock
        two = Cache(place, most_bytes=10_000)
        assert two.put("table", f"two{at}", bytes(1000))
        assert sum(path.stat().st_size for path in files(place)) <= 10_000
        assert two.get("table", f"two{at}") == bytes(1000)
        aged(place, f"two{at}", 1_000_001 + 2 * at)
    assert not two.put("table", "larger", bytes(10_001))
    assert two.get("table", "two59") == bytes(1000)


def test_a_file_that_was_never_finished_is_taken_away(place):
    kept = Cache(place)
    kept.put("table", KEY, b"rows")
    old, new = place / ".new-old", place / ".new-new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1_000_000, 1_000_000))
    Cache(place).put("table", KEY, b"rows")
    assert not old.exists() and new.exists()


WRITER = """
import sys
from pathlib import Path
from cotenant.profile.cache import Cache
kept, me = Cache(Path(sys.argv[1]), most_bytes=40_000), sys.argv[2].encode()
for at in range(300):
    key = str(at % 20)
    kept.put("table", key, me * (1000 + at))
    found = kept.get("table", key)
    assert found is None or len(set(found)) == 1 and len(found) >= 1000, found
"""


def test_processes_may_write_at_once(place):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(place), me]) for me in ("a", "b", "c")
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert not [path for path in files(place) if path.name.startswith(".new")]
    kept = Cache(place, most_bytes=40_000)
    assert kept.put("table", "last", b"")
    assert 0 < sum(path.stat().st_size for path in files(place)) <= 40_000
    for path in files(place):
        assert kept.get("table", path.stem) is not None
