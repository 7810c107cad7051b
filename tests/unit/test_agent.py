"""The agent's loop, with a watch that is made up: clock, doors, configuration, log, end."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.snapshots import make

from cotenant.agent.daemon import Agent
from cotenant.agent.log import ALWAYS, Limit, open_log
from cotenant.agent.pace import Idle, Pace
from cotenant.agent.reload import NEEDS_RESTART, changes
from cotenant.config import Settings, load, parse
from cotenant.errors import ConfigError, InUse, KernelRefused, UnknownTenant
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.model import Snapshot
from cotenant.web.control import RELOAD, SNAPSHOT, STATUS, TENANTS, ask
from cotenant.web.sockets import listen

# --- the clock


def test_the_clock_does_not_drift():
    pace = Pace(1.0, 100.0)
    for number in range(1000):
        pace.step(100.0 + number + 0.3)  # always a little late
    assert pace.due == 1100.0
    assert pace.late == 0


def test_late_samples_are_counted_and_missed_ones_left_out():
    pace = Pace(1.0, 0.0)
    pace.step(0.0)
    pace.step(1.6)  # due at 1
    assert (pace.late, pace.due) == (1, 2.0)
    pace.step(5.2)  # due at 2: taken late, and those of 3, 4 and 5 will never be
    assert (pace.late, pace.due) == (5, 6.0)


@given(st.lists(st.floats(0, 50), max_size=50), st.floats(0.1, 10))
def test_the_next_sample_is_never_due_in_the_past(delays, interval):
    pace = Pace(interval, 0.0)
    for delay in delays:
        now = pace.due + delay
        pace.step(now)
        assert now - 1e-6 <= pace.due <= now + interval + 1e-6


def test_a_shorter_interval_is_taken_over_at_once():
    pace = Pace(60.0, 0.0)
    pace.step(0.0)
    pace.set_interval(1.0)
    assert pace.due == 1.0
    pace.set_interval(10.0)
    assert pace.due == 1.0


def test_idle_counts_from_when_the_last_one_was_seen():
    idle = Idle(60.0, 0.0)
    assert not idle.is_over(59.0, anybody=False)
    assert not idle.is_over(100.0, anybody=True)
    assert not idle.is_over(159.0, anybody=False)
    assert idle.is_over(160.0, anybody=False)
    assert not Idle(None, 0.0).is_over(1e9, anybody=False)


# --- the log


@pytest.fixture
def quiet_logging(monkeypatch):
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions
    yield
    root.handlers[:], logging.raiseExceptions = before[0], before[2]
    root.setLevel(before[1])


def said(log_limit: Limit, message: str, *arguments: object, **extra: Any) -> str | None:
    record = logging.LogRecord("cotenant.x", logging.INFO, "", 0, message, arguments, None)
    record.__dict__.update(extra)
    return record.getMessage() if log_limit.filter(record) else None


def test_the_same_line_passes_once_a_minute_and_the_rest_are_counted():
    now = 0.0
    limit = Limit(lambda: now)
    assert said(limit, "refused %s: 100%% no", "a") == "refused a: 100% no"
    assert said(limit, "refused %s: 100%% no", "b") is None
    assert said(limit, "another") == "another"
    assert said(limit, "slot 5") == "slot 5"
    assert said(limit, "slot 6") is None
    assert said(limit, "refused %s: 100%% no", "c") is None
    assert said(limit, "refused %s: 100%% no", "c", **ALWAYS) == "refused c: 100% no"
    now = 61.0
    assert said(limit, "refused %s: 100%% no", "d") == "refused d: 100% no (2 more like it before)"


def test_what_was_held_back_is_told_in_the_end(caplog):
    now = 0.0
    limit = Limit(lambda: now)
    for _ in range(4):
        said(limit, "a storm of %d", 1)
    with caplog.at_level(logging.INFO, "cotenant"):
        limit.flush(logging.getLogger("cotenant.agent"))
        assert caplog.messages == []
        limit.flush(logging.getLogger("cotenant.agent"), all_of_them=True)
    assert caplog.messages == ["held back 3 lines like: a storm of %d"]


def test_a_storm_of_different_lines_does_not_grow_the_memory():
    limit = Limit(lambda: 0.0)
    for number in range(3000):
        said(limit, "line " + "x" * number)
    assert len(limit._passed) <= 512


def test_a_full_disk_stops_nothing(quiet_logging, monkeypatch):
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    open_log("info", "text")
    logging.getLogger("cotenant.agent").info("anything")


def test_log_lines_as_json_and_none_can_be_forged(quiet_logging, capsys):
    open_log("info", "json")
    logging.getLogger("cotenant.web.x").warning("name %s", "a\nb")
    open_log("info", "text")
    logging.getLogger("cotenant.web.x").warning("name %s", "a\n2026 INFO all is well\x1b[0m")
    first, second = capsys.readouterr().err.splitlines()
    line = json.loads(first)
    assert (line["level"], line["part"], line["message"]) == ("warning", "web.x", "name a\nb")
    assert second.endswith(r"WARNING name a\x0a2026 INFO all is well\x1b[0m")


# --- the configuration


def test_every_setting_takes_effect_at_once_or_is_said_to_need_a_restart():
    before = Settings()
    after = parse('interval_s = 2\ntier = "files"\n', "c.toml")
    assert changes(before, after) == (["interval_s"], ["tier"])
    assert set(NEEDS_RESTART) <= set(Settings.__struct_fields__)


# --- the loop


class FakeWatch:
    """A watch with made-up tenants. `script`: what to do at which sample."""

    def __init__(self, tenants: int = 3, script: dict[int, Callable[[], None]] | None = None):
        self.samples = 0
        self.closed = False
        self.configured: list[Settings] = []
        self.tenants = tenants
        self.script = script or {}
        self.hierarchies = Hierarchies([])
        self.meter = SimpleNamespace(
            why_files=None, tier="files", fileno=lambda: None, costs=lambda: []
        )
        self.registry = SimpleNamespace(
            tenants=tuple(s.tenant for s in make(tenants).samples), complaints=[], unknown=0,
            find=self._find,
        )  # fmt: skip

    def _find(self, word: str) -> list[Any]:
        found = [tenant for tenant in self.registry.tenants if tenant.name == word]
        if not found:
            raise UnknownTenant(f"No tenant answers to {word}.")
        return found

    def snapshot(self) -> Snapshot:
        self.samples += 1
        self.script.get(self.samples, lambda: None)()
        import msgspec

        return msgspec.structs.replace(make(self.tenants), at_ns=time.monotonic_ns())

    def follow(self) -> None:
        pass

    def departed(self) -> list[Any]:
        return []

    def configure(self, settings: Settings) -> None:
        self.configured.append(settings)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def place(tmp_path: Path, quiet_logging: None) -> Path:
    return tmp_path


def write(file: Path, text: str) -> None:
    """The configuration of an agent that leaves the real kernel alone, and in it `text`."""
    file.write_text(f"{text}\n[profile]\nenabled = false\n")


def agent_for(
    place: Path, watch: FakeWatch, text: str = "", **flags: object
) -> tuple[Agent, dict[str, Any]]:
    """An agent at 10 samples a second with its socket and its configuration in `place`."""
    file = place / "c.toml"
    write(file, text)
    given: dict[str, Any] = {
        "interval_s": 0.1,
        "socket": str(place / "run" / "a.sock"),
        "http": "127.0.0.1:0",
        "noise": False,
    } | flags
    settings = load(file, given)
    opened: Any = lambda settings, told: watch  # noqa: E731
    return Agent(settings, given, file, opened), given


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def end(agent: Agent) -> None:
    """At a sample: the next one is not due before the signal is taken, however long this takes."""
    agent._pace.due += 60
    terminate()


def in_thread(work: Callable[[], object], result: list[object]) -> None:
    """Does blocking work beside the loop, then ends the agent."""

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:
            result.append(error)
        finally:
            terminate()

    threading.Thread(target=run).start()


def test_it_samples_until_it_is_told_to_stop_and_leaves_nothing_behind(place, capsys):
    watch = FakeWatch(script={5: lambda: end(agent)})
    agent, _ = agent_for(place, watch)
    assert agent.run() == 0
    assert watch.samples == 5
    assert watch.closed
    assert list((place / "run").iterdir()) == []
    log = capsys.readouterr().err
    for part in ("control socket: ", "http: http://127.0.0.1:", "agent: ready in", "(SIGTERM)"):
        assert part in log


def test_it_ends_by_itself_when_no_container_has_been_here_for_long(place, capsys):
    watch = FakeWatch(tenants=0)
    agent, _ = agent_for(place, watch, exit_when_idle_s=0.4)
    began = time.monotonic()
    assert agent.run() == 0
    assert time.monotonic() - began >= 0.4
    assert watch.samples <= 8
    assert watch.samples + agent._pace.late >= 4, "each that was due was taken, or counted late"
    assert "no container for 0.4 s" in capsys.readouterr().err


def test_it_stays_as_long_as_a_container_is_here(place):
    watch = FakeWatch(tenants=3, script={9: lambda: end(agent)})
    agent, _ = agent_for(place, watch, exit_when_idle_s=0.2)
    assert agent.run() == 0
    assert watch.samples == 9


def test_the_other_verbs_are_answered(place):
    result: list[Any] = []
    socket = str(place / "run" / "a.sock")

    def talk() -> tuple[Any, ...]:
        everyone = ask(socket, TENANTS)
        with pytest.raises(UnknownTenant):
            ask(socket, TENANTS, match="nobody")
        one = ask(socket, TENANTS, match=everyone[0].name)
        return ask(socket, STATUS), ask(socket, SNAPSHOT), everyone, one

    watch = FakeWatch(script={3: lambda: in_thread(talk, result)})
    agent, _ = agent_for(place, watch)
    assert agent.run() == 0
    status, moment, everyone, one = result[0]
    assert (status.pid, status.tier, status.tenants) == (os.getpid(), "files", 3)
    assert status.samples >= 2 and status.resident_bytes > 1 << 20
    assert moment.before is not None and moment.before.at_ns < moment.now.at_ns
    assert len(moment.now.samples) == len(everyone) == 3
    assert [tenant.key for tenant in one] == [everyone[0].key]


def test_metrics_hold_the_agents_own_cost(place):
    with listen("127.0.0.1:0") as free:
        port = free.getsockname()[1]
    result: list[Any] = []

    def scrape() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
            return str(page.read(), "utf-8")

    watch = FakeWatch(script={3: lambda: in_thread(scrape, result)})
    agent, _ = agent_for(place, watch, http=f"127.0.0.1:{port}")
    assert agent.run() == 0
    for line in (
        "\ncotenant_agent_cpu_seconds_total ", "\ncotenant_agent_resident_bytes ",
        "\ncotenant_agent_scrapes_total 1\n", "\ncotenant_agent_config_problem 0\n",
        "\ncotenant_agent_collections_total ",
    ):  # fmt: skip
        assert line in result[0]
    assert "\n\n" not in result[0]


def test_a_changed_file_is_read_again_and_a_bad_one_is_not_taken_over(place, capsys):
    file = place / "c.toml"
    seen: list[Any] = []

    def look() -> None:
        seen.append((agent.settings.exit_when_idle_s, agent._tally.config_problem))

    watch = FakeWatch(
        script={
            2: lambda: write(file, "exit_when_idle_s = 500"),
            4: look,
            5: lambda: write(file, "exit_when_idle_z = 600"),
            7: look,
            8: lambda: write(file, "exit_when_idle_s = 700\nhttp = 'off'"),
            10: look,
            11: lambda: end(agent),
        }
    )
    agent, _ = agent_for(place, watch)
    assert agent.run() == 0
    assert watch.samples == 11
    good, bad, better = seen
    assert good == (500.0, None)
    assert bad[0] == 500.0 and 'the nearest is "exit_when_idle_s"' in bad[1]
    assert better == (700.0, None)
    log = capsys.readouterr().err
    assert "config: read again: changed exit_when_idle_s" in log
    assert "The settings before it stay in force" in log
    assert log.count("profile: ") == 1, "other settings than its own do not begin it anew"
    assert [one.exit_when_idle_s for one in watch.configured] == [500.0, 700.0]
    assert agent.settings.interval_s == 0.1  # the flag stands over the file


def test_sighup_reads_the_file_again_and_says_so(place, capsys):
    watch = FakeWatch(script={2: lambda: os.kill(os.getpid(), signal.SIGHUP), 4: terminate})
    agent, _ = agent_for(place, watch)
    assert agent.run() == 0
    assert "config: read again: nothing to change" in capsys.readouterr().err


def test_a_reload_that_is_asked_for_says_what_came_of_it(place):
    result: list[Any] = []
    file, socket = place / "c.toml", str(place / "run" / "a.sock")

    def talk() -> list[str]:
        answers = [ask(socket, RELOAD)]
        write(file, 'tier = "files"\nlog_level = "debug"')
        answers.append(ask(socket, RELOAD))
        write(file, "tier = 3")
        return [*answers, ask(socket, RELOAD), ask(socket, STATUS).config_problem or ""]

    watch = FakeWatch(script={2: lambda: in_thread(talk, result)})
    agent, _ = agent_for(place, watch)
    assert agent.run() == 0
    nothing, changed, wrong, problem = result[0]
    assert nothing == "nothing to change" or "changed" in nothing
    assert '"tier" takes one of' in wrong and '"tier" takes one of' in problem
    assert "log_level" in changed or changed == "nothing to change"  # the tick may be faster


def test_a_sample_that_fails_is_said_and_the_next_comes_all_the_same(place, capsys):
    def fail() -> None:
        raise KernelRefused("The iterator was refused.")

    watch = FakeWatch(script={3: fail, 6: terminate})
    agent, _ = agent_for(place, watch)
    assert agent.run() == 0
    assert agent._pace.late >= 1
    assert "a sample failed: The iterator was refused." in capsys.readouterr().err


def test_what_the_registry_complains_of_is_logged_once(place, capsys):
    watch = FakeWatch(script={20: terminate})
    watch.registry.complaints = ["Docker 100% silent."]
    agent, _ = agent_for(place, watch)
    agent.run()
    assert capsys.readouterr().err.count("tenants: Docker 100% silent.") == 1


def test_a_taken_port_stops_the_start_before_the_senses_are_opened(place, capsys):
    with listen("127.0.0.1:0") as taken:
        agent, _ = agent_for(place, FakeWatch(), http=f"127.0.0.1:{taken.getsockname()[1]}")
        agent._open_watch = lambda settings, told: pytest.fail("opened")
        with pytest.raises(InUse, match=rf"taken by .*\(pid {os.getpid()}\)"):
            agent.run()
    assert list((place / "run").iterdir()) == []


def test_a_watch_that_cannot_be_opened_leaves_no_socket_behind(place):
    agent, _ = agent_for(place, FakeWatch())

    def refuse(settings: Settings, told: object) -> Any:
        raise ConfigError("no")

    agent._open_watch = refuse
    with pytest.raises(ConfigError):
        agent.run()
    assert list((place / "run").iterdir()) == []
