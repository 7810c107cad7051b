"""Each capability that profiles take, dropped by itself: what is lost is what is said at the start.

`cotenant profile` runs as nobody with just these, beside programs of another user: one that is
installed, one whose binary was deleted, one whose binary only its user may read.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.conftest import Cgroup, within
from tests.kernel.profiling import have_run
from tests.kernel.test_capabilities import (
    LEAST,
    NOBODY,
    ROOT,
    SOMEONE,
    held_by_the_unit,
    with_only,
)

from cotenant.kernel.capabilities import NOTHING, PROFILING

VICTIM = Path(__file__).with_name("profile_victim.py")
PYTHON = Path("/usr/bin/python3").resolve()
NEEDED = frozenset(name.removeprefix("CAP_") for name, _ in PROFILING.values())
COSTS = {name.removeprefix("CAP_"): costs for name, costs in PROFILING.values()}
PROGRAMS = ("installed", "deleted", "private")
STARTED_S = 0.3
"""CPU time by which each does what it is there for."""
FUNCTIONS = {"released", "reading", "spinning"}

UNWOUND = frozenset(f"{name}: unwound" for name in PROGRAMS)
NAMED = frozenset(f"{name}: Python" for name in PROGRAMS)
KERNEL = frozenset(f"{name}: kernel" for name in PROGRAMS)
EVERYTHING = UNWOUND | NAMED | KERNEL
LOST = {
    "SYS_PTRACE": UNWOUND | NAMED,
    "DAC_READ_SEARCH": NAMED | {"deleted: unwound", "private: unwound"},
    "CHECKPOINT_RESTORE": {"deleted: unwound", "deleted: Python"},
    "SYSLOG": KERNEL,
}
"""What is no longer there without each of them; without the others there is no profile at all."""


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """A directory that everyone may enter, which pytest's own are not."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def tenant(cgroup: Callable[[str], Cgroup], directory: Path) -> Iterator[str]:
    """Path of a tenant that runs the programs."""
    group = cgroup("/ct-profiled")
    user = ["setpriv", "--reuid", str(SOMEONE), "--regid", str(SOMEONE), "--clear-groups"]
    binaries = {name: directory / name for name in PROGRAMS}
    script = directory / VICTIM.name
    shutil.copy(VICTIM, script)
    started = {}
    for name, binary in binaries.items():
        shutil.copy(PYTHON, binary)
        os.chown(binary, SOMEONE, SOMEONE)
        binary.chmod(0o700 if name == "private" else 0o755)
        started[name] = group.spawn(*user, str(binary), "-S", str(script))
    for name, process in started.items():
        comm = Path(f"/proc/{process.pid}/comm")
        assert within(30, lambda comm=comm, name=name: comm.read_text().strip() == name)  # type: ignore[misc]
    # By then all have left what they import behind.
    assert within(60, have_run(STARTED_S, *[process.pid for process in started.values()]))
    binaries["deleted"].unlink()
    yield group.path
    for name in ("installed", "private"):
        binaries[name].unlink()


@pytest.fixture(scope="module")
def warm(directory: Path) -> Iterator[None]:
    """Unwind tables of what runs here, made once: that is not what is tried."""
    cache = directory / "cache"
    cache.mkdir()
    os.chown(cache, int(NOBODY), int(NOBODY))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        with_only(NEEDED, "-m", "cotenant", "profile", "--duration", "1s", "--json")
        yield


def sampled(
    tenant: str, capabilities: frozenset[str], user: str = NOBODY
) -> subprocess.CompletedProcess[str]:
    """A run of the verb with exactly these capabilities."""
    words = ("profile", "--tenant", tenant, "--duration", "3s", "--json")
    return with_only(capabilities, "-m", "cotenant", *words, user=user)


