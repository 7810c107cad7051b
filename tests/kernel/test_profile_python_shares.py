"""Pythons of every version, with known shares of CPU time: frames, lines, ends of stacks."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.kernel.profiling import (
    ENOUGH,
    VICTIMS,
    Met,
    Profiled,
    Seen,
    Victim,
    as_they_are,
    have_run,
    victim,
)
from tests.kernel.pythons import NEWEST, RELEASES, command, newest_environment

from cotenant.model import FrameKind, Profile

pytestmark = pytest.mark.kernel

SCRIPT = VICTIMS / "shares.py"
HOT = next(n for n, line in enumerate(SCRIPT.read_text().splitlines(), 1) if "range(5000)" in line)
SHARED_S = 2.4
"""CPU time of those whose shares are compared: 2,400 samples, less what a busy host drops."""
SHOWN_S = 0.5
SHOWN = 300
"""Samples of those whose stacks are looked at, however many others a busy host drops."""


def start(stack: ExitStack, release: str, *modes: str) -> dict[str, Victim]:
    """Victims by the name that they give themselves; each is stopped, so that all start soon."""
    env = newest_environment() if release == NEWEST else {}
    names = {f"{mode}-{release}"[:15]: mode for mode in modes}
    told = {}
    for name, mode in names.items():
        told[name] = stack.enter_context(victim(*command(release), SCRIPT, name, mode, env=env))
        os.killpg(told[name].pid, signal.SIGSTOP)
    return told


def let_go(told: Mapping[str, Victim]) -> None:
    """All of them run."""
    for each in told.values():
        os.killpg(each.pid, signal.SIGCONT)


def shares_of(seen: Seen, told: Victim) -> dict[str, float]:
    """Parts by how it got there: all frames with name, file and line, as it tells them itself."""

    def came(chain: list[list[object]]) -> float:
        return seen.part(lambda met: met.python[1:] == chain)

    return {key: came(chain) for key, chain in told.chains.items()}


def check_known(profile: Profile, name: str, told: Victim, least: float) -> None:
    """Most stacks lead where it tells itself; the rest lie between two: the turn, how it calls."""
    seen = Seen(profile, name)

    def known(met: Met) -> bool:
        return met.python[1:] in told.chains.values()

    assert seen.part(known) >= least, f"{name}:\n{seen.worst(known)}"


def check_shares(profile: Profile, name: str, told: Victim) -> None:
    """Three ways, each whole to the line, and the loop's own line."""
    seen = Seen(profile, name)
    assert as_they_are(shares_of(seen, told)), f"{name}: {shares_of(seen, told)}"
    check_known(profile, name, told, 0.985)
    burnt = seen.part(lambda met: ["burn", str(SCRIPT), HOT] in met.python[:1])
    assert burnt >= 0.9, f"{name}: {burnt:.1%} in line {HOT}"


def check_whole(profile: Profile, name: str, least: int) -> None:
    """Stacks to the thread's start, with Python frames in all of them."""
    seen = Seen(profile, name)
    assert seen.count >= least, f"{name}: {seen.count} samples"
    assert seen.complete >= 0.99, f"{name}:\n{seen.worst(lambda met: met.end == 'complete')}"
    python = seen.part(lambda met: met.python)
    assert python >= 0.99, f"{name}: {seen.worst(lambda met: met.python)}"


@pytest.mark.claim
def test_debians_python_as_clear_as_it_tells_itself(profiled: Profiled) -> None:
    with ExitStack() as stack:
        told = start(stack, "debian", "main", "thread", "hashing")
        let_go(told)
        pids = [each.pid for each in told.values()]
        profile = profiled(have_run(SHARED_S, *pids), least=dict.fromkeys(told, ENOUGH))
    for name in ("main-debian", "thread-debian"):
        check_shares(profile, name, told[name])
    for name in told:
        check_whole(profile, name, ENOUGH)
    released = Seen(profile, "hashing-debian")
    inside = released.part(lambda met: "libcrypto" in met.frames[-1].module)
    assert inside >= 0.95  # where the GIL is released


