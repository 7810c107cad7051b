"""Five hundred tenants born and gone within a minute, sixty of them Docker's: the agent bills each
one, and is afterwards as small as before."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.kernel.conftest import Cgroup, within
from tests.kernel.test_agent import Running, descriptors

from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.model import Sample

pytestmark = [pytest.mark.kernel, pytest.mark.docker, pytest.mark.slow]
TENANTS, CONTAINERS, AT_ONCE = 500, 60, 4
LOOKS = 12
MOST_GROWTH = 8 << 20
"""Bytes. The agent keeps the last thousand final records: they are there before it is measured."""
ROUNDS = 2
"""The same is done so often before: then a thousand final records are kept, and samples have met
all that these tenants run, whose symbols are kept, too.
"""
MEASURED = 2
"""And so often to be measured: what tenants leave behind grows each time, while what else comes to
life on the host, of which the agent keeps books, too, does so once.
"""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    # Of this test's tenants alone: what else runs here has symbols, too, and they are kept.
    folder = tmp_path / "profiles"
    running.config.write_text(
        f'[profile]\nhz = 999\nwindow_s = 2\ndirectory = "{folder}"\ninclude = ["ct-*"]\n'
    )
    yield running
    running.stop()


class Churn:
    """Tenants that live for a moment: plain cgroups in turn, containers four at a time beside."""

    def __init__(self, hierarchies: Hierarchies, image: str, place: Path, word: str) -> None:
        self.hierarchies = hierarchies
        self.image = image
        self.place = place
        self.word = f"ct-{word}-{os.getpid()}"

    def plain(self, number: int) -> str:
        """Path of a cgroup in which one process ran."""
        group = Cgroup(self.hierarchies, f"/{self.word}-{number}")
        try:
            group.spawn("true").wait(60)
        finally:
            group.remove()
        return group.path

    def container(self, number: int) -> tuple[str, str]:
        """Id and name of a container that ran and was removed."""
        name, file = f"{self.word}-docker-{number}", self.place / f"{self.word}-{number}"
        subprocess.run(
            ["docker", "run", "--rm", "--name", name, "--network", "none", f"--cidfile={file}",
             self.image, "/bin/true"],
            check=True, capture_output=True, timeout=180,
        )  # fmt: skip
        return file.read_text(), name

    def run(self, plain: int, containers: int) -> tuple[set[str], dict[str, str]]:
        """Paths of the cgroups; names of the containers by id. All of them are gone."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            started = pool.map(self.container, range(containers))
            return {self.plain(number) for number in range(plain)}, dict(started)


def least_resident(agent: Running) -> int:
    """What it holds on to, in bytes: answers and profiles in the making come and go."""
    found = []
    for _ in range(LOOKS):
        found.append(agent.status().resident_bytes)
        time.sleep(0.5)
    return min(found)


def test_five_hundred_tenants_sixty_of_them_dockers_are_billed_and_leave_nothing_behind(
    agent: Running, hierarchies: Hierarchies, docker_image: str, tmp_path: Path
) -> None:
    agent.start()
    assert agent.process and agent.status().tier != "files", "it keeps no final records"
    pid = agent.process.pid

    def told(paths: set[str], ids: set[str]) -> list[Sample]:
        finals = agent.moment(finals_s=300.0).now.finals
        return [one for one in finals if one.tenant.path in paths or one.tenant.id in ids]

    def warm(number: int) -> None:
        """A round more."""
        churn = Churn(hierarchies, docker_image, tmp_path, f"warm-{number}")
        paths, names = churn.run(TENANTS - CONTAINERS, CONTAINERS)
        everybody = len(paths) + len(names)
        assert within(60, lambda: len(told(paths, set(names))) >= everybody), agent.log()
        assert within(60, lambda: not _mine(agent, "ct-warm"))

    def billed(number: int) -> None:
        """A round, each tenant of which has its one final record."""
        churn = Churn(hierarchies, docker_image, tmp_path, f"churn-{number}")
        paths, names = churn.run(TENANTS - CONTAINERS, CONTAINERS)
        assert (len(paths), len(names)) == (TENANTS - CONTAINERS, CONTAINERS)
        within(60, lambda: len(told(paths, set(names))) >= TENANTS)
        finals = told(paths, set(names))
        plain = [one.tenant.path for one in finals if one.tenant.path in paths]
        dockers = {one.tenant.id: one for one in finals if one.tenant.id in names}
        assert (len(plain), set(plain)) == (len(paths), paths), "each once"
        assert (len(finals) - len(plain), set(dockers)) == (len(names), set(names)), "each once"
        assert all(one.final and one.cpu and one.cpu.usage_ns > 0 for one in finals)
        for id, one in dockers.items():
            # By its id where Docker had forgotten it before it could be asked.
            assert one.tenant.name in (names[id], f"unknown~{id[:8]}")
        assert agent.status().lost_births == 0
        assert within(60, lambda: agent.status().unknown == 0)
        assert not _mine(agent, "ct-churn")

    # Warm: caches and threads are there, Docker's event stream, and whatever samples meet.
    assert within(60, lambda: "Hz" in agent.status().parts.get("profile", "")), agent.log()
    for number in range(ROUNDS):
        warm(number)
    held, resident = len(descriptors(pid)), least_resident(agent)

    grown = []
    for number in range(MEASURED):
        billed(number)
        assert within(60, lambda: len(descriptors(pid)) <= held), descriptors(pid)
        resident, before = least_resident(agent), resident
        grown.append(resident - before)
    assert min(grown) < MOST_GROWTH, grown


def _mine(agent: Running, word: str) -> list[str]:
    """Names of this test's tenants that the agent holds for alive."""
    samples = agent.moment().now.samples
    return [one.tenant.name for one in samples if one.tenant.name.startswith(word)]