def there(done: subprocess.CompletedProcess[str]) -> frozenset[str]:
    """What the profile has of each program: all of it or none, nothing in between."""
    assert done.returncode == 0, done.stderr
    profile = json.loads(done.stdout)
    frames = profile["frames"]
    samples: dict[str, int] = {}
    has: dict[str, int] = {}
    for stack in profile["stacks"]:
        who, count = stack["process"], stack["count"]
        met = [frames[index] for index in stack["frames"]]
        kernel = [frame["name"] for frame in met if frame["kind"] == "kernel"]
        facts: dict[str, Any] = {
            "unwound": stack.get("end", "complete") == "complete",
            "Python": any(f["kind"] == "python" and f["name"] in FUNCTIONS for f in met),
        }
        if kernel:
            facts["kernel"] = not any(name.startswith(("0x", "[")) for name in kernel)
        for fact, holds in facts.items():
            key = f"{who}: {fact}"
            samples[key] = samples.get(key, 0) + count
            has[key] = has.get(key, 0) + count * bool(holds)
    assert samples.keys() == EVERYTHING, samples
    shares = {key: has[key] / samples[key] for key in samples}
    assert all(share < 0.05 or share > 0.95 for share in shares.values()), (shares, samples)
    return frozenset(key for key, share in shares.items() if share > 0.95)


def told(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What was said to be missing, before anything was sampled."""
    return [line for line in done.stderr.splitlines() if line.startswith("cotenant: without CAP_")]


@pytest.mark.claim
def test_with_exactly_these_another_users_python_is_complete(tenant, warm):
    done = sampled(tenant, NEEDED)
    assert there(done) == EVERYTHING
    assert told(done) == []


@pytest.mark.parametrize("dropped", sorted(LOST))
def test_without_each_of_them_just_that_is_lost_which_is_said(tenant, warm, dropped):
    done = sampled(tenant, NEEDED - {dropped})
    assert there(done) == EVERYTHING - LOST[dropped]
    assert told(done) == [f"cotenant: without CAP_{dropped} {COSTS[dropped]}"]


@pytest.mark.parametrize("dropped", sorted(NEEDED - LOST.keys()))
def test_without_one_of_these_there_is_no_profile(tenant, warm, dropped):
    done = sampled(tenant, NEEDED - {dropped})
    assert done.returncode == 3 and not done.stdout
    assert COSTS[dropped] == NOTHING
    assert told(done) == [f"cotenant: without CAP_{dropped} {NOTHING}"]
    assert "The kernel does not let this process use eBPF" in done.stderr


def test_sys_admin_stands_for_three_of_them(tenant, warm):
    named = {"BPF", "PERFMON", "CHECKPOINT_RESTORE"}
    done = sampled(tenant, NEEDED - named | {"SYS_ADMIN"})
    assert there(done) == EVERYTHING
    assert told(done) == []


def test_as_the_unit_runs_it_the_profile_is_complete(tenant, warm):
    """Without the one that is for old kernels: root of this machine need not have it."""
    done = sampled(tenant, held_by_the_unit() - {"SYS_RESOURCE"}, ROOT)
    assert there(done) == EVERYTHING
    assert told(done) == []


def test_the_unit_holds_what_profiles_take_and_nothing_that_nobody_asks_for():
    assert held_by_the_unit() == LEAST | NEEDED | {"SYS_RESOURCE"}


def test_check_tells_the_same():
    done = with_only(NEEDED - {"SYSLOG", "CHECKPOINT_RESTORE"}, "-m", "cotenant", "check", "--json")
    found = {each["what"]: each for each in json.loads(done.stdout)["findings"]}
    assert found["profiling"]["state"] == "degraded"
    assert found["profiling"]["found"] == "without CAP_SYSLOG, CAP_CHECKPOINT_RESTORE"
    for name in ("SYSLOG", "CHECKPOINT_RESTORE"):
        assert f"CAP_{name}: {COSTS[name]}" in found["profiling"]["costs"]
    assert found["profile programs"]["state"] == "ok"


def test_check_tells_that_nothing_can_be_profiled():
    done = with_only(frozenset(), "-m", "cotenant", "check", "--json")
    found = {each["what"]: each for each in json.loads(done.stdout)["findings"]}
    assert found["profiling"]["state"] == "missing"
    assert found["profiling"]["found"] == "without CAP_PERFMON, CAP_BPF"
    assert found["profile programs"]["found"] == "refused likewise"
    assert found["profile programs"]["costs"] == NOTHING
