from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.unit.cli.fakes import fake
from tests.unit.snapshots import make

from cotenant.cli import source
from cotenant.cli.source import Source, open_source, settings_for
from cotenant.config import Settings
from cotenant.errors import AgentSilent, NeedsRoot, UnknownTenant, UsageError
from cotenant.kernel.cgroupfs import Hierarchies, Hierarchy
from cotenant.web import control


class Status:
    pid, tier, complaints = 42, "iterator", ("Docker is slow.",)


@pytest.fixture
def agent(monkeypatch):
    """An agent whose newest snapshot is one second older than asked for."""
    seconds = iter([1, 1, 2, 3, 4])

    def ask(path, verb, **arguments):
        if verb is control.STATUS:
            return Status
        second = next(seconds)
        return control.Moment(make(12, second), make(12, second - 1))

    monkeypatch.setattr(control, "ask", ask)


def silent(*_, **__):
    raise AgentSilent("No agent.")


def test_the_agent_is_asked_first_and_named(agent, capsys):
    found = open_source(Settings())
    assert found.how == "from the agent (pid 42, iterator)"
    told = capsys.readouterr()
    assert told.err == "cotenant: Docker is slow.\ncotenant: from the agent (pid 42, iterator)\n"
    assert told.out == ""


def test_the_agents_first_reading_has_rates_at_once(agent):
    found = open_source(Settings())
    first = found.read()
    assert first.whole.seconds == 1.0
    again = found.read()  # the agent has nothing new
    assert again.whole.cpu_cores == first.whole.cpu_cores
    assert found.read().whole.seconds == 1.0


def test_rates_do_not_mix_two_agents():
    """A new agent numbers tenants anew: its keys mean others."""
    other = make(12, 5, names=[f"other-{index}" for index in range(12)])
    moved = [
        replace(s, tenant=replace(s.tenant, path=f"/new{s.tenant.path}")) for s in other.samples
    ]
    other = replace(other, samples=tuple(moved))
    pairs = iter([(make(12, 1), make(12, 0)), (other, None)])
    found = Source(lambda: next(pairs), "")
    assert found.read().whole.seconds == 1.0
    assert found.read().whole.seconds is None


def test_without_an_agent_it_senses_itself(monkeypatch, capsys):
    class Watch:
        class meter:
            tier = "files"

        class registry:
            complaints = ()

        def __init__(self, settings, *, once):
            assert not once
            self.closed = False

        def snapshot(self):
            return make(3)

        def close(self):
            self.closed = True

    monkeypatch.setattr(control, "ask", silent)
    monkeypatch.setattr("cotenant.agent.Watch", Watch)
    found = open_source(Settings())
    assert capsys.readouterr().err == "cotenant: sensed by itself (files)\n"
    assert found.read().whole.seconds is None
    assert len(found.snapshot().samples) == 3
    found.close()


def test_what_an_agent_refuses_is_told_before_sensing(monkeypatch, capsys, tmp_path):
    def refuse(*_):
        raise NeedsRoot("Not you.", "sudo")

    monkeypatch.setattr(control, "ask", silent)
    monkeypatch.setattr(source, "_watch", refuse)
    with pytest.raises(NeedsRoot):
        open_source(Settings(socket=str(tmp_path)))
    assert capsys.readouterr().err == "cotenant: No agent.\n"


def test_a_name_for_once_does_not_ask_the_agent(agent, monkeypatch):
    monkeypatch.setattr(source, "_watch", lambda settings, choice, once, waits: fake(1))
    assert open_source(Settings(), alone=True).read().snapshot.samples


def test_only_the_tenants_that_are_meant():
    choice = source.chooser(["web-*", "api-1"], Settings())
    found = Source(lambda: (make(12, 1), make(12, 0)), "", choice=choice)
    assert [s.tenant.name for s in found.snapshot().samples] == ["web-0", "api-1", "web-10"]
    reading = found.read()
    assert [usage.tenant.name for usage in reading.usages] == ["web-0", "api-1", "web-10"]
    assert (reading.whole.cpu_cores or 0) > sum(u.cpu_cores or 0 for u in reading.usages)


def test_a_path_with_the_mount_in_front_is_meant_too(monkeypatch):
    trees = Hierarchies([Hierarchy(3, 1, Path("/cg/cpu"), frozenset(["cpu"]))])
    monkeypatch.setattr("cotenant.kernel.cgroupfs.find", lambda _: trees)
    samples = make(12, 1).samples
    path = samples[1].tenant.path
    for word in (path, f"/cg/cpu{path}"):
        found = Source(lambda: (make(12, 1), None), "", choice=source.chooser([word], Settings()))
        assert [s.tenant.path for s in found.snapshot().samples] == [path]


def test_a_tenant_may_go_but_must_have_been_there():
    counts = iter([12, 6, 12])
    choice = source.chooser(["api-11"], Settings())
    found = Source(lambda: (make(next(counts), 1), None), "", choice=choice)
    assert len(found.snapshot().samples) == 1
    assert found.snapshot().samples == ()
    with pytest.raises(UnknownTenant):
        Source(lambda: (make(2), None), "", choice=source.chooser(["x"], Settings())).read()


def test_pid_and_as_go_together(tmp_path):
    with pytest.raises(UsageError):
        settings_for(None, 4711, None)
    settings, named = settings_for(None, 4711, "batch")
    assert named
    assert settings.tenants[-1].name == "batch"
