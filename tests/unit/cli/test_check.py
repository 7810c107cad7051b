"""`cotenant check`: every finding on the screen and in JSON, and the exit code for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from cotenant.errors import NoBpf
from cotenant.kernel.cgroupfs import Hierarchies, Hierarchy
from cotenant.kernel.support import Finding, State
from cotenant.meter.coverage import Coverage

main = import_module("cotenant.cli.main").main
check = import_module("cotenant.cli.check")

FOUND = [
    Finding("kernel", State.OK, "Linux 6.18", "never shown", "nor this"),
    Finding("cgroups", State.DEGRADED, "v1 alone", "no packets", "mount -t cgroup2 none /x"),
    Finding("libbpf", State.MISSING, "cannot be loaded", "files are read", "apt-get install"),
    Finding("pressure", State.UNKNOWN, "may not be read", "who knows", "sudo cotenant check"),
]
EVERYTHING = Coverage(5, True, True, True, False, True)
NOTHING = Coverage(5, False, False, False, False, False)
V2 = Hierarchies([Hierarchy(0, 2, Path("/x"), frozenset({"cpu"}))])


class FakeMeter:
    """A meter that opened as told; `closed` counts."""

    closed = 0
    why: NoBpf | None = None
    covers = EVERYTHING

    def __init__(self, *_: object, **__: object) -> None:
        self.why_files = self.why
        self.tier = "files" if self.why else "iterator"

    def coverage(self) -> Coverage:
        return self.covers

    def close(self) -> None:
        FakeMeter.closed += 1


class FakeSamples:
    """A profile sense that opened as told."""

    programs = SimpleNamespace(memory_bytes=21_000_000)
    why: NoBpf | None = None

    def __init__(self, *_: object, **__: object) -> None:
        if self.why:
            raise self.why

    def start(self) -> None:
        """It samples."""

    def close(self) -> None:
        FakeMeter.closed += 1


class FakeNoise:
    """A noise sense that opened as told."""

    memory_bytes = 28_600_000
    why: NoBpf | None = None

    def __init__(self, *_: object) -> None:
        if self.why:
            raise self.why

    def __enter__(self) -> FakeNoise:
        return self

    def __exit__(self, *_: object) -> None:
        FakeMeter.closed += 1


@pytest.fixture
def host(monkeypatch) -> Callable[..., None]:
    """Sets what is found: trees, findings, the meter that opens."""

    def set_up(
        found: list[Finding] = FOUND,
        *,
        trees: Hierarchies = V2,
        why: NoBpf | None = None,
        covers: Coverage = EVERYTHING,
    ) -> None:
        monkeypatch.setattr(check.cgroupfs, "find", lambda _: trees)
        monkeypatch.setattr(check, "findings", lambda _: list(found))
        monkeypatch.setattr(check, "sockets", lambda *_: [])
        monkeypatch.setattr(check, "settings_for", lambda *_: (
            SimpleNamespace(host_root="/", docker_sockets=[]), False))  # fmt: skip
        monkeypatch.setattr(check, "Meter", FakeMeter)
        monkeypatch.setattr(check, "Noise", FakeNoise)
        monkeypatch.setattr(FakeMeter, "why", why)
        monkeypatch.setattr(check, "Samples", FakeSamples)
        monkeypatch.setattr(FakeNoise, "why", why)
        monkeypatch.setattr(FakeSamples, "why", why)
        monkeypatch.setattr(FakeMeter, "covers", covers)
        monkeypatch.setattr(FakeMeter, "closed", 0)

    return set_up


def test_all_that_was_found_is_on_the_screen(host, capsys):
    host()
    assert main(["check"]) == 0
    out, err = capsys.readouterr()
    for finding in FOUND:
        assert finding.what in out and finding.found in out
    assert "cotenant: meters this host through the iterator tier\n" in err
    assert FakeMeter.closed == 3, "every program is let go of again"


def test_only_what_does_not_stand_well_tells_its_cost_and_its_remedy(host, capsys):
    host()
    main(["check"])
    out = capsys.readouterr().out
    assert "never shown" not in out and "nor this" not in out
    for finding in FOUND[1:]:
        assert f"costs: {finding.costs}" in out and f"do: {finding.do}" in out


def test_each_state_has_a_mark_of_its_own(host, capsys):
    host()
    main(["check"])
    lines = capsys.readouterr().out.splitlines()
    marks = [line.split()[0] for line in lines if line.split()[1:2] in [[f.what] for f in FOUND]]
    assert marks == ["✓", "~", "✗", "?"]
    assert set(check.MARKS) == set(State)


@pytest.mark.parametrize("hostile", ["[bold]x[/bold]", "[/]", "a\nb"])
def test_what_is_found_is_no_markup(host, capsys, hostile):
    host([Finding("cgroups", State.DEGRADED, hostile, hostile, hostile)])
    assert main(["check"]) == 0
    out = capsys.readouterr().out
    assert hostile.partition("\n")[0] in out


def test_json_is_one_object_that_holds_all(host, capsys):
    host()
    assert main(["check", "--json"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["tier"] == "iterator"
    assert told["findings"][: len(FOUND)] == [
        {"what": f.what, "state": f.state, "found": f.found, "costs": f.costs, "do": f.do}
        for f in FOUND
    ]
    assert {"program meter", "program received, sent"} <= {f["what"] for f in told["findings"]}
    assert err == ""


def states(capsys) -> dict[str, str]:
    return {f["what"]: f["state"] for f in json.loads(capsys.readouterr().out)["findings"]}


def test_every_program_that_came_up_is_well(host, capsys):
    host([])
    main(["check", "--json"])
    assert set(states(capsys).values()) == {"ok"}


def test_every_program_that_did_not_is_missing_with_its_cost(host, capsys):
    host([], covers=NOTHING)
    assert main(["check", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["findings"]
    for finding in told[1:-2]:  # the meter's, without those of noise and profile
        assert finding["state"] == "missing" and finding["costs"] and finding["do"], finding


def test_v2_hosts_need_no_program_for_block_devices(host, capsys):
    host([], covers=EVERYTHING._replace(blocks=False, devices=True))
    main(["check", "--json"])
    assert states(capsys)["program block_issued"] == "ok"


def test_ebpf_refused_says_why_once_and_is_no_failure(host, capsys):
    host(why=NoBpf("The kernel does not let this process use eBPF.", "sudo cotenant check"))
    assert main(["check"]) == 0
    out, err = capsys.readouterr()
    assert " ".join(out.split()).count("does not let this process use eBPF.") == 1
    assert "refused likewise" in out and "who makes whom wait is not told" in " ".join(out.split())
    assert "do: sudo cotenant check" in out
    assert "through the files tier" in err
    assert FakeMeter.closed == 1


@pytest.mark.parametrize("words", [["check"], ["--debug", "check"], ["check", "--debug"]])
def test_libbpf_s_own_words_are_told_to_who_asks_for_them(host, words, capsys):
    why = NoBpf("The kernel does not let this process use eBPF.", "cotenant --debug check")
    why.add_note("libbpf: unknown func")
    host(why=why)
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert "libbpf: unknown" not in out
    assert err.count("libbpf: unknown func\n") == ("--debug" in words)


@pytest.mark.parametrize("words", [["check"], ["check", "--json"]])
def test_a_host_that_cannot_be_metered_at_all_is_exit_code_3(host, words, capsys):
    host(trees=Hierarchies([]))
    assert main(words) == 3
    assert "meters this host" not in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--jsonn"], ["surplus"], ["--config"]])
def test_wrong_words_are_a_usage_error(words, capsys):
    assert main(["check", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ")


def test_a_configuration_that_is_not_there_is_told(capsys):
    assert main(["check", "--config", "/nowhere"]) == 2
    assert capsys.readouterr().err.startswith("error: There is no configuration file /nowhere.")
