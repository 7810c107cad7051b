"""Whose samples are: of who comes while they are taken, and of who is gone when they are read."""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.kernel.conftest import Cgroup, docker, within
from tests.kernel.metering import tenant
from tests.kernel.test_agent import COTENANT, Running
from tests.kernel.test_agent import agent as agent

from cotenant.agent.profiler import Profiler, Wanted
from cotenant.export.profile_json import parse
from cotenant.model import Profile, Tenant

pytestmark = pytest.mark.kernel

SPIN = "i=0; while [ $i -lt {} ]; do i=$((i+1)); done"
BRIEFLY, FOR_LONG = SPIN.format(1_000_000), SPIN.format(1 << 60)
SETTINGS = """\
[profile]
hz = 99
window_s = 2
directory = "{}/profiles"
"""


def shells(profile: Profile, process: str) -> Counter[str]:
    """Samples of processes of that name, by tenant."""
    found: Counter[str] = Counter()
    for stack in profile.stacks:
        if stack.process == process:
            found[profile.tenants[stack.tenant].name] += stack.count
    return found


def shell(folder: Path, name: str) -> str:
    """A shell that goes by another name."""
    made = folder / name
    made.symlink_to("/bin/sh")
    return str(made)


def visitor(cgroup: Callable[[str], Cgroup], number: int, shell: str) -> str:
    """The name of a tenant that came, was busy for about a second, and is gone."""
    path = f"/profile-visitor-{number}"
    came = cgroup(path)
    came.spawn(shell, "-c", BRIEFLY).wait()
    came.remove()
    return path.strip("/")


def test_who_was_here_briefly_has_its_samples_in_the_verb(tmp_path, cgroup):
    """They come once it samples, and it ends when all are gone."""
    made, sh = tmp_path / "out.json", shell(tmp_path, "briefly")
    command = [COTENANT, "profile", "--hz", "199", "--duration", "3m", "-o", made]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as profiling:
        try:
            assert profiling.stderr
            said = iter(profiling.stderr.readline, "")
            assert any(" of 180 s: " in line for line in said), "it says how far it is"
            names = {visitor(cgroup, number, sh) for number in range(4)}
            profiling.send_signal(signal.SIGINT)
            assert profiling.wait(60) == 0, profiling.communicate()
        finally:
            profiling.kill()
    found = shells(parse(made.read_bytes()), "briefly")
    assert found.keys() == names, found
    assert min(found.values()) > 10


def test_who_is_told_of_as_the_window_ends_has_its_samples(hierarchies, cgroup, tmp_path):
    came, known = cgroup("/profile-told-late"), list[Tenant]()
    one = tenant(hierarchies, came.path)
    settled = lambda: known.append(one)  # noqa: E731
    hosts, cache = Wanted(hz=199), tmp_path / "cache"
    with Profiler(hierarchies, hosts, lambda: tuple(known), cache, settled) as profiler:
        while not profiler.prepare():
            pass
        profiler.start()
        came.spawn(shell(tmp_path, "late"), "-c", FOR_LONG)
        before = profiler.sampled
        assert within(30, lambda: profiler.step() and profiler.sampled - before > 50)
        assert known == []
        found = shells(profiler.take()[0], "late")
    assert known == [one]
    assert found.keys() == {one.name}, found


def test_who_was_here_briefly_has_its_samples_in_the_agent(agent, tmp_path, cgroup):
    agent.config.write_text(SETTINGS.format(tmp_path))
    agent.start()
    assert within(60, lambda: agent.status().parts.get("profile", "").startswith("cpu"))
    sh = shell(tmp_path, "briefly")
    names = {visitor(cgroup, number, sh) for number in range(4)}
    within(60, lambda: told_of(agent, "briefly").keys() >= names)
    found = told_of(agent, "briefly")
    assert found.keys() == names, found


def test_a_container_has_all_its_samples_by_its_name_from_its_first_moment(
    agent, tmp_path, docker_image
):
    """Its name comes later than its first stacks, and it meets no others."""
    agent.config.write_text(SETTINGS.format(tmp_path))
    agent.start()
    assert within(60, lambda: agent.status().parts.get("profile", "").startswith("cpu"))
    name, busy = "profile-comes-later", f"exec /tmp/busybox-later sh -c '{FOR_LONG}'"
    docker("rm", "-f", name, check=False)
    docker("run", "-d", "--rm", "--network", "none", "--name", name, docker_image,
           "sh", "-c", f"cp /bin/busybox /tmp/busybox-later; {busy}")  # fmt: skip
    try:
        within(60, lambda: told_of(agent, "busybox-later").total() > 300, 0.5)
        found = told_of(agent, "busybox-later")
        assert found.keys() == {name}, found
        assert found[name] > 300
    finally:
        docker("rm", "-f", name, check=False)


def told_of(agent: Running, process: str) -> Counter[str]:
    """What the agent's last hour says of processes of that name."""
    try:
        page = agent.get("/api/profile?format=json")
    except OSError:
        return Counter()  # there is no window yet, or it is too busy to answer
    return shells(parse(page.encode()), process)
