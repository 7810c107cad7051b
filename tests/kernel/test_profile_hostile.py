"""Tenants that lie, storm and rewrite what is looked at: nothing breaks, and all stays bounded."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.kernel.conftest import within
from tests.kernel.metering import tenant
from tests.kernel.perfing import build_id_of
from tests.kernel.profiling import MOST_S, favoured, have_run
from tests.kernel.pythons import command
from tests.kernel.test_profile_processes import compiled
from tests.kernel.test_profile_short import SHORT, stacks

from cotenant.agent.profiler import Profiler, Wanted
from cotenant.kernel import cgroupfs
from cotenant.model import Profile
from cotenant.profile import binaries
from cotenant.profile.elf import Elf
from cotenant.profile.unwind import loaded as unwind_tables
from cotenant.profile.unwind import making

pytestmark = pytest.mark.kernel

LIBRARY = "void victim(void (*back)(void)) { for (;;) back(); }"
HOST = r"""
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>
static volatile unsigned long sum;
__attribute__((noinline)) void burn(void) { for (int i = 0; i < 100000; i++) sum += i; }
int main(int count, char **words)
{
	void (*run)(void (*)(void));
	void *library = dlopen(words[1], RTLD_NOW);
	if (!library) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	*(void **)&run = dlsym(library, "victim");
	puts("ready");
	fflush(stdout);
	run(burn);
	return 0;
}
"""
# So many processes, so many ns after each other if that is as fast as they come.
STORM = r"""
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
int main(int count, char **words)
{
	struct timespec due;
	int left = count > 1 ? atoi(words[1]) : 0, status = 0;
	clock_gettime(CLOCK_MONOTONIC, &due);
	while (left-- && !status) {
		if (!fork()) {
			execl(words[0], words[0], (char *)0);
			_exit(1);
		}
		wait(&status);
		due.tv_nsec += atol(words[2]);
		due.tv_sec += due.tv_nsec / 1000000000;
		due.tv_nsec %= 1000000000;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, 0);
	}
	return !!status;
}
"""
SCRIBBLER = r"""
import os, random, sys, threading, types
def spin(until=[0]):
    while True:
        sum(range(500))
def one(): spin()
def two(): one()
for _ in range(2):
    threading.Thread(target=two, daemon=True).start()
print("ready", flush=True)
memory = os.open("/proc/self/mem", os.O_RDWR)
codes = [id(f.__code__) for f in (spin, one, two)]
names = [id(f.__code__.co_name) for f in (spin, one, two)]
files = [id(f.__code__.co_filename) for f in (spin, one, two)]
kept = {}
while True:
    # Lengths, first lines, names and tables of the code that is looked at, one word at a time.
    at = random.choice(codes) + random.choice((16, 40, 56, 64, 68, 72, 112, 120, 128, 136, 144))
    if random.random() < 0.5:
        at = random.choice(names + files) + random.choice((16, 32, 40, 48))
    kept.setdefault(at, os.pread(memory, 8, at))
    os.pwrite(memory, os.urandom(8), at)
    sum(range(20))
    os.pwrite(memory, kept[at], at)
"""


STORMS = 600
RUN_S = 0.5
"""CPU time of each victim: some 250 samples, of which a busy host may miss most."""


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has said that it is ready."""
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def sampled(cache: Path, seconds: float, *processes: subprocess.Popen[str]) -> Profile:
    """A profile of the host until each of them has run for so long."""
    until = have_run(seconds, *[process.pid for process in processes])
    with (
        favoured(),
        Profiler(cgroupfs.find(Path("/")), Wanted(hz=499), lambda: [], cache) as profiler,
    ):
        while not profiler.prepare():
            pass
        profiler.start()
        end = time.monotonic() + MOST_S
        while not until():
            assert time.monotonic() < end, f"that took more than {MOST_S:.0f} s"
            time.sleep(0.05)
            profiler.step()
        profiler.stop()
        return profiler.take()[0]


def names_of(profile: Profile, process: str) -> set[str]:
    return {name for (_, names), _ in stacks([profile], process).items() for name in names}


def patched(path: Path, section: str, data: bytes) -> None:
    """Writes over the begin of a section."""
    elf = Elf(path.read_bytes())
    place = elf.sections[section]
    with path.open("r+b") as file:
        file.seek(place.offset)
        file.write(data[: place.size])


