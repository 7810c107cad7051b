"""Rows and bars of `bench noise`."""

from __future__ import annotations

import pytest

from cotenant.bench import noise
from cotenant.bench.form import Result
from cotenant.bench.hooks import Ran, Turn
from cotenant.bench.noise import BLAME, HISTOGRAM, Plan
from cotenant.bench.peers import runqlat
from cotenant.bench.slowdown import Loads
from cotenant.errors import HostCannot


def turns(usecs: float, *ns: int) -> list[Turn]:
    """Two turns of a way with programs at a switch and, if so told, at a wake-up."""
    ran = [Ran(hook, 10, n * 10) for hook, n in zip(("sched_switch", "sched_wakeup"), ns)]  # noqa: B905
    return [Turn(usecs, ran, 4096)] * 2


def rows(**peers: tuple[int, int]) -> list[dict[str, str | int | float | None]]:
    ways = {
        "off": turns(4.0),
        "empty": turns(4.2, 40, 50),
        HISTOGRAM: turns(4.4, 140),
        BLAME: turns(4.8, 201),
    }
    return noise.rows(ways | {name: turns(6.0, *ns) for name, ns in peers.items()})


def test_every_way_has_its_cost_and_what_users_feel() -> None:
    off, empty, histogram, blame, bcc = rows(bcc=(200, 190))
    assert (off["net_ns"], off["us_per_round"], off["slower_percent"]) == (None, 4.0, None)
    assert (empty["net_ns"], empty["slower_percent"]) == (None, 5.0)
    assert (histogram["net_ns"], histogram["gross_ns"], histogram["times_ours"]) == (100, 140, 1)
    assert (blame["net_ns"], blame["slower_percent"], blame["map_kb"]) == (161, 20.0, 4.096)
    assert (bcc["net_ns"], bcc["at_switch_ns"], bcc["times_ours"]) == (300, 160, 3.0)


def test_bars_of_ours_and_of_each_peer_that_was_measured() -> None:
    result = Result("noise", {}, "")
    result.rows = [*rows(bcc=(200, 190), bpftrace=(90, 90)), {"part": "sense", "map_mb": 28.6}]
    noise._judge(result)
    assert [(b.peer, b.value, b.compare, b.bar, b.holds) for b in result.bars] == [
        (None, 100.0, "<=", 130.0, True),
        (None, 161.0, "<=", 160.0, False),
        ("bcc", 3.0, ">=", 1.0, True),
        ("bpftrace", 0.9, ">=", 1.0, False),
        (None, 28.6, "<=", noise.MOST_MEMORY_MB, True),
    ]


def test_without_a_row_there_is_no_bar() -> None:
    result = Result("noise", {}, "")
    noise._judge(result)
    assert result.bars == []


def test_a_peer_that_cannot_be_had_is_named_with_the_reason(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(runqlat, "CHECKOUT", tmp_path)
    with pytest.raises(HostCannot, match="from a checkout"):
        runqlat.Peer("bcc", lambda _: None)


def test_the_method_names_what_was_done() -> None:
    said = noise.method(Plan(rounds=7, slow_rounds=3, loads=Loads(0, 4, 500, 20, 1500)))
    assert "7 turns each" in said and "3 turns each of 4 runs" in said and "1.5 s" in said
