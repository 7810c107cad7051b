"""`cotenant noise` and what `demo up --noisy` starts: the neighbour to blame is named."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.accusing import COMMAND as RUN
from tests.kernel.conftest import Cgroup, docker, within
from tests.kernel.waiting import SWITCHES

from cotenant.demo.loads import NOISY
from cotenant.kernel.libbpf import possible_cpus


def cotenant(*words: str) -> subprocess.CompletedProcess[bytes]:
    """One run of the command, without an agent (no socket at that path)."""
    done = subprocess.run([*RUN, *words], capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done


@pytest.fixture
def neighbours(cgroup: Callable[[str], Cgroup]) -> dict[str, Cgroup]:
    """What `demo up --noisy` starts, in cgroups of the test's own."""
    made = {load.name: cgroup(f"/noise-{load.name}") for load in NOISY}
    for load in NOISY:
        made[load.name].spawn(*load.command())
    return made


def named(told: Any, path: str) -> Any:
    """The one of that path among delays or findings' delays."""
    return next((each for each in told if each["tenant"]["path"] == path), None)


def to_blame(delay: Any) -> dict[str, int]:
    """Nanoseconds by the culprit's path."""
    return {part["culprit"]["path"]: part["ns"] for part in delay["parts"] if part["culprit"]}


@pytest.mark.claim
def test_the_hogs_are_blamed_and_the_finding_says_so(neighbours: dict[str, Cgroup]) -> None:
    began = time.monotonic()
    report = json.loads(cotenant("noise", "--duration", "8s", "--json").stdout)
    assert 8 <= report["seconds"] < time.monotonic() - began
    path = neighbours["demo-api"].path
    victim = named(report["delays"], path)
    assert victim["waits"] > 20
    assert sum(part["ns"] for part in victim["parts"]) == victim["waited_ns"]
    blame = to_blame(victim)
    for hog in ("demo-batch-1", "demo-batch-2"):
        assert blame[neighbours[hog].path] > 0
    found = named([finding["delay"] for finding in report["findings"]], path)
    assert found is not None, victim
    foreign = sum(part["ns"] for part in found["parts"] if part["culprit"])
    stolen = sum(part["ns"] for part in found["parts"] if part["reason"] == "steal")
    assert foreign >= (found["waited_ns"] - stolen) / 2


def test_single_long_waits_are_told_as_they_end(neighbours: dict[str, Cgroup]) -> None:
    path = neighbours["demo-batch-1"].path
    words = ("noise", "--events", "--json", "--min", "1ms", "--duration", "2s", "--tenant", path)
    done = cotenant(*words)
    waits = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(waits) > 20
    for wait in waits:
        assert wait["victim"]["path"] == path
        assert wait["waited_ns"] >= 1_000_000
        assert wait["cpu"] == 0 < possible_cpus()
        assert wait["pid"] and wait["comm"].startswith("python")
    assert f"{len(waits)} told".encode() in done.stderr


def test_the_picture_counts_what_the_report_counts(neighbours: dict[str, Cgroup]) -> None:
    path = neighbours["demo-api"].path
    began = time.monotonic()
    shown = cotenant("noise", "--hist", "--duration", "2s", "--tenant", path).stdout.decode()
    head, span, bounds, *rows = shown.splitlines()
    assert path in head and "comm python" in head
    seconds = re.fullmatch(r"waits in (\d+\.\d) s", span)
    assert seconds and 2 <= float(seconds[1]) < time.monotonic() - began
    assert bounds.endswith(": count     distribution")
    assert sum(int(row.split(":")[1].split()[0]) for row in rows if ":" in row) > 20


def test_its_own_sense_keeps_to_the_budget_of_the_settings(
    cgroup: Callable[[str], Cgroup], tmp_path: Path
) -> None:
    """Past it for three windows, it does less; and so again, three windows later. Some more windows
    than these: one in which a hypervisor took the CPU of the switches breaks a row.
    """
    config = tmp_path / "config.toml"
    config.write_text(f'socket = "{tmp_path}/no.sock"\nnoise_budget = 0.01\n')
    cgroup("/ct-noise-switches").spawn(*SWITCHES)
    words = ("noise", "--duration", "13s", "--json", "--config", str(config))
    report = json.loads(cotenant(*words).stdout)
    assert report["host_share"] > 0.0001
    assert report["level"] == "count"


@pytest.mark.docker
@pytest.mark.claim
def test_a_noisy_container_is_found_by_its_name(docker_image: str) -> None:
    lines = {"hog": NOISY[0].shell, "victim": NOISY[2].shell}
    names = {what: f"cotenant-test-noise-{what}" for what in lines}
    try:
        for what, line in lines.items():
            docker("run", "-d", "--name", names[what], "--network", "none", "--cpuset-cpus", "0",
                   docker_image, "sh", "-c", line)  # fmt: skip
        assert within(10, lambda: docker("ps", "-q", "--filter", f"name={names['victim']}"))
        report = json.loads(cotenant("noise", "--duration", "5s", "--json").stdout)
        by_name = {delay["tenant"]["name"]: delay for delay in report["delays"]}
        parts = by_name[names["victim"]]["parts"]
        blamed = {part["culprit"]["name"]: part["ns"] for part in parts if part["culprit"]}
        assert blamed[names["hog"]] > 0.1 * by_name[names["victim"]]["waited_ns"], blamed
        page = cotenant("noise", "--duration", "8s", "--tenant", names["victim"]).stdout.decode()
        assert names["hog"] in page.splitlines()[0], page
    finally:
        docker("rm", "-f", *names.values(), check=False)
