"""Whose code is where, of real processes: short ones, storms of them, and what was there before."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.conftest import docker
from tests.kernel.perfing import build_id_of

from cotenant.kernel import mapevents
from cotenant.kernel.mapevents import MapEvents
from cotenant.kernel.maprecords import Exec, Exited, Forked, Lost, Mapped, Record
from cotenant.kernel.perf import clock_ns, online_cpus
from cotenant.profile.processes.known import Processes
from cotenant.profile.processes.mappings import FILE, VDSO
from cotenant.profile.processes.maps import Proc

SHORT = r"""
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

int main(int count, char **words)
{
	if (count > 2) {
		execv(words[0], words + 2); /* drops its first word */
		return 1;
	}
	return !dlopen(words[1], RTLD_NOW);
}
"""
LIBRARY = "int answer(void) { return 42; }"
STORM = r"""
#include <sys/wait.h>
#include <stdlib.h>
#include <unistd.h>

int main(int count, char **words)
{
	for (int left = atoi(words[1]); left > 0; left--) {
		pid_t child = count > 2 ? vfork() : fork();
		if (!child) {
			if (count > 2)
				execv(words[2], words + 2);
			_exit(0);
		}
		waitpid(child, 0, 0);
	}
	return 0;
}
"""
STORMS = 5000
MOST_BYTES = 64 << 20


def compiled(folder: Path, name: str, source: str, *flags: str) -> str:
    """A program or library of C, with a build id."""
    (folder / f"{name}.c").write_text(source)
    path = str(folder / name)
    command = ["clang", "-O1", "-Wl,--build-id=sha1", *flags, str(folder / f"{name}.c"), "-o", path]
    subprocess.run(command, check=True)
    return path


@pytest.fixture
def events() -> Iterator[MapEvents]:
    opened = MapEvents(online_cpus())
    yield opened
    opened.close()


def of(told: list[Record], tgid: int) -> list[Record]:
    return [each for each in told if not isinstance(each, Lost) and each.tgid == tgid]


@pytest.mark.claim
def test_who_execs_opens_a_library_and_ends_at_once_is_told_wholly(events, tmp_path):
    program = compiled(tmp_path, "short lived\n(deleted)", SHORT, "-ldl")
    library = compiled(tmp_path, "lib é.so", LIBRARY, "-shared", "-fPIC")
    processes = Processes()
    processes.seed()
    begun_ns = clock_ns()
    with subprocess.Popen([program, "again", program, library]) as child:
        assert child.wait() == 0
    told = of(events.drain(), child.pid)
    (ended,) = [each for each in told if isinstance(each, Exited)]
    kinds = [type(each) for each in told]
    assert kinds[0] is Forked and kinds[-1] is Exited and kinds.count(Exec) == 2
    times = [each.time_ns for each in told]
    assert times == sorted(times) and begun_ns < times[0]

    last = max(index for index, kind in enumerate(kinds) if kind is Exec)
    mapped = {each.path: each for each in told[last:] if isinstance(each, Mapped)}
    for path in (program, library, str(Path("/lib64/ld-linux-x86-64.so.2").resolve())):
        assert mapped[path].build_id == build_id_of(path)
    assert "[vdso]" in mapped

    processes.apply(told)
    (mappings,) = [m for tgid, _, m in processes.changed() if tgid == child.pid]
    assert {each.path for each in mappings} == set(mapped)
    assert processes.comm(child.pid) == os.path.basename(program)[:15]
    processes.bury(ended.time_ns + 1)
    assert list(processes.gone()) == [child.pid]


def test_what_is_told_of_a_process_is_what_proc_shows_of_it(events):
    code = "import ssl, sqlite3, ctypes, mmap, sys; m = mmap.mmap(-1, 8192, prot=7); {}".format(
        "print(flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout and child.stdout.readline()
        told = of(events.drain(), child.pid)
        seen = Proc().look(child.pid)
        assert seen and seen.mappings
        child.kill()
    processes = Processes()
    processes.apply(told)
    ((_, started, mappings),) = processes.changed()
    assert started == seen.started
    assert [each[:4] for each in mappings] == [each[:4] for each in seen.mappings]
    assert [each.kind for each in mappings] == [each.kind for each in seen.mappings]
    for each in mappings:
        if each.kind == FILE:
            assert each.build_id == build_id_of(each.path)


@pytest.mark.docker
def test_a_container_s_short_process_is_told_by_the_path_it_sees(events, docker_image):
    name = "ct-perf-short"
    docker("rm", "-f", name, check=False)
    docker("run", "--rm", "--name", name, "--network", "none", docker_image, "true")
    told = events.drain()
    mapped = [m for m in told if isinstance(m, Mapped) and m.path == "/bin/busybox"]
    comms = {each.tgid: each.comm for each in told if isinstance(each, Exec)}
    assert "true" in {comms.get(each.tgid) for each in mapped}
    assert not events.lost


@pytest.mark.parametrize("how", ["fork", "exec"])
def test_of_a_storm_nothing_is_lost_silently(events, tmp_path, how):
    storm = compiled(tmp_path, "storm", STORM)
    processes = Processes()
    processes.seed()
    begun: set[tuple[int, int]] = set()
    ended: set[int] = set()
    told: list[Record] = []
    execs = 0
    words = [storm, str(STORMS), *(["/bin/true"] if how == "exec" else [])]
    tracemalloc.start()
    with subprocess.Popen(words) as child:
        over = False
        while not over or told:
            over = child.poll() is not None  # then what is drained next is all there is of it
            told = events.drain()
            processes.apply(told)
            list(processes.gone())
            list(processes.changed())
            processes.bury(clock_ns() - 100_000_000)
            begun |= {(each.tgid, each.time_ns) for each in told
                      if isinstance(each, Forked) and each.parent_tgid == child.pid}  # fmt: skip
            ended |= {each.tgid for each in told if isinstance(each, Exited)}
            execs += sum(isinstance(each, Exec) and each.comm == "true" for each in told)
            time.sleep(0.02)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert child.returncode == 0
    assert events.lost == processes.lost
    assert len(begun) + events.lost >= STORMS
    if events.lost:  # this machine was too busy to follow
        assert processes.doubtful
        processes.seed()
    else:
        assert len(begun) == STORMS and {tgid for tgid, _ in begun} <= ended
        assert execs >= (STORMS if how == "exec" else 0)
    assert processes.unmapped == 0
    assert peak < MOST_BYTES
    processes.bury(clock_ns())
    assert not any(processes.comm(tgid) in ("storm", "true") for tgid, _ in begun)


def test_what_finds_no_room_is_counted(tmp_path):
    storm = compiled(tmp_path, "storm", STORM)
    events = MapEvents(online_cpus(), pages=1)
    processes = Processes()
    try:
        subprocess.run([storm, "300"], check=True)
        processes.apply(events.drain())
        assert (processes.lost, processes.doubtful) == (events.lost, True)
        assert events.lost > 0
    finally:
        events.close()
    processes.seed()
    assert not processes.doubtful
    assert os.getpid() in {tgid for tgid, _, _ in processes.changed()}


def test_before_linux_6_0_the_ring_itself_tells_of_losses(tmp_path, monkeypatch):
    monkeypatch.setattr(mapevents, "_FORMAT_LOST", 0)
    storm = compiled(tmp_path, "storm", STORM)
    events = MapEvents(online_cpus(), pages=1)
    try:
        subprocess.run([storm, "300"], check=True)
        drained = events.drain()
        for cpu in online_cpus():  # now there is room for that, once there is more to tell
            subprocess.run(["taskset", "-c", str(cpu), "true"], check=True)
        drained = [*drained, *events.drain()]
        told = [each.records for each in drained if isinstance(each, Lost)]
        assert sum(told) == events.lost > 0
    finally:
        events.close()


def test_before_linux_5_12_devices_and_inodes_are_told(tmp_path, monkeypatch):
    ways = mapevents._ways
    monkeypatch.setattr(mapevents, "_ways", lambda wake_bytes: list(ways(wake_bytes))[-1:])
    library = compiled(tmp_path, "x.so", LIBRARY, "-shared", "-fPIC")
    program = compiled(tmp_path, "short", SHORT, "-ldl")
    events = MapEvents(online_cpus())
    try:
        assert not events.build_ids
        subprocess.run([program, library], check=True)
        (told,) = [m for m in events.drain() if isinstance(m, Mapped) and m.path == library]
    finally:
        events.close()
    assert (told.build_id, told.inode) == ("", os.stat(library).st_ino)
    assert told.device


def test_records_that_lie_round_a_ring_s_end_are_read_whole(tmp_path):
    storm = compiled(tmp_path, "storm", STORM)
    events = MapEvents(online_cpus(), pages=4)  # what others do meanwhile finds room, too
    try:
        names: set[str] = set()
        for _ in range(400):  # some 480 KiB go through rings of 16
            subprocess.run([storm, "1", storm, "0"], check=True)
            names |= {each.path for each in events.drain() if isinstance(each, Mapped)}
        assert storm in names
        assert not events.lost
        assert all(name.startswith(("/", "[")) for name in names)
    finally:
        events.close()


def test_who_was_there_before_is_seen_and_followed_from_then_on(events, tmp_path):
    library = compiled(tmp_path, "late.so", LIBRARY, "-shared", "-fPIC")
    code = "import ctypes, sys; print(flush=True); sys.stdin.readline(); {}".format(
        f"ctypes.CDLL({library!r}); print(flush=True); sys.stdin.readline()"
    )
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin and child.stdout and child.stdout.readline()
        processes = Processes()
        processes.seed()
        before = {tgid: (started, m) for tgid, started, m in processes.changed()}
        started, mappings = before[child.pid]
        assert started == Proc().started(child.pid)
        assert library not in {each.path for each in mappings}
        assert VDSO in {each.kind for each in mappings}
        child.stdin.write(b"\n")
        child.stdin.flush()
        assert child.stdout.readline()
        processes.apply(events.drain())
        after = {tgid: m for tgid, _, m in processes.changed()}
        (late,) = [each for each in after[child.pid] if each.path == library]
        assert late.build_id == build_id_of(library)
        named = {each.path: each.build_id for each in after[child.pid]}
        assert named[str(Path(sys.executable).resolve())]  # told before the look, taken after it


def test_memory_stays_bounded_whatever_is_mapped(events):
    code = (
        "import mmap, sys\n"
        "held = [mmap.mmap(-1, 4096, prot=7 if n % 2 else 3) for n in range(20000)]\n"
        "print(flush=True); sys.stdin.readline()"
    )
    words = [sys.executable, "-c", code]
    processes = Processes(most_in_all=5000)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout and child.stdout.readline()
        processes.seed()
        processes.apply(events.drain())
        assert processes.held <= 5000
        assert processes.unmapped > 0
