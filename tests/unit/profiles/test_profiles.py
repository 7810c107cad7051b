"""The agent's hand over profiles: kept, sent, handed out; and what Go programs are asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.unit.profiles.made import MAIN, POD, WEB, profile, read
from tests.unit.profiles.servers import serving
from tests.unit.profiles.test_pushes import until

from cotenant.agent import profiles
from cotenant.agent.profiles import MOST_WAITING, Profiles
from cotenant.config.profile import Profiling, PullTarget, PushTarget
from cotenant.errors import HostCannot, UnknownTenant
from cotenant.model import Profile, Tenant
from cotenant.tenants import select

NOW = time.time()


@contextmanager
def hand(place: Path, **more) -> Iterator[Profiles]:
    made = Profiles(Profiling(**({"directory": str(place / "p")} | more)), "n")
    try:
        yield made
    finally:
        made.close()


def known(word: str) -> list[Tenant]:
    return select.find(word, [WEB, POD])


def test_a_window_is_kept_sent_and_handed_out(tmp_path):
    with serving() as server:
        push = PushTarget(url=server.url, name="here")
        with hand(tmp_path, push=(push,)) as made:
            made.take(profile(from_s=NOW - 15))
            server.wait()
            until(lambda: read(made.query(None, NOW - 60, NOW, "cpu")) == read(profile()))
            until(lambda: b'outcome="sent"} 2\n' in made.lines() + b"\n")
            found = made.query("aaaa", NOW - 60, NOW, "cpu", known)
            assert list(read(found)) == ["web"]
            assert list(read(made.query("shop/*", NOW - 60, NOW, "cpu", known))) == [POD.name]
            page = made.lines()
    assert b'\ncotenant_profile_pushed_total{target="here",outcome="sent"} 2' in page
    assert b"\ncotenant_profile_windows 1\n" in page
    assert b"cotenant_profile_pulled" not in page


def test_one_who_was_idle_has_an_empty_profile_and_a_stranger_none(tmp_path):
    with hand(tmp_path) as made:
        made.take(profile({WEB: {(MAIN,): 1}}, from_s=NOW - 15))
        until(lambda: bool(made.query(None, NOW - 60, NOW, "cpu").stacks))
        assert made.query(POD.name, NOW - 60, NOW, "cpu", known).stacks == ()
        with pytest.raises(UnknownTenant):
            made.query("nobody", NOW - 60, NOW, "cpu", known)


def test_an_agent_that_keeps_nothing_says_so(tmp_path):
    with hand(tmp_path, keep_s=0.0) as made:
        made.take(profile(from_s=NOW))
        with pytest.raises(HostCannot, match="keeps no profiles"):
            made.query(None, NOW, NOW, "cpu")
    assert not (tmp_path / "p").exists()


def test_what_waits_is_written_before_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(profiles, "GOODBYE_S", 60.0)
    with hand(tmp_path) as made:
        add = made._store.add

        def slow(one: Profile) -> bool:
            time.sleep(0.05)
            return add(one)

        monkeypatch.setattr(made._store, "add", slow)
        for number in range(MOST_WAITING):
            made.take(profile(from_s=NOW + number))
    assert len(list((tmp_path / "p").iterdir())) + made._missed == MOST_WAITING


def test_a_full_disk_is_said_and_counted_and_the_next_window_comes(tmp_path, caplog):
    (tmp_path / "p").write_text("in the way")
    with hand(tmp_path) as made:
        made.take(profile(from_s=NOW))
        until(lambda: b"\ncotenant_profile_keep_failed_total 1\n" in made.lines())
        (tmp_path / "p").unlink()
        made.take(profile(from_s=NOW))
        until(lambda: b"\ncotenant_profile_windows 1\n" in made.lines())
    assert "a window was not written" in caplog.text


def test_settings_are_taken_over_while_it_runs(tmp_path):
    with serving() as server, hand(tmp_path) as made:
        made.take(profile(from_s=NOW))
        assert b"pushed_total" not in made.lines()
        target = PushTarget(url=server.url)
        here = Profiling(directory=str(tmp_path / "other"), push=(target,))
        made.configure(here)
        made.take(profile(from_s=NOW))
        server.wait()
        until(lambda: (tmp_path / "other").exists())
        made.configure(replace(here, enabled=False))
        assert b"pushed_total" not in made.lines()


# --- whom to ask, by labels and configuration


def questions(tenant: Tenant, **more) -> dict[str, tuple[int, str]]:
    from cotenant.agent.pulls import Pulls

    pulls = Pulls(Profiling(**more), lambda _: None)
    return {word: (port, path) for _, port, path, word in pulls._questions([tenant])}


APART = replace(WEB, netns=4026532000, main_pid=4711)
USUAL = {word: (6060, "/debug/pprof") for word in ("cpu", "heap", "goroutine")}
SCRAPE = {"profiles.grafana.com/cpu.scrape": "true", "profiles.grafana.com/cpu.port": "8080"}


@pytest.mark.parametrize(
    ("labels", "asked"),
    [
        ({}, {}),
        ({"cotenant.io/pprof-port": "6060"}, USUAL),
        ({"annotation.cotenant.io/pprof-port": "6060"}, USUAL),
        (
            {"cotenant.io/pprof-port": "1", "cotenant.io/pprof-types": "mutex, block",
             "cotenant.io/pprof-path": "/x"},
            {"mutex": (1, "/x"), "block": (1, "/x")},
        ),
        ({"cotenant.io/pprof-port": "0"}, {}),
        ({"cotenant.io/pprof-port": "65536"}, {}),
        ({"cotenant.io/pprof-port": "٣"}, {}),
        ({"cotenant.io/pprof-port": "1", "cotenant.io/pprof-types": "trace"}, {}),
        ({"cotenant.io/pprof-port": "1", "cotenant.io/pprof-path": "/ HTTP/1.0\r\nX: y"}, {}),
        ({"cotenant.io/pprof-port": "1", "cotenant.io/pprof-path": "@elsewhere/"}, {}),
        (SCRAPE, {"cpu": (8080, "/debug/pprof")}),
        (SCRAPE | {"profiles.grafana.com/cpu.scrape": "false"}, {}),
        (
            {"profiles.grafana.com/memory.scrape": "true",
             "profiles.grafana.com/memory.port": "9"},
            {"heap": (9, "/debug/pprof"), "allocs": (9, "/debug/pprof")},
        ),
        ({"profiles.grafana.com/cpu.scrape": "true"}, {}),
    ],
)  # fmt: skip
def test_labels_say_whom_to_ask(labels, asked):
    assert questions(replace(APART, labels=labels)) == asked
    assert questions(replace(APART, labels=labels), pull_by_label=False) == {}


def test_a_tenant_in_the_hosts_network_cannot_ask_for_it_itself():
    asks = replace(APART, netns=None, labels={"cotenant.io/pprof-port": "6060"})
    assert questions(asks) == {}
    target = PullTarget(tenant="w*", port=7, types=("heap",))
    assert questions(asks, pull=(target,)) == {"heap": (7, "/debug/pprof")}


def test_the_configuration_stands_over_labels():
    asks = replace(APART, labels={"cotenant.io/pprof-port": "6060"})
    target = PullTarget(tenant="web", port=7, path="/p", types=("cpu",))
    assert questions(asks, pull=(target,)) == USUAL | {"cpu": (7, "/p")}
    assert questions(asks, pull=(replace(target, tenant="api"),)) == USUAL