@pytest.mark.any_kernel
def test_on_any_kernel_python_frames_stand_among_native_ones(profiled: Profiled) -> None:
    """Debian's, in long turns: what lies between took an emulated CPU 1.3 % of short ones."""
    env = {"ROUND_S": "0.2"}
    with victim("/usr/bin/python3", SCRIPT, "any-python", "main", env=env) as told:
        profile = profiled(have_run(1.0, told.pid), hz=199, least={"any-python": 100})
    check_whole(profile, "any-python", 100)
    check_known(profile, "any-python", told, 0.985)


def test_every_version_has_its_known_shares(profiled: Profiled) -> None:
    with ExitStack() as stack:
        told: dict[str, Victim] = {}
        for release in (*RELEASES, "debian", NEWEST):
            told |= start(stack, release, "main")
        let_go(told)
        pids = [each.pid for each in told.values()]
        profile = profiled(have_run(SHARED_S, *pids), least=dict.fromkeys(told, ENOUGH))
    for name, each in told.items():
        check_shares(profile, name, each)
        check_whole(profile, name, ENOUGH)
        if name != "main-debian":  # stripped of that name
            assert Seen(profile, name).part(lambda met: met.from_start) >= 0.99, name


def test_threads_forks_children_and_released_locks_of_every_version(profiled: Profiled) -> None:
    with ExitStack() as stack:
        told: dict[str, Victim] = {}
        for release in (*RELEASES, "debian", NEWEST):
            told |= start(stack, release, "thread", "fork", "child", "hashing")
        let_go(told)
        pids = [each.pid for each in told.values()]
        profile = profiled(have_run(SHOWN_S, *pids), least=dict.fromkeys(told, SHOWN))
    for name, each in told.items():
        check_whole(profile, name, SHOWN)
        seen = Seen(profile, name)
        if each.chains:
            check_known(profile, name, each, 0.97)
        if name.startswith("thread"):
            assert seen.part(lambda met: met.from_start) >= 0.99, name


def test_frames_keep_their_place_while_calls_begin_and_end(profiled: Profiled) -> None:
    """Where all is calls, up to one sample of fifteen meets a loop without its frame."""
    with ExitStack() as stack:
        told: dict[str, Victim] = {}
        for release in (*RELEASES, "debian", NEWEST):
            told |= start(stack, release, "calling")
        let_go(told)
        pids = [each.pid for each in told.values()]
        profile = profiled(have_run(1.5, *pids), least=dict.fromkeys(told, 1000))
    chain = ("<module>", "calling", "outer", "inner")

    def in_place(met: Met) -> bool:
        python = tuple(f.name for f in met.frames if f.kind is FrameKind.PYTHON)
        last = max((i for i, f in enumerate(met.frames) if f.name in python), default=0)
        return (
            len(python) >= 2
            and python == chain[: len(python)]
            and "_PyEval_EvalFrameDefault" not in met.names[:last]
        )

    for name in told:
        check_whole(profile, name, 1000)
        seen = Seen(profile, name)
        assert seen.part(in_place) >= 0.998, f"{name}:\n{seen.worst(in_place)}"


@pytest.mark.parametrize("release", ["3.12.1", "debian"])
def test_a_virtual_environments_python(profiled: Profiled, tmp_path: Path, release: str) -> None:
    for words in (["--without-pip"], ["--without-pip", "--copies"]):
        made = tmp_path / words[-1]
        subprocess.run([*command(release), "-m", "venv", *words, made], check=True)
    with ExitStack() as stack:
        told = {
            name: stack.enter_context(victim(tmp_path / name / "bin/python", SCRIPT, name, "main"))
            for name in ("--without-pip", "--copies")
        }
        pids = [each.pid for each in told.values()]
        profile = profiled(have_run(SHOWN_S, *pids), least=dict.fromkeys(told, SHOWN))
    for name, each in told.items():
        check_whole(profile, name, SHOWN)
        assert sum(shares_of(Seen(profile, name), each).values()) >= 0.97, name
