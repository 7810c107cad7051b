"""The noise sense inside the daemon: what it says, what it shows, how it is switched."""

from __future__ import annotations

import logging
import math
import time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from tests.unit.export.exposition import read
from tests.unit.export.noises import API, BATCH, SECOND, finding, waited, waits
from tests.unit.export.synthetic import snapshot

from cotenant.agent.hearing import FINDINGS_A_MINUTE, Hearing
from cotenant.config import Settings
from cotenant.errors import HostCannot, KernelRefused, NoBpf
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.kernel.cost import Cost
from cotenant.model import Finding, NoiseReport, Snapshot, Tenant
from cotenant.noise.programs import Level

LOG = "cotenant.agent"


class FakeNeighbours:
    """Neighbours that see what a test tells them to."""

    def __init__(self, budget: float) -> None:
        self.budget = SimpleNamespace(share=0.00123, share_allowed=budget)
        self.noise = SimpleNamespace(
            level=Level.BLAME, costs=lambda: [Cost("switched", 2048, 2, 300)]
        )
        self.waits: Any = None
        self.began: list[Finding] = []
        self.ended: list[Finding] = []
        self.findings: list[Finding] = []
        self.changed_level = False
        self.closed = False
        self.looks = 0
        self.refuses = False

    def look(self, _: Snapshot) -> None:
        if self.refuses:
            raise KernelRefused("running collect was refused.")
        self.looks += 1
        self.waits = waits(self.looks, {API: waited(self.looks), BATCH: waited()})

    def report(self, windows: int) -> NoiseReport:
        return NoiseReport(1.0, float(windows), "blame", (), {}, (), (), None)

    def close(self) -> None:
        self.closed = True


class Host:
    """Opens fakes, and notes what was told."""

    def __init__(self) -> None:
        self.opened: list[FakeNeighbours] = []
        self.told: list[tuple[str, str]] = []
        self.refuses: NoBpf | None = None

    def open(self, _: Hierarchies, budget: float) -> Any:
        if self.refuses:
            raise self.refuses
        self.opened.append(FakeNeighbours(budget))
        return self.opened[-1]

    def hearing(self, **settings: Any) -> Hearing:
        def told(part: str, result: str, _: float) -> None:
            self.told.append((part, result))

        return Hearing(Settings(**settings), Hierarchies([]), told, self.open)


@pytest.fixture
def host() -> Host:
    return Host()


NOW = snapshot()


def lines(hearing: Hearing) -> dict[str, str]:
    got = read(hearing.sheet.render().removeprefix(b"\n") + b"\n")
    return {line.name: line.value for line in got.lines}


def test_it_says_that_it_is_open_and_at_what_level(host):
    hearing = host.hearing(noise_budget=2.0)
    assert host.told == [("noise", "blame level")]
    assert host.opened[0].budget.share_allowed == 0.02
    hearing.close()
    assert host.opened[0].closed and hearing.due == math.inf
    hearing.look(NOW)
    assert host.opened[0].looks == 0


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"noise": False}, None, "off, as the configuration says"),
        ({"tier": "files"}, None, "off, as tier = files wants no program loaded"),
        ({}, NoBpf("This kernel has no BTF.", "cotenant check"), "off: This kernel has no BTF"),
    ],
)
def test_where_it_cannot_be_it_says_why_and_goes_on_without(host, settings, error, words):
    host.refuses = error
    hearing = host.hearing(**settings)
    assert host.told == [("noise", words)]
    assert host.opened == [] and hearing.costs() == []
    hearing.look(NOW)
    assert lines(hearing) == {"cotenant_noise_level": "0"}
    with pytest.raises(HostCannot) as refused:
        hearing.report()
    assert str(refused.value) == f"The agent's noise sense is {words}."
    assert refused.value.hint
    hearing.close()


