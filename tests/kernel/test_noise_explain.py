"""`cotenant noise --explain`: the stacks of whoever is to blame, of that very time."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.kernel.accusing import COMMAND as RUN
from tests.kernel.conftest import Cgroup, within
from tests.kernel.waiting import favour

HOG = str(Path(__file__).with_name("noise_hog.py"))
PYTHON = "/usr/bin/python3"


def cotenant(*words: str) -> str:
    """What one run of the command prints."""
    done = subprocess.run([*RUN, *words], capture_output=True, timeout=180, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def neighbours(cgroup: Callable[[str], Cgroup]) -> tuple[str, str]:
    """A hog and its victim on one CPU: whatever else runs there, the hog gets much of it."""
    hog, victim = cgroup("/explain-batch"), cgroup("/explain-api")
    favour(hog)
    favour(victim, 4)
    for _ in range(3):
        hog.spawn(PYTHON, HOG, "0")
    victim.spawn(PYTHON, HOG, "0", "victim")
    return hog.path.strip("/"), victim.path.strip("/")


@contextlib.contextmanager
def agent(directory: Path) -> Iterator[list[str]]:
    """An agent that profiles in short windows; yields the words that make a verb ask it."""
    config = directory / "config.toml"
    config.write_text(
        f'socket = "{directory}/control"\nhttp = "off"\n'
        f'[profile]\nhz = 99\nwindow_s = 2\ndirectory = "{directory}/profiles"\n'
    )
    with subprocess.Popen([*RUN, "agent", "--config", str(config)], stderr=subprocess.PIPE) as one:
        try:
            assert within(30, lambda: (directory / "profiles").exists()), one.poll()
            yield ["--config", str(config)]
        finally:
            one.send_signal(signal.SIGTERM)
            one.communicate(timeout=30)


def told_of(page: str, culprit: str) -> str:
    """The part of a page that tells what that one ran."""
    found = re.search(rf"^{re.escape(culprit)} was running:\n(.*?)(?=^\S+ was running:|\Z)", page,
                      re.M | re.S)  # fmt: skip
    assert found, page
    return found[1]


def shares(part: str) -> dict[str, float]:
    """Percent by the function of the hog's that a stack is in."""
    found: dict[str, float] = {}
    for share, rest in re.findall(r"^ *([\d.]+) %  (.*?)(?=^ *[\d.]+ %  |\Z)", part, re.M | re.S):
        for name in ("resize", "hash_all"):
            if re.search(rf"\b{name}\b", rest):
                found[name] = found.get(name, 0.0) + float(share)
    return found


def check(page: str, hog: str, victim: str) -> str:
    """The finding, then the culprit's functions by how much it ran them."""
    assert f"makes {victim} wait" in page or f"make {victim} wait" in page, page
    part = told_of(page, hog)
    assert "burn" in part and "noise_hog.py" in part
    found = shares(part)
    assert found["resize"] > 50, part
    assert found["resize"] > found.get("hash_all", 0.0), part
    return part


@pytest.mark.claim
def test_the_hog_s_functions_stand_below_the_finding(neighbours: tuple[str, str]) -> None:
    hog, victim = neighbours
    page = cotenant("noise", "--explain", "--duration", "6s", "--tenant", victim)
    assert "sampled meanwhile at 99 Hz" in check(page, hog, victim)


def test_where_an_agent_profiles_it_is_asked(neighbours: tuple[str, str], tmp_path: Path) -> None:
    hog, victim = neighbours
    with agent(tmp_path) as words:
        page = cotenant("noise", "--explain", "--duration", "8s", "--tenant", victim, *words)
    assert "kept by the agent" in check(page, hog, victim)


def test_without_a_finding_there_is_nothing_to_explain(cgroup: Callable[[str], Cgroup]) -> None:
    quiet = cgroup("/explain-quiet")
    quiet.spawn("sleep", "60")
    page = cotenant("noise", "--explain", "--duration", "1s", "--tenant", quiet.path)
    assert "No finding, so there is nothing to explain." in page
    assert "was running" not in page


@pytest.mark.parametrize("other", ["--json", "--hist", "--events"])
def test_it_is_text(other: str) -> None:
    done = subprocess.run([*RUN, "noise", "--explain", other], capture_output=True, text=True)
    assert done.returncode == 2
    assert "--explain comes as text." in done.stderr
