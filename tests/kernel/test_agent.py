"""The agent as a process of its own: on the real kernel, with real containers and real signals."""

from __future__ import annotations

import grp
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from tests.kernel.conftest import docker, within
from tests.kernel.ordinary import python_as

from cotenant.errors import AgentSilent, CotenantError
from cotenant.profile.binaries import MOST_OPEN
from cotenant.web.control import SNAPSHOT, STATUS, Moment, Status, ask
from cotenant.web.sockets import listen

COTENANT = Path(sys.executable).with_name("cotenant")
PATIENCE_S = 60
"""For one answer: all of the machine may stand still for seconds."""
KERNELS = ("/proc/", "/sys/", "/dev/")


class Running:
    """An agent on a free port, with its socket and its configuration in a directory of its own."""

    def __init__(self, place: Path, program: Sequence[str] = (str(COTENANT),)) -> None:
        self.place = place
        self.program = program
        self.socket = place / "run" / "agent.sock"
        self.config = place / "config.toml"
        self.config.write_text("")
        with listen("127.0.0.1:0") as free:
            self.port = int(free.getsockname()[1])
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *flags: str) -> list[str]:
        return [
            *self.program, "agent", "--config", str(self.config), "--socket", str(self.socket),
            "--http", f"127.0.0.1:{self.port}", *flags,
        ]  # fmt: skip

    def start(self, *flags: str) -> Running:
        with (self.place / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command(*flags), stderr=log)
        assert within(60, self.answers), self.log()
        return self

    def answers(self) -> bool:
        try:
            return ask(self.socket, STATUS).samples > 0
        except CotenantError:
            return False

    def log(self) -> str:
        return (self.place / "log").read_text()

    def status(self) -> Status:
        return ask(self.socket, STATUS, timeout_s=PATIENCE_S)

    def moment(self, finals_s: float = 0.0) -> Moment:
        return ask(self.socket, SNAPSHOT, timeout_s=PATIENCE_S, finals_s=finals_s)

    def get(self, path: str) -> str:
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as page:
            return str(page.read(), "utf-8")

    def signal(self, number: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(number)

    def end(self) -> int:
        assert self.process
        return self.process.wait(60)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def agent(tmp_path) -> Iterator[Running]:
    running = Running(tmp_path)
    yield running
    running.stop()


@pytest.mark.claim
def test_it_starts_serves_and_stops_without_a_trace(agent, cgroup):
    one = cgroup("/agent-test-a")
    one.spawn("sleep", "1000")
    agent.start()
    assert within(60, lambda: "agent-test-a_pgfault " in agent.get("/metrics?format=text"))
    assert "cotenant_agent_config_problem 0" in agent.get("/metrics")
    assert agent.get("/-/ready").startswith("ready: newest sample ")
    assert agent.get("/-/healthy") == "alive\n"
    assert json.loads(agent.get("/metrics?format=json"))["tenants"]
    for part in ("control socket: ", "meter: ", "tenants: ", "http: "):
        assert re.search(rf"{part}.*, \d+ ms", agent.log())
    agent.signal(signal.SIGTERM)
    assert agent.end() == 0
    assert list((agent.place / "run").iterdir()) == []
    assert "stopped (SIGTERM)" in agent.log()


@pytest.mark.claim
def test_births_are_taken_in_within_a_tick(agent, cgroup):
    agent.start("--interval", "1s")
    one = cgroup("/agent-test-born")
    one.spawn("sleep", "1000")
    assert samples_without(agent, lambda now: _has(now, "agent-test-born")) <= 2


@pytest.mark.claim
def test_the_death_of_one_found_at_the_start_is_taken_in_within_a_tick(agent, cgroup):
    one = cgroup("/agent-test-died")
    one.spawn("sleep", "1000")
    agent.start("--interval", "1s")
    assert within(60, lambda: _has(agent.moment(), "agent-test-died"))
    one.remove()
    assert samples_without(agent, lambda now: not _has(now, "agent-test-died")) <= 2


@pytest.mark.claim
@pytest.mark.docker
def test_a_container_that_lives_a_moment_has_a_final_record(agent, docker_image):
    agent.start("--interval", "6s")  # so that it is born and dead between two samples
    assert agent.status().tier != "files", "the file tier keeps no final records"
    name = f"cotenant-agent-brief-{os.getpid()}"
    docker("run", "--rm", "--name", name, docker_image, "/bin/true")

    def final() -> list[Any]:
        finals = agent.moment(finals_s=60.0).now.finals
        return [one for one in finals if one.tenant.name == name]

    assert within(60, final), [one.tenant.name for one in agent.moment(finals_s=60.0).now.finals]
    [one] = final()
    assert one.final and one.tenant.runtime == "docker"
    assert one.cpu is not None and one.cpu.usage_ns > 0
    assert f'name="{name}"' in agent.get("/metrics")


@pytest.mark.claim
def test_a_changed_file_and_sighup_are_followed_without_losing_a_sample(agent):
    agent.start("--interval", "200ms")
    before = agent.status()
    agent.config.write_text("exit_when_idle_s = 1000\n")
    assert within(60, lambda: "changed exit_when_idle_s" in agent.log())
    agent.config.write_text("exit_when_idle = 1000\n")
    assert within(60, lambda: 'the nearest is "exit_when_idle_s"' in agent.log())
    assert "cotenant_agent_config_problem 1" in agent.get("/metrics")
    agent.signal(signal.SIGHUP)
    agent.config.write_text("")
    agent.signal(signal.SIGHUP)
    assert within(60, lambda: agent.status().config_problem is None)
    assert within(60, lambda: agent.status().samples > before.samples + 5)
    # Reloads cost no sample: what is late is late for want of a CPU, without reloads as with them.
    more = []
    for _ in range(3):
        late = late_over(agent, lambda: agent.signal(signal.SIGHUP))
        more.append(late - late_over(agent, str))
    assert median(more) < 6, more


def test_profiling_goes_by_the_file_as_it_is_now(agent):
    """Sampling begins anew with other settings, ends, and comes back, while the agent goes on."""
    agent.start()

    def profiles(told: str) -> bool:
        return within(60, lambda: agent.status().parts.get("profile", "").startswith(told))

    for text, told in (
        ("", "cpu at 19 Hz"),
        ("[profile]\nhz = 7\n", "cpu at 7 Hz"),
        ("[profile]\nenabled = false\n", "off, as the configuration says"),
        ('[profile]\ntypes = ["cpu", "off-cpu"]\n', "cpu, off-cpu at 19 Hz"),
    ):
        agent.config.write_text(text)
        assert profiles(told), agent.status().parts


def late_over(agent, act):
    """Samples that came late while something was done eight times in two seconds."""
    before = agent.status().late
    for _ in range(8):
        act()
        time.sleep(0.25)
    return agent.status().late - before


def test_what_a_killed_agent_left_behind_is_no_hindrance(agent):
    agent.start()
    agent.signal(signal.SIGKILL)
    agent.end()
    assert agent.socket.exists()
    with pytest.raises(AgentSilent):
        agent.status()
    agent.start()
    assert agent.status().pid == agent.process.pid


def test_a_second_agent_or_a_taken_port_is_told_who_has_it(agent, tmp_path):
    agent.start()
    pid = agent.process.pid
    second = subprocess.run(agent.command(), capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    assert f"Another agent runs here (pid {pid}" in second.stderr
    assert f"hint: kill {pid}" in second.stderr
    other = Running(tmp_path / "other" if (tmp_path / "other").mkdir() is None else tmp_path)
    other.port = agent.port
    third = subprocess.run(other.command(), capture_output=True, text=True, timeout=60)
    assert third.returncode == 1
    assert re.search(rf"is taken by \S+ \(pid {pid}\)", third.stderr)
    assert list((other.place / "run").iterdir()) == []
    assert agent.status().pid == pid


def test_an_ordinary_user_reads_through_the_socket_if_the_group_allows(agent, tmp_path):
    agent.config.write_text('socket_group = "nogroup"\n')
    for directory in (tmp_path, *tmp_path.parents):
        if directory.owner() == "root" and directory.stat().st_mode & 0o005 != 0o005:
            directory.chmod(0o755)
    agent.start()
    assert agent.socket.stat().st_mode & 0o777 == 0o660
    asking = (
        "import sys; from cotenant.web.control import *; p = sys.argv[1]; "
        "print(ask(p, STATUS).tenants >= 0, ask(p, SNAPSHOT).now.tier); ask(p, RELOAD)"
    )
    told = _as_nobody(grp.getgrnam("nogroup").gr_gid, asking, str(agent.socket))
    assert told.stdout.startswith("True "), told.stderr
    assert "Only root may reload the agent" in told.stderr
    told = _as_nobody(65533, asking, str(agent.socket))
    assert "does not answer to this user" in told.stderr


def test_it_ends_by_itself_when_idle(agent):
    idle = agent.command("--exit-when-idle", "2s", "--interval", "200ms")
    with (agent.place / "log").open("ab") as log:
        agent.process = subprocess.Popen(idle, stderr=log)

    def ended() -> bool:
        return agent.process.poll() is not None

    # Where containers of others run here, it must stay.
    if within(15, ended) or not _has_guests(agent):
        assert within(60, ended), agent.log()
        assert agent.process.returncode == 0
        assert "no container for 2 s" in agent.log()


@pytest.mark.slow
@pytest.mark.docker
def test_many_births_and_deaths_leave_no_descriptor_and_no_memory_behind(agent, cgroup):
    agent.start()
    pid = agent.process.pid
    for number in range(20):
        cgroup(f"/agent-warm-{number}").spawn("true").wait()
    assert within(60, lambda: "Hz" in agent.status().parts.get("profile", "")), agent.log()
    before = len(descriptors(pid))
    for number in range(150):
        one = cgroup(f"/agent-churn-{number}")
        one.spawn("true").wait()
        one.remove()
    assert within(60, lambda: not _some(agent.moment(), "agent-churn-"))
    assert within(60, lambda: len(descriptors(pid)) <= before + 25), descriptors(pid)
    assert agent.status().lost_births == 0


def descriptors(pid: int) -> list[str]:
    """What a process has open, without the binaries that are kept open: those of the whole host, up
    to a bound, and who knows what else is started here meanwhile.
    """
    links = []
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            links.append(os.readlink(one))
    own = [link for link in links if not link.startswith("/") or link.startswith(KERNELS)]
    assert len(links) - len(own) <= MOST_OPEN + 10, links
    return own


def samples_without(agent: Running, true: Callable[[Moment], bool]) -> int:
    """How many more samples there were of which something was not true; waits for one of which it
    is. Counted by the agent: time in which all stood still is not in it.
    """
    begun = last = agent.status().samples

    def seen() -> bool:
        nonlocal last
        at = agent.status().samples  # the moment is of this sample or of a later one
        if true(agent.moment()):
            return True
        last = at
        return False

    assert within(60, seen), agent.log()
    return last - begun


def _has(moment: Moment, name: str) -> bool:
    return any(sample.tenant.name == name for sample in moment.now.samples)


def _some(moment: Moment, front: str) -> bool:
    return any(sample.tenant.name.startswith(front) for sample in moment.now.samples)


def _has_guests(agent: Running) -> bool:
    """Whether containers run here; False where the agent has ended meanwhile."""
    try:
        kinds = {sample.tenant.kind for sample in agent.moment().now.samples}
    except AgentSilent:
        return False
    return bool(kinds & {"container", "vm", "unknown"})


def _as_nobody(group: int, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    setpriv = ["--reuid=65534", f"--regid={group}", "--clear-groups"]
    return python_as(setpriv, "-c", code, *arguments)
