"""Folded stacks, speedscope, JSON, the endings, merging and the tree."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.export.profiles import (
    HOSTILE,
    PERIOD,
    Maker,
    busy,
    hostile,
    profiles,
    python,
    small,
    tenant,
    told,
)

from cotenant.errors import BadProfile, UsageError
from cotenant.export import flame, folded, profile_files, profile_json, speedscope
from cotenant.export.merge import merge
from cotenant.export.visible import visible
from cotenant.model import Frame, FrameKind, Profile, ProfileLost

BASE = (
    "web;python3;_start;__libc_start_main_impl;_PyEval_EvalFrameDefault;<module> (/srv/app.py:1)"
    ";Server.serve_forever (/usr/lib/python3.11/socketserver.py:208)"
    ";Handler.do_GET (/srv/app.py:31)"
)
FOLDED = f"""\
host;kworker/0:1;worker_thread_[k];wb_[k] 15
node;node;node::Start;LazyCompile:~hot_[j] 25
web;python3;[cut: no unwind table];deflate 5
{BASE};Handler.rank (/srv/app.py:52) 10
{BASE};Handler.rank (/srv/app.py:52);list_sort_impl 30
{BASE};__send;entry_SYSCALL_64_after_hwframe_[k];do_syscall_64_[k];tcp_sendmsg_[k] 15
"""


def test_folded_is_what_flamegraph_pl_reads() -> None:
    assert folded.render(small()).decode() == FOLDED
    by_time = folded.render(small(), samples=False).decode().splitlines()
    assert by_time[0] == f"host;kworker/0:1;worker_thread_[k];wb_[k] {15 * PERIOD}"
    waits = folded.render(replace(small(), type="off-cpu")).decode()
    assert waits.splitlines() == by_time


@given(profiles())
def test_folded_reads_back_in_names_kinds_and_sums(profile: Profile) -> None:
    data = folded.render(profile, samples=False)
    back = folded.parse(data)
    assert folded.render(back, samples=False) == data
    assert sum(s.value for s in back.stacks) == sum(s.value for s in profile.stacks)
    python = {frame.name for frame in profile.frames if frame.kind is FrameKind.PYTHON}
    met = {f.name for s in profile.stacks for f in (profile.frames[i] for i in s.frames)}
    assert {f.name for f in back.frames if f.kind is FrameKind.PYTHON} >= python & met


def test_folded_splits_rightly_whatever_the_names() -> None:
    lines = folded.render(hostile()).decode().splitlines()
    assert len(lines) == len(HOSTILE)
    assert {line.count(";") for line in lines} == {4}
    assert len(folded.parse("\n".join(lines).encode()).stacks) == len(HOSTILE)


@pytest.mark.parametrize("data", [b"a;b", b"a;b -1", b"a;b 1.5", b"7", b"a 1\nb x", "a ٣".encode()])
def test_what_is_not_folded_is_said_by_line(data: bytes) -> None:
    with pytest.raises(BadProfile, match=r"Line \d is no folded stack"):
        folded.parse(data)


def test_a_folded_line_deeper_than_any_stack_is_refused() -> None:
    with pytest.raises(BadProfile, match="too many frames"):
        folded.parse(b"a;" * 5000 + b"b 1")


def test_speedscope_has_a_profile_per_tenant_heaviest_first() -> None:
    file: dict[str, Any] = json.loads(speedscope.render(small()))
    assert file["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    assert [one["name"] for one in file["profiles"]] == ["web", "node", "host"]
    frames = file["shared"]["frames"]
    rank = {"name": "Handler.rank", "file": "/srv/app.py", "line": 52}
    assert frames.count(rank) == 1  # two lines of one function are one frame
    assert {"name": "tcp_sendmsg", "file": "[kernel]"} in frames
    for one in file["profiles"]:
        assert (one["type"], one["unit"], one["startValue"]) == ("sampled", "nanoseconds", 0)
        assert one["endValue"] == sum(one["weights"])
        assert len(one["samples"]) == len(one["weights"])
        assert all(0 <= i < len(frames) for path in one["samples"] for i in path)
    web = file["profiles"][0]["samples"][0]
    assert [frames[i]["name"] for i in web[:2]] == ["python3", "_start"]
    speedscope.render(hostile()).decode("ascii")


def test_speedscope_counts_what_has_no_unit() -> None:
    file = json.loads(speedscope.render(replace(small(), type="faults", unit="count")))
    assert {one["unit"] for one in file["profiles"]} == {"none"}


@given(profiles())
def test_json_is_lossless(profile: Profile) -> None:
    back = profile_json.parse(profile_json.render(profile))
    assert told(back) == told(profile)
    assert replace(back, tenants=()) == replace(profile, tenants=())
    assert [(t.key, t.kind, t.path) for t in back.tenants] == [
        (t.key, t.kind, t.path) for t in profile.tenants
    ]


def test_json_keeps_even_the_names_that_no_other_form_can() -> None:
    back = profile_json.parse(profile_json.render(hostile()))
    assert back.frames == hostile().frames and back.notes == tuple(HOSTILE)


def broken(**fields: object) -> bytes:
    return json.dumps(json.loads(profile_json.render(small())) | fields).encode()


STACK = {"tenant": 0, "process": "a", "frames": [0], "count": 1, "value": 1}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff\xfe{}",
        b"[" * 100_000,
        b'{"format":"cotenant-profile-1"}',
        broken(format="else"),
        broken(from_s=float("nan")),
        broken(until_s=float("inf")),
        broken(frames=[{"name": "x", "kind": "martian"}]),
        *[
            broken(stacks=[STACK | wrong])
            for wrong in (
                {"tenant": 9},
                {"tenant": -1},
                {"frames": [99]},
                {"frames": [-1]},
                {"count": -1},
                {"value": -1},
                {"value": 1.5},
            )
        ],
    ],
)
def test_json_that_does_not_fit_together_is_refused(data: bytes) -> None:
    with pytest.raises(BadProfile):
        profile_json.parse(data)


@settings(max_examples=200)
@given(st.binary(max_size=200), st.sampled_from([".folded", ".json", ".pb.gz", ".pprof"]))
def test_any_bytes_are_a_profile_or_the_one_error(data: bytes, ending: str) -> None:
    with contextlib.suppress(BadProfile):
        profile_files.parse_file("x" + ending, data)


def test_each_ending_asks_for_its_form() -> None:
    profile = small()
    for ending, reader in ((".folded", folded.parse), (".json", profile_json.parse)):
        data = profile_files.render("web" + ending, profile)
        assert told(profile_files.parse_file("web" + ending, data)) == told(reader(data))
    assert profile_files.render("a.pb.gz", profile)[:2] == b"\x1f\x8b"
    assert b"$schema" in profile_files.render("a.speedscope.json", profile)


def test_an_unknown_ending_is_told_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'web\.png'") as raised:
        profile_files.renderer("web.png")
    assert all(ending in str(raised.value.hint) for ending in profile_files.FORMATS)
    for name in ("web.html", "web.svg", "web.speedscope.json"):
        with pytest.raises(UsageError, match="cannot be read") as raised:
            profile_files.parse_file(name, b"")
        assert ".pb.gz" in str(raised.value.hint)


def test_merging_adds_up_and_keeps_who_is_who() -> None:
    one, other = small(), busy(50)
    both = merge([one, replace(other, from_s=1.0), one])
    assert sum(s.value for s in both.stacks) == 2 * sum(s.value for s in one.stacks) + sum(
        s.value for s in other.stacks
    )
    assert [(t.name) for t in both.tenants].count("host") == 1
    assert (both.from_s, both.until_s) == (1.0, one.until_s)
    assert both.lost == ProfileLost(dropped=7, kthreads=41, idle=2810, untabled=1)
    assert both.notes == (*one.notes, *other.notes)
    assert len(set(both.frames)) == len(both.frames)
    assert merge([one, replace(one, period=7)]).period == 0


@given(profiles())
def test_a_profile_merged_with_itself_is_twice_itself(profile: Profile) -> None:
    twice = merge([profile, profile])
    expected = [(*row[:3], 2 * row[3], 2 * row[4], row[5]) for row in told(profile)]  # type: ignore[operator]
    # Tenants of one name and different kinds stay apart; names are unique on a host.
    assert told(twice) == expected


def test_what_does_not_belong_together_is_not_merged() -> None:
    with pytest.raises(UsageError, match="cpu in nanoseconds and faults in count"):
        merge([small(), replace(small(), type="faults", unit="count")])
    with pytest.raises(UsageError, match="no profile"):
        merge([])


def path(node: flame.Node, *names: str) -> flame.Node:
    for name in names:
        (node,) = [child for child in node.children if child.name == name]
    return node


def test_the_tree_merges_lines_of_a_function_unless_asked_not_to() -> None:
    names = ["python3", "_start", "__libc_start_main_impl", "_PyEval_EvalFrameDefault", "<module>"]
    names += ["Server.serve_forever", "Handler.do_GET"]
    root = flame.grow(small(), 0)
    assert (root.name, root.kind, root.count) == ("web", flame.TENANT, 60)
    handler = path(root, *names)
    assert [child.name for child in handler.children] == ["Handler.rank", "__send"]
    rank = handler.children[0]
    assert (rank.total, rank.own, rank.count) == (40 * PERIOD, 10 * PERIOD, 40)
    lines = path(flame.grow(small(), 0, lines=True), *names)
    assert [(c.name, c.frame and c.frame.line) for c in lines.children] == [
        ("Handler.rank", 57), ("__send", 0), ("Handler.rank", 59),
    ]  # fmt: skip


@given(profiles())
def test_every_node_weighs_what_it_and_its_callees_do(profile: Profile) -> None:
    root = flame.grow(profile)
    assert root.total == sum(stack.value for stack in profile.stacks)
    assert root.count == sum(stack.count for stack in profile.stacks)
    for node in flame.walk(root):
        assert node.total == node.own + sum(child.total for child in node.children)


def test_a_recursive_function_counts_once_in_the_table() -> None:
    make = Maker(tenant(1, "web"))
    fib, leaf = python("fib", "/a.py", 2, 1), Frame("leaf", FrameKind.NATIVE)
    make.add(0, "python3", [fib, fib, fib], 3)
    make.add(0, "python3", [fib, fib, leaf], 2)
    rows = flame.top(flame.grow(make.profile()))
    assert [(row.frame.name, row.own, row.total) for row in rows] == [
        ("fib", 3 * PERIOD, 5 * PERIOD), ("leaf", 2 * PERIOD, 2 * PERIOD),
    ]  # fmt: skip


def test_hidden_characters_are_spelt() -> None:
    assert visible("a\nb\0\x1b\x7f\x85") == r"a\x0ab\x00\x1b\x7f\x85"
    assert visible("\udcff \ud800 \u202ex\u2028") == r"\xff \ud800 \u202ex\u2028"
    assert visible("한국어 שלום <b>&") == "한국어 שלום <b>&"