@pytest.mark.slow
def test_five_thousand_processes_a_minute(hierarchies, cgroup, tmp_path, cache):
    """All of them short: descriptors, processes, files and memory stay where they were."""
    group = cgroup("storm")
    wanted = (tenant(hierarchies, group.path),)  # what others run may take memory for names
    program = compiled(tmp_path, "storm", STORM)
    asked = Wanted(hz=199, tenants=wanted)
    with Profiler(hierarchies, asked, lambda: wanted, cache) as profiler:

        def fds() -> int:
            """But one for each of some binaries: others of this host run what they want."""
            return len(os.listdir("/proc/self/fd")) - len(profiler._binaries._open)

        while not profiler.prepare():
            pass
        profiler.start()
        profiler.take()
        before = fds()
        tracemalloc.start()
        held = tracemalloc.get_traced_memory()[0]
        began = time.monotonic()
        storm = group.spawn(program, str(STORMS), str(60_000_000_000 // 5000))
        while storm.poll() is None:
            assert time.monotonic() < began + MOST_S, f"that took more than {MOST_S:.0f} s"
            time.sleep(0.1)
            profiler.step()
        assert storm.returncode == 0
        took_s = time.monotonic() - began
        profiler.stop()
        profile = profiler.take()[0]
        for _ in range(3):
            profiler.step()
        held = tracemalloc.get_traced_memory()[0] - held
        tracemalloc.stop()
        known, there = len(profiler._processes), len(os.listdir("/proc"))
        seen = f"{took_s=} {held=} {before=} {fds()=} {known=} {there=} {profile.lost=}"
        assert held < 32 << 20, seen
        assert fds() <= before + 8, seen
        assert len(profiler._binaries._open) <= binaries.MOST_OPEN, seen
        files = [file.path for file in profiler._binaries.by_number.values()]
        assert files.count(program) == 1, files
        assert known < 2 * there, seen
        assert set(profiler._follower.living) <= set(profiler._processes._all), seen
        assert profile.lost.unmapped == 0, seen


@pytest.mark.claim
@pytest.mark.parametrize("release", ["debian", "3.12.1"])
def test_a_python_that_rewrites_its_code_objects_while_sampled(tmp_path, release, cache):
    with running(*command(release), "-c", SCRIBBLER) as one:
        profile = sampled(cache, 3, one)
    comm = Path(command(release)[0]).name[:15]
    met = stacks([profile], comm)
    assert met.total() > 50
    assert any("spin" in name for name in names_of(profile, comm))
    assert all(len(frame.name) < 5000 for frame in profile.frames)


def test_a_stack_of_random_bytes(tmp_path, cache):
    """Threads whose stack pointers and frames point anywhere."""
    source = r"""
    #include <stdio.h>
    #include <stdlib.h>
    #include <unistd.h>
    int main(void)
    {
        puts("ready");
        fflush(stdout);
        static unsigned long area[1 << 16];
        unsigned long seed = 1;
        for (;;) {
            for (int i = 0; i < 1 << 16; i++) {
                seed = seed * 6364136223846793005UL + 1442695040888963407UL;
                area[i] = i % 3 ? (unsigned long)&area[seed >> 50] : seed;
            }
            unsigned long old;
            __asm__ volatile("mov %%rsp, %0; lea 4096(%1), %%rsp; push %%rbp; mov %2, %%rbp;"
                "mov $200000, %%ecx; 1: dec %%ecx; jnz 1b; pop %%rbp; mov %0, %%rsp"
                : "=&r"(old) : "r"(area), "r"(area[seed >> 50]) : "rcx", "memory");
        }
    }
    """
    program = compiled(tmp_path, "scrambled", source)
    with running(program) as one:
        profile = sampled(cache, RUN_S, one)
    assert stacks([profile], "scrambled").total() > 50


@pytest.mark.claim
def test_a_forged_build_id_does_not_take_anothers_names_or_table(tmp_path, cache):
    """Both have one build id, one path in its own mount namespace, and code of their own."""
    honest, forged = tmp_path / "honest", tmp_path / "forged"
    honest.mkdir()
    forged.mkdir()
    host = compiled(tmp_path, "caller", HOST, "-ldl", "-rdynamic")
    compiled(honest, "lib.so", LIBRARY, "-shared", "-fPIC")
    other = LIBRARY.replace(
        "{ for", "{ extern int puts(const char *); void *volatile x = puts; for"
    )
    compiled(forged, "lib.so", other + "\nvoid zzz_forged(void) {}", "-shared", "-fPIC")
    build_id = bytes.fromhex(build_id_of(str(honest / "lib.so")))
    patched(
        forged / "lib.so",
        ".note.gnu.build-id",
        struct.pack("<III4s", 4, 20, 3, b"GNU\0") + build_id,
    )
    raw = bytearray((forged / "lib.so").read_bytes())
    for section in (".dynstr", ".strtab"):
        place = Elf(bytes(raw)).sections[section]
        at = raw.find(b"zzz_forged", place.offset, place.offset + place.size)
        if at >= 0:
            raw[at : at + 10] = b"ZZZ_FORGED"
    (forged / "lib.so").write_bytes(raw)
    patched(forged / "lib.so", ".eh_frame", os.urandom(4096))
    assert build_id_of(str(forged / "lib.so")) == build_id.hex()
    target = tmp_path / "lib.so"
    shutil.copy(honest / "lib.so", target)
    liar = shutil.copy(host, tmp_path / "liar")
    bind = f"mount --bind {forged / 'lib.so'} {target} && exec {liar} {target}"
    with (
        running("unshare", "--mount", "sh", "-c", bind) as first,  # so that it is met first
        running(host, str(target)) as second,
    ):
        profile = sampled(cache, RUN_S, first, second)
    for (end, names), _ in stacks([profile], "caller").items():
        if "burn" in names:
            assert end == "complete"
            assert "victim" in names
    assert stacks([profile], "caller").total() > 50
    assert stacks([profile], "liar").total() > 50
    ends = {end for (end, names), _ in stacks([profile], "liar").items() if "burn" in names}
    assert ends and ends != {"complete"}


def test_what_was_read_and_then_rewritten_makes_no_table(tmp_path):
    """Whoever writes into a file behind our back does not write others' tables."""
    library = Path(compiled(tmp_path, "lib.so", LIBRARY, "-shared", "-fPIC"))
    elf = Elf(library.read_bytes())
    made = making.Making(None)
    file = binaries.CodeFile(1, str(library), "", "identity")
    file.elf, file.unwound_by = elf, making.fingerprint(elf)
    assert made.of(file) is not None
    patched(library, ".eh_frame", os.urandom(64))
    file.elf = Elf(library.read_bytes())
    assert made.of(file) is None


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A program that maps what it is told to, and a library."""
    folder = tmp_path_factory.mktemp("made")
    library = compiled(folder, "lib.so", LIBRARY, "-shared", "-fPIC")
    return compiled(folder, "mapper", MAPPER), library


SECTIONS = st.sampled_from([".eh_frame", ".dynsym", ".gnu.hash", ".dynstr"])


@settings(
    max_examples=4, deadline=None, phases=[Phase.generate], suppress_health_check=[*HealthCheck]
)
@given(
    lies=st.lists(
        st.tuples(st.binary(min_size=16, max_size=4096), SECTIONS), min_size=8, max_size=8
    )
)
def test_any_bytes_in_libraries_that_are_really_mapped(tmp_path_factory, cache, made, lies):
    folder = tmp_path_factory.mktemp("fuzzed")
    host, honest = made
    with ExitStack() as opened:
        ones = []
        for number, (data, section) in enumerate(lies):
            library = Path(shutil.copy(honest, folder / f"{number}.so"))
            patched(library, section, data)
            ones.append(opened.enter_context(running(host, str(library))))
        profile = sampled(cache, 0.1, *ones)
    assert stacks([profile], "mapper").total() > 10


MAPPER = r"""
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
static volatile unsigned long sum;
int main(int count, char **words)
{
	int file = open(words[1], O_RDONLY);
	mmap(0, 1 << 16, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
	puts("ready");
	fflush(stdout);
	for (;;)
		sum++;
}
"""


def test_corrupt_executables_that_are_mapped(tmp_path, cache):
    """Headers that lie about sizes, counts and places: refused, counted, in no time."""
    host = compiled(tmp_path, "mapper", MAPPER)
    honest = Path(host).read_bytes()
    lies = {
        "empty": b"",
        "short": honest[:80],
        "sections": honest[:40] + struct.pack("<Q", 1 << 62) + honest[48:],
        "counts": honest[:56] + b"\xff" * 6 + honest[62:],
        "machine": b"\x7fELF\x01\x02" + honest[6:],
        "many": many_sections(honest),
    }
    began = time.process_time()
    with ExitStack() as opened:
        ones = []
        for name, data in lies.items():
            (tmp_path / name).write_bytes(data.ljust(4096, b"\0"))
            ones.append(opened.enter_context(running(host, str(tmp_path / name))))
        profile = sampled(cache, 0.2, *ones)
    assert stacks([profile], "mapper").total() > 50
    assert time.process_time() - began < 30


def many_sections(honest: bytes) -> bytes:
    """An ELF of 16,000 sections, each of them a .symtab of the whole (sparse) file."""
    count, size = 16_000, 1 << 28
    names = b"\0.symtab\0"
    head = bytearray(honest[:64])
    at = 4096
    struct.pack_into("<Q", head, 40, at)
    struct.pack_into("<HHH", head, 58, 64, count, 1)
    table = bytes(64) + struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, 64, len(names), 0, 0, 1, 0)
    table += struct.pack("<IIQQQQIIQQ", 1, 2, 0, 0, 0, size, 1, 0, 8, 24) * (count - 2)
    return (bytes(head) + names).ljust(at, b"\0") + table + bytes(1 << 20)


@pytest.mark.claim
def test_more_binaries_than_there_is_room_for(tmp_path, monkeypatch, cache):
    """Tables of those that nobody maps give way, numbers are used again, the rest is counted."""
    monkeypatch.setattr(unwind_tables, "_CHUNKS", 60)
    monkeypatch.setattr(binaries, "IDLE_S", 0.5)
    monkeypatch.setattr(binaries, "MOST_IDLE", 8)
    programs = []
    for i in range(24):
        body = "".join(f"int f{i}_{n}(int x) {{ return x * {n} + {i}; }}\n" for n in range(400))
        programs.append(compiled(tmp_path, f"many{i}", f"{body}\n{SHORT}"))
    with Profiler(cgroupfs.find(Path("/")), Wanted(hz=199), lambda: [], cache) as profiler:
        profiler.prepare()
        profiler.start()
        numbers: set[int] = set()
        files, complete = profiler._binaries, 0
        for program in [*programs, *programs]:
            runs = threading.Thread(target=subprocess.run, args=([program, "x"],))
            runs.start()
            while runs.is_alive():
                time.sleep(0.02)
                profiler.step()
            numbers |= files.by_number.keys()
            profile = profiler.take()[0]
            met = stacks([profile], Path(program).name)
            for (end, names), count in met.items():
                complete += count if end == "complete" and "spin" in names else 0
                assert not any(name.startswith("many") and "+" not in name for name in names)
            time.sleep(0.05)
        # Others of this host come and go, too: a while after each has gone, its files have.
        assert within(30, lambda: len(idle_after_take(profiler)) <= 8 + 1, 0.6)  # and the vDSO
        assert len(files._by_identity) == len(files.by_number)
        assert profiler._tables.words <= 10 * 60 * 1024
        assert files.untabled > 0  # this host's own processes do not all fit
        assert complete >= 0
    assert len(numbers) >= len(files.by_number)


def idle_after_take(profiler: Profiler) -> list[binaries.CodeFile]:
    """Binaries that it keeps although nobody maps them."""
    profiler.take()
    mapped = profiler._follower.mapped()
    return [file for file in profiler._binaries.by_number.values() if file.number not in mapped]


def test_a_perf_map_without_end_and_one_that_leads_away(tmp_path, cache):
    """A map of 1 GB, then a link to the host's file, then a FIFO: sampling goes on."""
    source = r"""
    import ctypes, mmap, os, sys, time
    code = mmap.mmap(-1, 4096, prot=7)
    code.write(b"\x55\x48\x89\xe5\xb9\x00\x00\x10\x00\xff\xc9\x75\xfc\x5d\xc3")
    call = ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    print("ready", flush=True)
    while True:
        call()
    """
    lines = "\n".join(line[4:] for line in source.splitlines())
    with running(sys.executable, "-c", lines) as process:
        path = Path(f"/tmp/perf-{process.pid}.map")
        secret = tmp_path / "secret"
        secret.write_text("0 ffffffffffffffff the_secret\n")
        try:
            for kind in ("large", "link", "fifo"):
                path.unlink(missing_ok=True)
                if kind == "large":
                    with path.open("wb") as file:
                        file.truncate(1 << 30)
                elif kind == "link":
                    path.symlink_to(secret)
                else:
                    os.mkfifo(path)
                profile = sampled(cache, RUN_S, process)
                assert profile.stacks
                assert not any("the_secret" in frame.name for frame in profile.frames)
        finally:
            path.unlink(missing_ok=True)
