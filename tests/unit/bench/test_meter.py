"""Rows, ratios and bars of `bench meter`; what fails is told."""

from __future__ import annotations

import pytest

from cotenant.bench import meter, scale
from cotenant.bench.form import Result
from cotenant.bench.meter import Plan
from cotenant.bench.peers import cadvisor
from cotenant.bench.stage import stage
from cotenant.bench.turns import Times
from cotenant.cli import bench as verb
from cotenant.errors import HostCannot, UsageError


def result(**cpu_ms: float) -> Result:
    made = Result("meter", {}, "")
    made.rows = [
        meter._row(way.replace("_", "-"), Times([ms * 1e6] * 3, [ms * 1e6] * 3))
        for way, ms in cpu_ms.items()
    ]
    return made


def test_every_way_is_set_against_cotenant() -> None:
    made = result(bare=0.25, cotenant=1.0, files=19.0, cadvisor=60.0)
    meter._compare(made)
    assert [row["times_cotenants_cpu"] for row in made.rows] == [0.25, 1.0, 19.0, 60.0]
    assert [(b.peer, b.value, b.holds) for b in made.bars] == [
        ("bare", 4.0, True),
        ("files", 19.0, False),
        ("cadvisor", 60.0, True),
    ]


def test_a_peer_that_comes_later_adds_its_bar_alone() -> None:
    made = result(bare=0.25, cotenant=1.0)
    meter._compare(made)
    made.rows.append(meter._row("cadvisor-full", Times([1e9], [1e9])))
    meter._compare(made)
    assert [b.peer for b in made.bars] == ["bare", "cadvisor-full"]


def test_a_stage_that_fails_is_told_and_the_rest_goes_on() -> None:
    def build() -> None:
        raise HostCannot("There is no Go here.")

    made = Result("meter", {}, "")
    with stage("cadvisor", made):
        build()
    assert [(s.name, s.reason) for s in made.skipped] == [("cadvisor", "There is no Go here.")]


def test_outside_a_checkout_cadvisor_is_told_as_missing(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(cadvisor, "CHECKOUT", tmp_path)
    with pytest.raises(HostCannot, match="from a checkout"):
        cadvisor.measure(True, 1, 1, lambda _: None)


def test_the_method_names_how_many_turns() -> None:
    assert "7 turns each" in meter.method(Plan(rounds=7), "docker")


def test_flat_is_the_dearest_tenant_against_the_cheapest_up_to_1000() -> None:
    costs = {
        10: {"bare": 10e3, "cotenant": 30e3},
        1000: {"bare": 1e6, "cotenant": 2e6},
        5000: {"bare": 20e6, "cotenant": 40e6},
    }
    flat, many = scale._bars(costs)
    assert (flat.value, flat.holds) == (1.5, False)
    assert (many.value, many.peer, many.holds) == (2.0, "bare", True)


def test_on_the_file_tier_there_is_nothing_to_set_5000_against() -> None:
    assert (
        len(scale._bars({10: {"cotenant": 1.0}, 50: {"cotenant": 5.0}, 5000: {"cotenant": 1}})) == 1
    )


def test_words_that_name_no_peer_and_no_number_are_refused() -> None:
    assert verb._peers("files, docker", meter.PEERS) == ("files", "docker")
    assert verb._peers("none", meter.PEERS) == ()
    assert verb._steps("200,10") == (10, 200)
    with pytest.raises(UsageError, match="filez"):
        verb._peers("filez", meter.PEERS)
    with pytest.raises(UsageError, match="ten"):
        verb._steps("ten")