def test_findings_are_told_as_they_begin_and_end(host, caplog):
    caplog.set_level(logging.INFO, LOG)
    hearing = host.hearing()
    one = host.opened[0]
    one.began = one.findings = [finding()]
    hearing.look(NOW)
    one.began = []
    hearing.look(NOW)
    one.findings, one.ended = [], [msgspec.structs.replace(finding(), ended_ns=12 * SECOND)]
    hearing.look(NOW)
    first, last = caplog.messages
    assert first.startswith("noise: api waited 1.0 s in the last 10 s (p99 2.0 ms")
    assert "100 % batch" in first
    assert last == "noise: over: api is no longer delayed by batch, after 12 s"
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_two_at_once_are_both_told_and_a_storm_is_counted(host, caplog):
    hearing = host.hearing()
    one = host.opened[0]
    one.began = [finding(), finding(BATCH, (API, SECOND))]
    hearing.look(NOW)
    assert [message.split()[1] for message in caplog.messages] == ["api", "batch"]
    caplog.clear()
    one.began = [finding()] * 50
    hearing.look(NOW)
    assert len(caplog.messages) == FINDINGS_A_MINUTE - 2
    caplog.clear()
    one.began = []
    for _ in range(60):
        hearing.look(NOW)
    assert caplog.messages == ["noise: 22 more findings began or ended"]
    one.began = [finding()]
    hearing.look(NOW)
    assert caplog.messages[-1].startswith("noise: api waited")


def test_a_hostile_name_cannot_forge_arguments(host, caplog):
    hearing = host.hearing()
    host.opened[0].began = [finding(msgspec.structs.replace(API, name="50%s%d"))]
    hearing.look(NOW)
    assert "50%s%d waited" in caplog.messages[0]


def test_a_level_that_changed_is_told_with_its_price(host, caplog):
    hearing = host.hearing()
    one = host.opened[0]
    one.changed_level, one.noise.level, one.budget.share = True, Level.HISTOGRAM, 0.0061
    hearing.look(NOW)
    assert caplog.messages == [
        "noise: level histogram: its programs take 0.61 % of the host's CPU time, 0.5 % are allowed"
    ]


def test_a_look_that_fails_is_said_and_the_next_comes_all_the_same(host, caplog):
    hearing = host.hearing()
    one = host.opened[0]
    one.refuses, due = True, hearing.due
    hearing.look(NOW)
    assert caplog.messages == ["noise: a look failed: running collect was refused."]
    assert hearing.due > due
    one.refuses = False
    hearing.look(NOW)
    assert one.looks == 1


def test_what_was_seen_is_on_the_page_with_its_cost(host):
    hearing = host.hearing()
    host.opened[0].began = host.opened[0].findings = [finding()]
    hearing.look(NOW)
    hearing.look(NOW)
    got = lines(hearing)
    assert got["cotenant_noise_level"] == "3"
    assert got["cotenant_noise_looks_total"] == "2"
    assert float(got["cotenant_noise_look_seconds_total"]) > 0
    assert got["cotenant_noise_host_cpu_ratio"] == "0.001230000"
    assert got["cotenant_noise_finding"] == "1"
    assert hearing.costs() == [Cost("switched", 2048, 2, 300)]


@pytest.mark.parametrize("windows", [0, 11, -1, "x", None, 2.5])
def test_a_report_is_of_the_windows_that_are_kept(host, windows):
    hearing = host.hearing()
    assert hearing.report().seconds == 10.0
    assert hearing.report(3).seconds == 3.0
    with pytest.raises(ValueError, match="a whole number from 1 to 10"):
        hearing.report(windows)


def test_settings_are_taken_over_at_once(host):
    hearing = host.hearing()
    hearing.look(NOW)
    hearing.configure(Settings(noise_budget=1.5, noise_blame_pairs=7))
    assert host.opened[0].budget.share_allowed == 0.015
    assert hearing.sheet.pairs.most == 7
    hearing.configure(Settings(noise=False))
    assert host.opened[0].closed and hearing.due == math.inf
    assert lines(hearing) == {"cotenant_noise_level": "0"}
    hearing.configure(Settings(noise=True, noise_budget=3.0))
    assert len(host.opened) == 2 and hearing.due < math.inf
    assert host.opened[1].budget.share_allowed == 0.03
    assert [words for _, words in host.told] == [
        "blame level", "off, as the configuration says", "blame level",
    ]  # fmt: skip


def test_windows_last_a_second_whatever_the_pace(host):
    hearing = host.hearing()
    for late in (0.0, 0.2, 100.0):  # when nobody came for long, no windows are made up for
        hearing.due -= late
        before = time.monotonic()
        hearing.look(NOW)
        assert before + 1.0 <= hearing.due <= time.monotonic() + 1.0


def test_names_are_those_of_now(host):
    hearing = host.hearing()
    one = host.opened[0]
    renamed: Tenant = msgspec.structs.replace(API, name="shop")
    hearing.look(NOW)
    one.look = lambda _: setattr(one, "waits", waits(9, {renamed: waited(9)}))
    hearing.look(NOW)
    assert b'tenant="shop"' in hearing.sheet.render()
