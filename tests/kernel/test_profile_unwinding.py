"""Places that are hard to come back from: signals, vDSO, PLT, deep recursion, aligned stacks.

Not in VMs: six programs at full speed, sampled, starve an emulated machine of Linux 6.12 or 7.2 for
minutes. What of stacks must hold on any kernel is in test_profile_python_shares and _names.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.kernel.profiling import Met, Profiled, Seen, have_run, places, python_victim, victim

from cotenant.model import COMPLETE, Profile

pytestmark = pytest.mark.kernel

NAMES = "in_handler in_vdso through_plt in_aligned too_deep not_too_deep".split()
RUN_S = 0.4
LEAST = 150
"""Samples of each program, however many others a busy host drops."""
ANY = "[^;]*"
CLONES = {"clone", "__clone", "clone3", "__clone3"}
STARTS_THREADS = """
import threading
print("ready", flush=True)
while True:
    one = threading.Thread(target=len, args=((),))
    one.start()
    one.join()
"""


@pytest.fixture(scope="module")
def profile(profiled: Profiled, tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """All of them side by side."""
    program = places(tmp_path_factory.mktemp("places"))
    with ExitStack() as stack:
        pids = [stack.enter_context(victim(program, name)).pid for name in NAMES]
        least = dict.fromkeys(NAMES, LEAST)
        found: Profile = profiled(have_run(RUN_S, *pids), hz=499, least=least)
    return found


def check(profile: Profile, name: str, *frames: str, least: float) -> None:
    """All stacks whole; so many lead through these frames, innermost last. ANY: whatever it is."""
    seen = Seen(profile, name)
    assert seen.count >= LEAST
    assert seen.complete >= 0.99, seen.worst(lambda met: met.end == "complete")
    assert seen.part(lambda met: "main" in met.names) >= 0.99
    through = re.compile("".join(f";{name if name is ANY else re.escape(name)}" for name in frames))

    def led(met: Met) -> bool:
        return through.search(f";{';'.join(met.names)}") is not None

    assert seen.part(led) >= least, seen.worst(led)


def test_a_signals_handler_and_what_it_interrupted(profile: Profile) -> None:
    """Between them stands what the handler returns to, named in libc's debug file alone."""
    check(profile, "in_handler", "main", "in_handler", ANY, "handler", "burn", least=0.9)


def test_the_vdso_has_a_table_and_names(profile: Profile) -> None:
    check(profile, "in_vdso", "in_vdso", "clock_gettime", "__vdso_clock_gettime", least=0.5)


def test_calls_by_the_linkage_table(profile: Profile) -> None:
    check(profile, "through_plt", "through_plt", "labs@plt", least=0.1)


def test_stacks_aligned_and_grown_at_will(profile: Profile) -> None:
    check(profile, "in_aligned", "main", "in_aligned", "aligned", "burn", least=0.9)


def test_recursion_is_whole_up_to_a_bound_and_then_cut_with_a_word(profile: Profile) -> None:
    check(profile, "not_too_deep", *["deeper"] * 301, "burn", least=0.9)
    seen = Seen(profile, "too_deep")
    assert {met.end for met in seen.stacks} == {"too many frames"}
    assert profile.ends["too many frames"] == seen.count
    for met in seen.stacks:
        assert met.names[0] == "[cut: too many frames]"
        assert met.names.count("deeper") > 350


def test_the_call_that_starts_a_thread_in_the_old_thread_and_the_new(
    profiled: Profiled, tmp_path: Path
) -> None:
    """C libraries tell nothing of their code behind it, as it would be wrong for one of the two."""
    with python_victim(tmp_path, "starts", STARTS_THREADS) as running:
        seen = Seen(profiled(have_run(3, running.pid)), "starts")
    calls = [met for met in seen.stacks if CLONES & {*met.names} and "kernel_clone" in met.names]
    assert sum(met.samples for met in calls) >= 20
    assert all(met.end == COMPLETE and met.python for met in calls), seen.worst(
        lambda met: met.python
    )
    new = [
        met for met in seen.stacks if any(name.startswith("ret_from_fork") for name in met.names)
    ]
    assert sum(met.samples for met in new) >= 3
    assert all(met.end == COMPLETE and {met.names[0]} <= CLONES for met in new)
    assert seen.complete >= 0.99, seen.worst(lambda met: met.end == COMPLETE)
