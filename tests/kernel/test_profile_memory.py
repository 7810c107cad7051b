"""Who allocates and who faults: victims with known shares of the bytes, and of the pages."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tests.kernel.conftest import within
from tests.kernel.metering import tenant
from tests.kernel.profiling import have_run, passed
from tests.kernel.pythons import command
from tests.kernel.test_profile_processes import compiled

from cotenant.agent.profiler import Profiler, Wanted
from cotenant.errors import UsageError
from cotenant.kernel import cgroupfs
from cotenant.model import COMPLETE, Profile, ProfileType
from cotenant.profile import programs

pytestmark = pytest.mark.kernel

POINTS = 0.03
ENOUGH = 5000
"""Samples, with gaps that vary by less than their mean: chance moves shares by half a point."""
STARTED_S = 0.3
"""CPU time by which a Python does what it was told to."""
SHARES = {"a": 0.6, "b": 0.3, "c": 0.1}
BLOCKS = r"""
#include <stdlib.h>
#include <unistd.h>
static void *volatile kept;
#define REAL __attribute__((noinline)) void
static void end(void *block) { kept = block; free(block); }

REAL a(void) { end(malloc(3000)); end(calloc(10, 300)); }
REAL b(void) { end(realloc(NULL, 2000)); end(realloc(malloc(400), 600)); }
REAL c(void)
{
	void *block;
	if (!posix_memalign(&block, 64, 600))
		end(block);
	end(aligned_alloc(64, 400));
}
int main(void)
{
	for (;;) {
		a();
		b();
		c();
		usleep(50);
	}
}
"""
PAGES = r"""
#include <sys/mman.h>
#include <unistd.h>
#define REAL __attribute__((noinline)) void
static void touch(volatile char *memory, int pages)
{
	for (int i = 0; i < pages; i++)
		memory[i * 4096L] = 1;
}
REAL a(char *memory) { touch(memory, 60); __asm__(""); }
REAL b(char *memory) { touch(memory + 60 * 4096, 30); __asm__(""); }
REAL c(char *memory) { touch(memory + 90 * 4096, 10); __asm__(""); }
int main(void)
{
	for (;;) {
		char *memory = mmap(0, 100 * 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		madvise(memory, 100 * 4096, MADV_NOHUGEPAGE);
		a(memory);
		b(memory);
		c(memory);
		munmap(memory, 100 * 4096);
		usleep(100);
	}
}
"""
# Blocks of up to 512 bytes come from Python's own allocator, larger ones from malloc.
OBJECTS = """
import time
text = "x"
def a():
    for _ in range(6):
        made = text * 251                # 300 bytes
        made = text * 251
    made = bytes(3600 - 33)
def b():
    for _ in range(12):
        made = bytes(300 - 33)
def c():
    made = text * (1200 - 49)
while True:
    a(); b(); c()
    time.sleep(0.0001)
"""


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Thousands of samples in seconds, so that chance moves shares by less than a point."""
    monkeypatch.setattr(programs, "ALLOC_EVERY", 8 << 10)
    monkeypatch.setattr(programs, "FAULTS_EVERY", 4)


def shares(profile: Profile) -> dict[str, float]:
    """Of what a(), b() and c() have together, how much each has."""
    found: Counter[str] = Counter()
    for stack in profile.stacks:
        names = {profile.frames[i].name.rpartition(".")[2] for i in stack.frames}
        for name in SHARES.keys() & names:
            found[name] += stack.value
    return {name: found[name] / (found.total() or 1) for name in SHARES}


def close(found: dict[str, float]) -> bool:
    return all(abs(found[name] - share) <= POINTS for name, share in SHARES.items())


@pytest.mark.claim
def test_bytes_are_counted_once_whatever_allocates_them(hierarchies, cgroup, profiled, tmp_path):
    """b() has 30 % only where realloc(NULL) is not counted as malloc, too."""
    group = cgroup("blocks")
    group.spawn(compiled(tmp_path, "blocks", BLOCKS))
    wanted = (tenant(hierarchies, group.path),)
    profile = profiled(ENOUGH, type=ProfileType.ALLOC, wanted=wanted)
    assert profile.unit == "bytes"
    assert sum(stack.count for stack in profile.stacks) > 1000
    assert close(shares(profile)), shares(profile)
    assert profile.ends[COMPLETE] > 0.9 * sum(profile.ends.values())


@pytest.mark.parametrize("release", ["3.10.13", "3.11.7", "3.12.1", "3.13.0"])
def test_bytes_of_python_objects_small_and_large(hierarchies, cgroup, profiled, release):
    group = cgroup("objects")
    process = group.spawn(*command(release), "-c", OBJECTS)
    assert within(60, have_run(STARTED_S, process.pid))
    wanted = (tenant(hierarchies, group.path),)
    profile = profiled(ENOUGH, type=ProfileType.ALLOC, wanted=wanted)
    assert close(shares(profile)), shares(profile)
    assert not any("not seen" in note for note in profile.notes)


def test_a_python_whose_allocator_is_built_in_is_said_to_be(hierarchies, cgroup, profiled):
    group = cgroup("builtin")
    process = group.spawn(*command("debian"), "-c", OBJECTS)
    wanted = (tenant(hierarchies, group.path),)
    profile = profiled(have_run(0.5, process.pid), type=ProfileType.ALLOC, wanted=wanted)
    assert any("up to 512 bytes are not seen" in note for note in profile.notes)


def test_page_faults_have_their_shares(hierarchies, cgroup, profiled, tmp_path):
    group = cgroup("faults")
    group.spawn(compiled(tmp_path, "pages", PAGES))
    wanted = (tenant(hierarchies, group.path),)
    profile = profiled(ENOUGH, type=ProfileType.FAULTS, wanted=wanted)
    assert sum(stack.count for stack in profile.stacks) > 100
    assert close(shares(profile)), shares(profile)


def test_a_process_that_comes_later_is_watched_and_one_that_goes_is_left(
    hierarchies, cgroup, tmp_path
):
    group = cgroup("later")
    program = compiled(tmp_path, "blocks", BLOCKS)
    wanted = (tenant(hierarchies, group.path),)
    asked = Wanted((ProfileType.ALLOC,), 99, wanted)
    with Profiler(hierarchies, asked, lambda: wanted, tmp_path / "cache") as profiler:
        profiler.start()
        profiler.step()
        assert profiler.places == 0
        process = group.spawn(program)
        end = passed(60)
        while not profiler.places and not end():
            profiler.step()
        assert profiler.places >= 5
        process.kill()
        process.wait()
        while profiler.places and not end():
            profiler.step()
        assert profiler.places == 0


def test_nobody_watches_the_allocations_of_a_whole_host():
    with pytest.raises(UsageError, match="name the tenants"):
        Profiler(cgroupfs.find(Path("/")), Wanted((ProfileType.ALLOC,)), lambda: [])
