"""State files that somebody else wrote."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cotenant.tenants.clock import unix_time
from cotenant.tenants.facts import labels, text
from cotenant.tenants.files import LIMIT, json_below, names_below, read_below


def test_links_below_the_base_are_not_followed(tmp_path: Path) -> None:
    base = tmp_path / "base"
    (base / "real").mkdir(parents=True)
    (tmp_path / "secret").write_text("{}")
    (base / "real" / "file").write_text('{"a": 1}')
    (base / "link").symlink_to(tmp_path)
    (base / "real" / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "seen-as").symlink_to(base)
    assert json_below(base, "real", "file") == {"a": 1}
    assert json_below(tmp_path / "seen-as", "real", "file") == {"a": 1}
    assert read_below(base, "link", "secret") is None
    assert read_below(base, "real", "out") is None
    assert read_below(base, "..", "secret") is None
    assert read_below(base, "real/file") is None
    assert read_below(base) is None
    assert names_below(base, "link") == []
    assert names_below(base, "real") != []


def test_pipes_folders_and_giants_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with (tmp_path / "giant").open("wb") as file:
        file.truncate(LIMIT + 1)
    for name in ("pipe", "folder", "giant", "absent", "nul\0"):
        assert read_below(tmp_path, name) is None
    assert json_below(tmp_path, "giant") == {}


def test_json_that_is_none(tmp_path: Path) -> None:
    for data in (b"", b"[1]", b"\xff", b'{"a":', b"[" * 100_000):
        (tmp_path / "file").write_bytes(data)
        assert json_below(tmp_path, "file") == {}


def test_text_can_always_be_encoded() -> None:
    assert text("") is text(None) is text(7) is None
    assert text(os.fsdecode(b"a\xffb")) == "a\\xffb"
    assert text("한국어") == "한국어"
    assert text("x" * 1000) == "x" * 253
    assert text("\ud800") is not None


@given(st.text(st.characters(), max_size=300))
def test_any_text_can_be_encoded(value: str) -> None:
    (text(value) or "").encode()


@given(st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.none())))
def test_labels_are_pairs_of_text(value: dict[str, object]) -> None:
    for key, word in labels(value).items():
        key.encode(), word.encode()


def test_times() -> None:
    assert unix_time("1970-01-01T00:00:00Z") is None
    assert unix_time("0001-01-01T00:00:00Z") is None
    assert unix_time("2026-11-22T00:04:19.667811691Z") == 1795305859.667811
    assert unix_time("2026-11-22T01:04:19+01:00") == 1795305859.0
    for nonsense in (None, 7, "", "yesterday", "9" * 100, "2026-13-01T00:00:00Z"):
        assert unix_time(nonsense) is None
