"""What the demo tenants do, and how much of it they may."""

from __future__ import annotations

import re
import shlex

from cotenant.demo import workloads
from cotenant.demo.image import APPLETS
from cotenant.demo.loads import NOISY, SHOWCASE, idle

BUILT_IN = {"while", "do", "done", "exec", ":", "|", "||", "&&"}


def test_names_say_that_they_are_demos_and_are_unique() -> None:
    names = [load.name for load in (*SHOWCASE, *(idle(n) for n in range(1, 31)))]
    assert len(set(names)) == 35
    assert all(re.fullmatch(r"demo-[a-z0-9]+", name) for name in names)


def test_every_python_load_is_one_there_is() -> None:
    assert {load.python[0] for load in (*SHOWCASE, *NOISY)} == set(workloads.WORKLOADS)


def test_the_image_has_every_program_that_a_shell_line_calls() -> None:
    for load in (*SHOWCASE, *NOISY, idle(1)):
        starts = re.findall(r"(?:^|[|;&]|\bdo\b|\bexec\b)\s*([a-z]+)\b", load.shell)
        assert set(starts) - BUILT_IN <= set(APPLETS), shlex.split(load.shell)


def test_the_hog_is_held_back_and_the_memory_user_has_room() -> None:
    limits = {load.name: load for load in SHOWCASE}
    assert limits["demo-hog"].cpu_cores == 0.3
    held = int(limits["demo-memory"].python[1])
    limit = limits["demo-memory"].memory_bytes
    assert limit is not None and held < limit


def test_the_noisy_ones_share_one_cpu_and_nothing_holds_them_back() -> None:
    assert len({load.cpu for load in NOISY}) == 1
    assert all(load.cpu is not None and load.cpu_cores is None for load in NOISY)
    assert all("--cpu" in load.command() for load in NOISY)
    names = {load.name for load in NOISY}
    assert len(names) == 3
    assert names.isdisjoint(load.name for load in SHOWCASE)
