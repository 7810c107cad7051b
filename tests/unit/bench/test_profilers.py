"""Profilers' output, each as the tool itself wrote it, read by one rule."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
from peers.profilers import otel, wheels
from peers.runqlat.run import BuildFailed

from cotenant.bench.peers import profilers
from cotenant.bench.peers.profilers import Told, austin_stacks, by_pid, perf_stacks, py_spy_stacks
from cotenant.bench.profiling import chosen, product
from cotenant.bench.profiling.judge import Seen, Starts, is_start
from cotenant.bench.profiling.victims import Victim
from cotenant.errors import HostCannot
from cotenant.model import HOST, Frame, FrameKind, Kind, Profile, Stack, Tenant

PERF = """  2719
\t          1dcb9d unicode_isprintable (/usr/bin/python3.11)
\t   2000000000000 [unknown] ([unknown])

  2720
\tffffffff813a2293 finish_task_switch.isra.0 ([kernel.kallsyms])
\t           15be0 [unknown] (/usr/lib/x86_64-linux-gnu/liblzma.so.5.4.1)
\t           891f4 start_thread (/usr/lib/x86_64-linux-gnu/libc.so.6)
\t          1098eb clone3 (/usr/lib/x86_64-linux-gnu/libc.so.6)

    15
\tffffffff813a2293 worker_thread ([kernel.kallsyms])

  2721

  2722
\t          47b0a1 std::sort<int>(int*, int*) (/usr/bin/with (braces))
\t          47b0a2 runtime.goexit.abi0 (/usr/bin/with (braces))
"""
PY_SPY = """\
thread (1): MainThread;<module> (v.py:9);spin (v.py:4);spin.<locals>.<genexpr> (v.py:4) 225
thread (2): Thread-1 (hashing);_start (python3.11);Thread.run (threading.py:975) 3
thread (2): Thread-1 (hashing);0x10 (libc.so.6);PyEval_RestoreThread (python3.11) 4

"""
AUSTIN = """\
# austin: 3.7.0
# mode: cpu

P17;T0:19;/usr/lib/python3.11/threading.py:Thread.run:975;/tmp/v.py:hashing:7 1055
P17;T0:17;/tmp/v.py:<module>:9 1055
P17;T0:17
# duration: 2998320
"""


class Nowhere(Starts):
    """Knows no address."""

    def of_file(self, path: str, address: int) -> bool:
        return False

    def of_process(self, pid: int, address: int) -> bool:
        return False


def test_where_threads_start_whatever_a_tool_adds_to_its_name() -> None:
    for name in ("_start", "__libc_start_main@@GLIBC_2.34", "__clone3", "clone3+0x2b", "clone",
                 "runtime.goexit.abi0", "runtime.mcall", "start_thread"):  # fmt: skip
        assert is_start(name), name
    for name in ("start", "starts", "main", "", "[unknown]", "clone_fs", "thread_start"):
        assert is_start(name) is (name == "start")


def test_an_address_is_judged_by_the_symbols_of_its_file_or_process() -> None:
    maps = Path("/proc/self/maps").read_text().splitlines()
    libc = next(line for line in maps if "r-xp" in line and "libc.so" in line)
    path, start = libc.split()[-1], int(libc.split("-")[0], 16)
    offset = int(libc.split()[2], 16)
    starts = Starts([os.getpid()])
    from cotenant.profile.binary import Binary
    from cotenant.profile.elf import Elf

    with Binary.at(path) as opened:
        elf = Elf(opened)
        clone, _ = elf.find("clone") or pytest.fail("libc has no clone")
        bias = elf.executable_bias(offset) or 0
    assert starts.of_file(path, clone + 4)
    assert starts.of_process(os.getpid(), clone + 4 - bias - offset + start)
    assert not starts.of_file(path, 0)
    assert not starts.of_file("/nowhere", clone + 4)
    assert not starts.of_process(os.getpid(), 0x10)


def test_perfs_script_is_read_by_process_and_outermost_frame() -> None:
    assert list(perf_stacks(PERF.splitlines(keepends=True), Nowhere())) == [
        Told(2719, 1, False, False),
        Told(2720, 1, True, False),
        Told(15, 1, False, False),
        Told(2721, 1, False, False),
        Told(2722, 1, True, False),
    ]
    assert list(perf_stacks([], Nowhere())) == []


def test_py_spys_stacks_are_whole_only_with_native_frames() -> None:
    assert list(py_spy_stacks(PY_SPY, 5, Nowhere())) == [
        Told(5, 225, False, True),
        Told(5, 3, True, True),
        Told(5, 4, False, False),
    ]


def test_austins_lines_are_samples_and_never_reach_the_start() -> None:
    assert list(austin_stacks(AUSTIN, 17, Nowhere())) == [
        Told(17, 1, False, True),
        Told(17, 1, False, True),
        Told(17, 1, False, False),
    ]


def test_only_samples_of_what_was_to_be_profiled_count() -> None:
    victims = [Victim("web", 17, HOST), Victim("hash", 18, HOST)]
    told = [Told(17, 3, True, False), Told(17, 1, False, True), Told(99, 50, True, True)]
    assert by_pid(told, victims) == {"web": Seen(4, 3, 1), "hash": Seen()}


def test_our_own_profile_is_judged_by_the_same_rule() -> None:
    web = Tenant(1, "web", Kind.CGROUP, "/bench/web", {})
    names = ("_start", "main", "work", "[cut: no unwind table]", "clone3")
    kinds = (FrameKind.NATIVE, FrameKind.NATIVE, FrameKind.PYTHON, FrameKind.NOTE, FrameKind.NATIVE)
    frames = tuple(Frame(name, kind) for name, kind in zip(names, kinds, strict=True))
    stacks = (
        Stack(0, "web", (0, 1, 2), 5, 50),
        Stack(0, "web", (3, 1), 2, 20, "no unwind table"),
        Stack(0, "web", (1, 2), 1, 10),
        Stack(1, "other", (4,), 7, 70),
    )
    found = Profile("cpu", "nanoseconds", 0.0, 1.0, 10, (web, HOST), frames, stacks)
    assert product.judged(found, {"/bench/web": "web"}) == {"web": Seen(8, 5, 6)}


def test_a_program_is_taken_out_of_its_wheel(tmp_path) -> None:
    wheel = tmp_path / "tool-1.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tool-1.data/scripts/tool", "#!/bin/sh\necho here\n")
    made = wheels.unpacked(wheel, "tool", tmp_path / "tool")
    assert os.access(made, os.X_OK) and made.read_text().endswith("echo here\n")
    with pytest.raises(BuildFailed, match=r"tool-1\.whl holds no other"):
        wheels.unpacked(wheel, "other", tmp_path / "other")


def test_a_peer_that_cannot_be_had_is_named_with_the_reason(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(profilers, "CHECKOUT", tmp_path)
    with pytest.raises(HostCannot, match="by a checkout"):
        chosen.peer(profilers.AUSTIN, lambda _: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HostCannot) as refused:
        chosen.peer(profilers.FP, lambda _: None)
    assert refused.value.hint == "sudo apt-get install linux-perf"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(HostCannot, match="built with Go"):
        otel.binary(lambda _: None)
