"""Cgroup files: what v1 and v2 write, and whatever else may stand in them."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.meter.trees import V1, V2, fill, tenant, v1, v2

from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.meter import books as books_module
from cotenant.meter.books import (
    Books,
    Descriptors,
    number_in,
    read_cpu,
    read_disks,
    read_memory,
    read_pressure,
    read_states,
    read_throttle,
    shares_of,
    table_of,
    words_of,
)
from cotenant.meter.files import FileReader
from cotenant.meter.host import ROOT
from cotenant.meter.tiers import _present
from cotenant.model import Memory, Pids, Pressure, Throttle


@dataclass
class Texts(Books):
    """Books whose files are given as texts."""

    files: dict[str, str]

    def text(self, controller: str, name: str) -> str | None:
        text = self.files.get(name)
        return None if text is None else text.encode().decode("ascii", "replace")


@pytest.fixture
def old(tmp_path: Path) -> Hierarchies:
    fill(tmp_path / "a", V1)
    return v1(tmp_path)


@pytest.fixture
def new(tmp_path: Path) -> Hierarchies:
    fill(tmp_path / "a", V2)
    return v2(tmp_path)


STATES = {
    "cache": 101, "rss": 102, "rss_huge": 103, "shmem": 104, "mapped_file": 105, "dirty": 106,
    "writeback": 107, "swap": 108, "inactive_file": 113, "active_file": 114, "pgfault": 111,
    "pgmajfault": 112,
}  # fmt: skip


def test_v1_is_read_hierarchically_with_every_value_it_has(old):
    files = FileReader(old)
    who = tenant()
    assert files.cpu(who) == (5_000_000_000, 3_000_000_000, 1_000_000_000)
    assert files.throttle(who) == Throttle(40, 7, 123456789, 150000, 100000, 512)
    assert files.pids(who) == Pids(12, None)
    events = dict.fromkeys(("low_events", "high_events", "max_events", "oom_events"))
    assert files.memory(who) == Memory(
        usage=52428800, limit=None, max_usage=62914560, failures=3, kernel=1044480,
        pgpgin=109, pgpgout=110, oom_kills=2, **STATES, **events,
    )  # fmt: skip
    assert files.pressure(who) is None
    assert files.disks(who) is None, "v1's blkio files do not tell: None, not 0"
    files.close()


def test_v2_has_its_own_names_for_the_same_values(new):
    files = FileReader(new)
    who = tenant()
    assert files.cpu(who) == (5_000_000_000, 3_000_000_000, 1_000_000_000)
    assert files.throttle(who) == Throttle(40, 7, 123456000, 150000, 100000, 1024)
    assert files.pids(who) == Pids(12, None)
    assert files.memory(who) == Memory(
        usage=52428800, limit=None, max_usage=62914560, failures=None, kernel=115,
        pgpgin=None, pgpgout=None, low_events=1, high_events=2, max_events=3, oom_events=4,
        oom_kills=5, **STATES,
    )  # fmt: skip
    assert files.pressure(who) == Pressure(11, 12, 13, 14, 15, 16)
    disks = files.disks(who)
    assert disks and [(d.read_bytes, d.written_bytes, d.reads, d.writes) for d in disks] == [
        (4096, 8192, 1, 2)
    ]
    files.close()


@pytest.mark.parametrize("host", ["old", "new"])
def test_a_limit_is_a_number_where_there_is_one(host, request, tmp_path):
    hierarchies = request.getfixturevalue(host)
    limits = {"memory.limit_in_bytes": "33554432\n", "memory.max": "33554432\n",
              "pids.max": "99\n", "cpu.cfs_quota_us": "-1\n", "cpu.max": "max 50000\n"}  # fmt: skip
    fill(tmp_path / "a", limits)
    files = FileReader(hierarchies)
    memory, throttle = files.memory(tenant()), files.throttle(tenant())
    assert memory and memory.limit == 33554432
    assert files.pids(tenant()) == Pids(12, 99)
    assert throttle and throttle.quota_us is None and throttle.period_us in (50000, 100000)
    files.close()


@pytest.mark.parametrize("host", ["old", "new"])
def test_a_cgroup_that_is_not_there_has_no_part_at_all(host, request):
    files = FileReader(request.getfixturevalue(host))
    gone = tenant("/gone")
    for read in (files.cpu, files.throttle, files.memory, files.pids, files.pressure):
        assert read(gone) is None
    assert files.disks(gone) is None and files.states(gone) == {}
    files.close()


def test_a_v2_cgroup_without_controllers_still_has_cpu_time_and_pressure(tmp_path):
    kept = ("cpu.stat", "cpu.pressure", "memory.pressure", "io.pressure")
    texts = {name: V2[name] for name in kept}
    texts["cpu.stat"] = "usage_usec 7\nuser_usec 4\nsystem_usec 3\n"
    fill(tmp_path / "a", texts)
    files = FileReader(v2(tmp_path))
    assert files.cpu(tenant()) == (7000, 4000, 3000)
    assert files.throttle(tenant()) is None and files.memory(tenant()) is None
    assert files.pressure(tenant()) is not None
    files.close()


def test_virtual_size_is_in_bytes_and_none_when_the_process_is_gone(new, tmp_path):
    fill(tmp_path / "proc/7", {"statm": "100 20 3 4 0 5 0\n"})
    fill(tmp_path / "proc/8", {"statm": ""})
    files = FileReader(new, tmp_path / "proc")
    assert files.vm_bytes(tenant(main_pid=7)) == 100 * os.sysconf("SC_PAGE_SIZE")
    for pid in (None, 8, 9):
        assert files.vm_bytes(tenant(main_pid=pid)) is None
    files.close()


@pytest.mark.parametrize(
    ("weight", "shares"), [(1, 10), (100, 1024), (10000, 102400), (39, 399), (45, 461)]
)
def test_a_weight_in_shares_is_what_the_kernel_makes_of_it(weight, shares):
    assert shares_of(weight) == shares


def test_swap_has_a_place_although_v2s_root_does_not_show_it(tmp_path):
    """The root has no memory.swap.current; what it lacks must not be taken for missing below."""
    root = {name: V2[name] for name in ("memory.stat", "cpu.stat")}
    fill(tmp_path, root)
    fill(tmp_path / "a", V2)
    hierarchies = v2(tmp_path)
    files = FileReader(hierarchies)
    assert "swap" not in files.states(ROOT)
    assert "swap" in _present(hierarchies, files)
    assert "pgpgin" not in _present(hierarchies, files)
    files.close()


# --- whatever stands in a file

ANYTHING = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=200),
    st.sampled_from(["", "\n", "max", "max\n", "-1\n", "usage_usec\n", "12 34\n", "²\n", "٣\n"]),
    st.builds("{} {}\n".format, st.sampled_from(["nr_periods", "usage_usec", "total_rss"]),
              st.text(st.characters(codec="utf-8"), max_size=20)),
    st.builds(lambda text, end: text[:end], st.sampled_from([*V1.values(), *V2.values()]),
              st.integers(0, 300)),
)  # fmt: skip
FILES = st.dictionaries(st.sampled_from([*V1, *V2]), ANYTHING)


def parts(texts: dict[str, str], *, v1: bool) -> list[Any]:
    books = Texts(texts)
    return [
        read_cpu(books, v1=v1), read_throttle(books, v1=v1), read_memory(books, v1=v1),
        read_states(books, v1=v1), read_pressure(books), read_disks(books.text("io", "io.stat")),
    ]  # fmt: skip


@given(FILES, st.booleans())
def test_nothing_that_stands_in_a_file_raises(texts, v1):
    parts(texts, v1=v1)


@pytest.mark.parametrize("v1", [True, False])
def test_a_file_cut_off_anywhere_does_no_harm(v1):
    recorded = V1 if v1 else V2
    for name, text in recorded.items():
        for end in range(len(text)):
            parts(recorded | {name: text[:end]}, v1=v1)


@pytest.mark.parametrize("v1", [True, False])
@pytest.mark.parametrize("odd", ["", "\n", " \n", "max\n", "-1\n", "x\n", "x y\n", "8:0\n", ":\n"])
def test_a_file_with_odd_content_does_no_harm(v1, odd):
    recorded = V1 if v1 else V2
    for name in recorded:
        parts(recorded | {name: odd}, v1=v1)


@pytest.mark.parametrize(
    ("text", "number"),
    [("7\n", 7), ("-1\n", -1), ("max\n", None), ("", None), (None, None), ("max 100", None),
     ("12 13\n", 12), ("x", None)],
)  # fmt: skip
def test_a_files_only_number(text, number):
    assert number_in(text) == number


def test_a_table_leaves_out_lines_of_another_form():
    assert table_of("a 1\nb x\n\nc\nd  2\ne 3 4\nf -1\na 9\n") == {"a": 9}
    assert table_of(None) == {}


# --- descriptors


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_file_is_opened_once_and_closed_with_its_tenant(new):
    files = FileReader(new)
    before = open_files()
    for _ in range(3):
        files.cpu(tenant())
    assert open_files() == before + 1
    files.keep([tenant("/b", key=2)])
    assert open_files() == before


@pytest.mark.parametrize("budget", [0, 1, 3])
def test_past_the_budget_nothing_is_missing_and_nothing_leaks(new, monkeypatch, budget):
    whole = FileReader(new)
    complete = (whole.cpu(tenant()), whole.memory(tenant()), whole.pressure(tenant()))
    whole.close()
    files = FileReader(new)
    monkeypatch.setattr(files._descriptors, "left", budget)
    before = open_files()
    for _ in range(3):
        read = (files.cpu(tenant()), files.memory(tenant()), files.pressure(tenant()))
        assert read == complete
        assert open_files() <= before + budget
    assert files._descriptors.left == 0
    files.close()
    assert files._descriptors.left == budget
    assert open_files() == before


def test_half_of_what_this_process_may_open_is_for_cgroup_files(monkeypatch):
    raised = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    assert Descriptors().left == 2048
    assert raised == [(4096, 4096)]


def test_a_file_longer_than_one_read_is_read_whole(tmp_path):
    """io.stat of a host with hundreds of devices."""
    line = "254:{} rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n"
    text = "".join(line.format(i) for i in range(1000))
    assert len(text) > 2 * books_module._SIZE
    fill(tmp_path / "a", {"io.stat": text, "memory.stat": "x" * books_module._SIZE})
    books = Books(v2(tmp_path), "/a")
    assert len(read_disks(books.text("io", "io.stat")) or ()) == 1000
    assert len(books.text("memory", "memory.stat") or "") == books_module._SIZE
    books.close()


def test_a_file_that_was_missing_is_looked_for_when_the_tenant_is_in_more_trees(tmp_path):
    (tmp_path / "a").mkdir()
    files = FileReader(v1(tmp_path))
    assert files.memory(tenant()) is None
    fill(tmp_path / "a", V1)
    files.keep([tenant()])
    assert files.memory(tenant()) is None, "nothing was made: it is not asked for each time"
    complete = tenant(cgroups={3: 101, 4: 77})
    files.keep([complete])
    assert files.memory(complete) is not None
    files.close()


def test_one_line_of_another_form_shifts_no_value():
    assert words_of("a 1\nb 2\n") == {"a": "1", "b": "2"}
    assert words_of("a 1\nodd\nb 2\n") == {"a": "1", "b": "2"}
    assert words_of("a 1\nmore words 7\nb 2\n") == {"a": "1", "b": "2"}
    assert words_of("") == {}
