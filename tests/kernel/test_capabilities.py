"""Each capability, dropped by itself: what really breaks, and that nothing else does.

The children run as nobody, with just these capabilities; one as root with those of the unit in
deploy/, which runs the agent so.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.kernel.conftest import Cgroup, within
from tests.kernel.metering import SLEEP
from tests.kernel.ordinary import SEEN_AT, python_as
from tests.kernel.test_meter_network import ip

from cotenant.kernel.capabilities import CAPABILITIES

CHILD = SEEN_AT / "tests/kernel/capable.py"
NOBODY = "65534"
ROOT = "0"
SOMEONE = 65533
LEAST = frozenset({"BPF", "PERFMON", "NET_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH"})
EVERYTHING: dict[str, Any] = {
    "programs": True, "why": "", "hint": None, "lives": True, "packets": True, "namespace": True,
    "interface": ["inside"], "cpu": True, "memory": True, "tasks": 1, "arguments": ["sleep"],
    "space": True, "inside": True, "socket": True, "check": True,
}  # fmt: skip
NO_SOCKET = {"socket": False, "check": False}  # root's; nobody may not write to it
FILES = {"programs": False, "packets": False}
# What is no longer there without each of them; all else stays as with all of them.
BREAKS: dict[str, dict[str, Any]] = {
    "BPF": FILES,
    "PERFMON": FILES,
    "NET_ADMIN": {"packets": False, "interface": ["ct-cap"]},  # the host's name of it
    "SYS_PTRACE": {"namespace": False, "interface": [], "inside": False},
    "DAC_READ_SEARCH": {"space": False, "inside": False},
}


class Victim(NamedTuple):
    """A tenant of root's, and a directory that only root may enter."""

    path: str
    pid: int
    private: Path


@pytest.fixture
def victim(
    cgroup: Callable[[str], Cgroup], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Victim]:
    group = cgroup("/ct-capable")
    name = "ct-capable"
    private = tmp_path_factory.mktemp("private")
    private.chmod(0o700)
    (private / "layer").mkdir(mode=0o700)
    os.chown(private / "layer", SOMEONE, SOMEONE)
    with ExitStack() as undo:
        ip("netns", "add", name)
        undo.callback(ip, "netns", "del", name)
        ip("link", "add", "ct-cap", "type", "veth", "peer", "name", "inside", "netns", name)
        # By itself it would go some time after its namespace: too late for the next test.
        undo.callback(ip, "link", "del", "ct-cap")
        # `ip` becomes the command it runs: the process stays the one that was moved.
        process = group.spawn("ip", "netns", "exec", name, *SLEEP)
        undo.callback(process.wait)
        undo.callback(process.kill)
        listening = undo.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(private / "socket"))
        (private / "socket").chmod(0o600)
        listening.listen()
        runs = Path(f"/proc/{process.pid}/comm")
        assert within(60, lambda: runs.read_text() == "sleep\n"), "it is not inside yet"
        yield Victim(group.path, process.pid, private)


def with_only(
    capabilities: frozenset[str], *arguments: str, user: str = NOBODY
) -> subprocess.CompletedProcess[str]:
    """Runs `python ARGUMENTS` as nobody (or `user`) with exactly these capabilities."""
    listed = ",".join(["-all", *(f"+{name.lower()}" for name in sorted(capabilities))])
    setpriv = ["--reuid", user, "--regid", user, "--clear-groups", "--no-new-privs"]
    caps = [f"--{kind}={listed}" for kind in ("inh-caps", "ambient-caps", "bounding-set")]
    return python_as([*setpriv, *caps], *arguments)


def tried(victim: Victim, capabilities: frozenset[str], user: str = NOBODY) -> dict[str, Any]:
    """What a child with exactly these capabilities could do."""
    words = (str(CHILD), victim.path, str(victim.pid), str(victim.private))
    done = with_only(capabilities, *words, user=user)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found.pop("size") > 0
    return found


@pytest.mark.claim
def test_with_exactly_the_least_set_everything_works_but_root_s_sockets(victim):
    assert tried(victim, LEAST) == EVERYTHING | NO_SOCKET


@pytest.mark.claim
def test_as_the_unit_runs_it_everything_works(victim):
    """Root with these alone: the runtimes' sockets are root's own.

    Without the one that is for old kernels: root of this machine need not have it.
    """
    assert tried(victim, held_by_the_unit() - {"SYS_RESOURCE"}, ROOT) == EVERYTHING


def test_as_the_unit_runs_it_but_without_reading_everywhere_layers_are_not_measured(victim):
    found = tried(victim, held_by_the_unit() - {"SYS_RESOURCE", "DAC_READ_SEARCH"}, ROOT)
    assert found == EVERYTHING | BREAKS["DAC_READ_SEARCH"]


def test_who_joins_the_socket_s_group_needs_no_more(victim):
    victim.private.chmod(0o711)
    (victim.private / "socket").chmod(0o660)
    os.chown(victim.private / "socket", 0, int(NOBODY))
    assert tried(victim, LEAST) == EVERYTHING


@pytest.mark.parametrize("dropped", sorted(LEAST))
def test_each_of_them_is_needed_for_just_what_it_is_said_to_be(victim, dropped):
    found = tried(victim, LEAST - {dropped})
    why = found["why"], found["hint"]
    expected = EVERYTHING | NO_SOCKET | BREAKS[dropped]
    if not expected["programs"]:
        assert why[0].startswith("The kernel does not let this process use eBPF"), why
        assert why[1] == "sudo cotenant check"
        expected |= {"why": why[0], "hint": why[1]}
    assert found == expected


@pytest.mark.claim
def test_with_none_of_them_the_files_still_tell_cpu_memory_and_tasks(victim):
    found = tried(victim, frozenset())
    assert found["why"].count("does not let this process use eBPF") == 1
    lost = {"namespace": False, "interface": [], "space": False, "inside": False}
    reason = {"why": found["why"], "hint": found["hint"]}
    assert found == EVERYTHING | FILES | NO_SOCKET | lost | reason


def test_dac_override_reads_as_well_and_opens_root_s_sockets(victim):
    found = tried(victim, LEAST - {"DAC_READ_SEARCH"} | {"DAC_OVERRIDE"})
    assert found == EVERYTHING


@pytest.mark.claim
def test_check_names_exactly_the_capabilities_that_matter():
    assert {name.removeprefix("CAP_") for name, _ in CAPABILITIES.values()} == LEAST


def held_by_the_unit() -> frozenset[str]:
    """The capabilities that the unit in deploy/ gives the agent."""
    unit = (Path(__file__).parents[2] / "deploy" / "cotenant.service").read_text()
    sets = re.findall(r"^(?:Capability|Ambient)\w+=(.*)$", unit, re.M)
    held = [{name.removeprefix("CAP_") for name in line.split()} for line in sets]
    assert len(held) == 2 and held[0] == held[1]
    return frozenset(held[0])


@pytest.mark.claim
def test_the_unit_holds_what_its_own_book_says():
    assert held_by_the_unit() >= LEAST
