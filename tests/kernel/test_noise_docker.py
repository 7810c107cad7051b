"""The whole line on real Docker: a hog beside an API is named by its container's name, in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from tests.kernel.accusing import accuses
from tests.kernel.conftest import Cgroup, docker
from tests.kernel.waiting import favour

from cotenant.agent.neighbours import Neighbours
from cotenant.agent.watch import Watch
from cotenant.config import Settings
from cotenant.model import Finding
from cotenant.noise import verdict
from cotenant.noise.words import sentence

pytestmark = [pytest.mark.kernel, pytest.mark.docker]

API = "while :; do i=0; while [ $i -lt 500 ]; do i=$((i+1)); done; sleep 0.003; done"
HOG = "while :; do :; done"


@pytest.fixture
def run(docker_image: str, cgroup: Callable[[str], Cgroup]) -> Iterator[Callable[..., None]]:
    """Starts a container that runs a script on the first CPU. All lie in a group that goes before
    the rest of this machine: else what that does would be the noise, and rightly be named.
    """
    names: list[str] = []
    favour(cgroup("/ct-noisy"))

    def start(name: str, script: str) -> None:
        docker("rm", "-f", name, check=False)
        names.append(name)
        docker("run", "-d", "--name", name, "--network", "none", "--cpuset-cpus", "0",
               "--cgroup-parent", "/ct-noisy", docker_image, "sh", "-c", script)  # fmt: skip

    yield start
    docker("rm", "-f", *names, check=False)


class Turning:
    """Looks once a second, as the agent does."""

    def __init__(self, watch: Watch, neighbours: Neighbours) -> None:
        self.watch, self.neighbours = watch, neighbours

    def until(self, seconds: float, true: Callable[[list[Finding]], object]) -> float | None:
        """How long it took until that was true of the findings; None: it did not in time."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            time.sleep(1 - time.monotonic() % 1)
            self.neighbours.look(self.watch.snapshot())
            if true(self.neighbours.findings):
                return time.monotonic() - began
        return None


def accused(findings: list[Finding], victim: str, culprit: str) -> bool:
    return any(
        f.victim.name == victim
        and f.delay.culprit is not None
        and f.delay.culprit.culprit is not None
        and f.delay.culprit.culprit.name == culprit
        for f in findings
    )


@pytest.mark.claim
def test_a_hog_is_named_within_five_seconds_and_cleared_within_ten(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdict, "accuses", accuses)
    run("nz-api", API)
    run("nz-bystander", "while :; do sleep 1; done")
    watch = Watch(Settings(), listen=True)
    neighbours = Neighbours(watch.hierarchies, budget=Settings().noise_budget / 100)
    turning = Turning(watch, neighbours)
    try:
        turning.until(4, lambda findings: False)
        assert not accused(neighbours.findings, "nz-api", "nz-hog")
        run("nz-hog", HOG)
        named = turning.until(5, lambda found: accused(found, "nz-api", "nz-hog"))
        report = neighbours.report()
        assert named is not None, [(d.tenant.name, d.p99_ns, d.parts) for d in report.delays]
        (finding,) = [f for f in neighbours.findings if f.victim.name == "nz-api"]
        assert finding.rule == "absolute", "nobody has a minute of its past yet"
        assert "nz-hog" in sentence(finding)
        assert not any(f.victim.name == "nz-bystander" for f in neighbours.findings)
        docker("rm", "-f", "nz-hog")
        cleared = turning.until(10, lambda found: not accused(found, "nz-api", "nz-hog"))
        assert cleared is not None, [sentence(f) for f in neighbours.findings]
        assert any(accused([f], "nz-api", "nz-hog") for f in neighbours.report().ended)
    finally:
        neighbours.close()
        watch.close()
