"""The real agent hears who makes whom wait: in its log, on its page, at its socket."""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Callable, Iterator

import pytest
from tests.kernel.accusing import COMMAND
from tests.kernel.conftest import Cgroup, within
from tests.kernel.metering import at_rest
from tests.kernel.test_agent import PATIENCE_S, Running
from tests.kernel.waiting import SWITCHES, favour
from tests.unit.export import exposition, proto

from cotenant.errors import HostCannot, UsageError
from cotenant.model import NoiseReport
from cotenant.web.control import NOISE, ask
from cotenant.web.http import MEDIA_TYPES

SPIN = ("taskset", "-c", "0", "sh", "-c", "while :; do :; done")
VICTIM, HOG = "ct-noise-victim", "ct-noise-hog"


@pytest.fixture
def agent(tmp_path) -> Iterator[Running]:
    running = Running(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def accusing_agent(tmp_path) -> Iterator[Running]:
    """One that accuses whatever the hypervisor takes."""
    running = Running(tmp_path, COMMAND)
    yield running
    running.stop()


def page(agent: Running) -> exposition.Read:
    return exposition.read(agent.get("/metrics").encode())


def report(agent: Running, **arguments: int) -> NoiseReport:
    return ask(agent.socket, NOISE, timeout_s=PATIENCE_S, **arguments)


def in_protobuf(agent: Running) -> list[proto.Family]:
    accept = {"Accept": MEDIA_TYPES["protobuf"]}
    request = urllib.request.Request(f"http://127.0.0.1:{agent.port}/metrics", headers=accept)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        assert answer.headers["Content-Type"] == MEDIA_TYPES["protobuf"]
        return proto.read(answer.read())


@pytest.mark.claim
def test_a_noisy_neighbour_is_found_named_and_let_go(
    accusing_agent: Running, cgroup: Callable[[str], Cgroup]
):
    agent = accusing_agent.start()
    assert "noise: blame level, " in agent.log()
    victim, hog = cgroup(f"/{VICTIM}"), cgroup(f"/{HOG}")
    favour(hog)  # what else this machine does is not to outdo it
    favour(victim, 4)
    one = victim.spawn(*SPIN)
    noisy = [hog.spawn(*SPIN) for _ in range(3)]

    def going() -> bool:
        return bool(page(agent).of("cotenant_noise_finding", tenant=VICTIM, culprit=HOG))

    assert within(60, going), report(agent)
    assert f"noise: {VICTIM} waited " in agent.log() and HOG in agent.log()

    told = report(agent)
    assert VICTIM in [finding.victim.name for finding in told.findings]
    (delay,) = [delay for delay in told.delays if delay.tenant.name == VICTIM]
    assert delay.culprit is not None and delay.culprit.culprit is not None
    assert delay.culprit.culprit.name == HOG
    assert sum(part.ns for part in delay.parts) == pytest.approx(delay.waited_ns, rel=0.01)
    few = report(agent, windows=2)
    assert few.seconds < report(agent).seconds, "which has these two and more"

    def waited(got: exposition.Read) -> float:
        """Seconds, without those of the hypervisor's making."""
        of_steal = got.of("cotenant_wait_reason_seconds_total", tenant=VICTIM, reason="steal")
        stolen = sum(float(line.value) for line in of_steal)  # none: this kernel does not tell
        return float(got.value("cotenant_waited_seconds_total", tenant=VICTIM)) - stolen

    def waits(got: exposition.Read) -> int:
        return int(got.value("cotenant_wait_seconds_count", tenant=VICTIM))

    assert within(60, lambda: waited(page(agent)) > 1 and waits(page(agent)) > 100)
    got = page(agent)
    blamed = float(got.value("cotenant_blame_seconds_total", tenant=VICTIM, culprit=HOG))
    assert blamed > waited(got) / 2
    assert got.value("cotenant_noise_findings_total", tenant=VICTIM) == "1"
    (histogram,) = [one for one in in_protobuf(agent) if one.name == "cotenant_wait_seconds"]
    native = histogram.value(tenant=VICTIM)
    assert isinstance(native, proto.Histogram)
    assert native.waits >= waits(got) > 100
    assert native.sum >= float(got.value("cotenant_wait_seconds_sum", tenant=VICTIM))

    # The victim too: on a busy machine others would go on delaying it.
    for process in (*noisy, one):
        process.kill()
    assert within(60, lambda: not going())
    assert within(60, lambda: f"noise: over: {VICTIM} is no longer delayed" in agent.log())


@pytest.mark.claim
def test_both_forms_of_the_page_tell_the_same(agent):
    agent.start("--interval", "20s")  # one sample serves both
    families, types = at_rest(  # a family comes with the first thing that it has to tell
        lambda: page(agent).types, lambda: {one.name: one for one in in_protobuf(agent)}
    )
    assert {name: one.type for name, one in families.items()} == types
    text = page(agent)
    moving = ("cotenant_agent_", "cotenant_wait", "cotenant_noise_", "cotenant_bpf_")
    for line in text.lines:
        if line.name.startswith("container_"):
            values = [value for own, value in families[line.name].metrics if own == line.labels]
            assert values == [float(line.value)]
        else:
            assert line.name in families or line.name.startswith(moving)


@pytest.mark.claim
def test_it_is_switched_by_the_file_while_the_agent_runs(agent):
    agent.start()
    level = "cotenant_noise_level"
    assert within(60, lambda: page(agent).value(level) == "3")
    programs = {line.labels["program"] for line in page(agent).of("cotenant_bpf_runs_total")}
    assert {"switched", "moved"} <= programs
    agent.config.write_text("noise = false\n")
    assert within(60, lambda: page(agent).value(level) == "0")
    assert not page(agent).of("cotenant_waits_total")
    with pytest.raises(HostCannot, match="off, as the configuration says"):
        report(agent)
    agent.config.write_text("noise = true\nnoise_budget = 0.01\n")
    assert within(60, lambda: page(agent).value(level) == "3")
    with pytest.raises(UsageError, match="from 1 to 10"):
        report(agent, windows=99)


@pytest.mark.claim
def test_past_its_budget_it_does_less_and_says_so(agent, cgroup: Callable[[str], Cgroup]):
    agent.config.write_text("noise_budget = 0.01\n")
    cgroup("/ct-noise-switches").spawn(*SWITCHES)
    agent.start()
    assert within(60, lambda: page(agent).value("cotenant_noise_level") == "1"), agent.log()
    assert "noise: level histogram: its programs take " in agent.log()
    assert "noise: level count: its programs take " in agent.log()
    got = page(agent)
    assert float(got.value("cotenant_noise_host_cpu_ratio")) > 0.0001
    assert 0 < float(got.value("cotenant_noise_run_seconds", program="switched")) < 1e-4


@pytest.mark.claim
def test_windows_last_a_second_at_any_pace_of_the_samples(agent):
    agent.start("--interval", "30s")
    assert within(25, lambda: report(agent).seconds > 3)
    assert within(25, lambda: 2 < report(agent, windows=3).seconds < 6), "each a second, or two"


@pytest.mark.claim
def test_without_ebpf_the_agent_says_so_in_one_line_and_goes_on(agent):
    without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *agent.command()]
    with (agent.place / "log").open("ab") as log:
        agent.process = subprocess.Popen(without, stderr=log)
    assert within(60, agent.answers), agent.log()
    (line,) = [line for line in agent.log().splitlines() if " noise: " in line]
    assert "off: The kernel does not let this process use eBPF" in line
    assert page(agent).value("cotenant_noise_level") == "0"
    assert agent.status().parts["noise"].startswith("off: ")
    with pytest.raises(HostCannot, match="noise sense is off"):
        report(agent)
