"""What a way costs per switch: netting, medians, and ways that fail."""

from __future__ import annotations

import contextlib

import pytest

from cotenant.bench import hooks
from cotenant.bench.hooks import Ran, Sense, Turn
from cotenant.errors import CotenantError, HostCannot
from cotenant.kernel.runs import Program

EMPTY = [Ran("sched_switch", 1000, 40_000), Ran("sched_wakeup", 500, 30_000)]


def test_an_empty_programs_charge_is_by_hook_and_a_hook_not_met_is_charged_as_a_switch() -> None:
    charge = hooks.charges([*EMPTY, Ran("sched_wakeup_new", 0, 0)])
    assert charge["sched_switch"] == 40.0
    assert charge["sched_wakeup"] == 60.0
    assert charge["sched_wakeup_new"] == charge["sched_migrate_task"] == 40.0


def test_one_program_is_let_off_one_empty_program_per_switch() -> None:
    cost = hooks.cost([Ran("sched_switch", 2000, 300_000)], hooks.charges(EMPTY))
    assert (cost.gross_ns, cost.net_ns, cost.switch_ns) == (150.0, 110.0, 110.0)


def test_two_programs_are_let_off_two_and_a_rare_one_counts_by_its_runs() -> None:
    ran = [
        Ran("sched_switch", 1000, 200_000),
        Ran("sched_wakeup", 1000, 160_000),
        Ran("sched_wakeup_new", 10, 1400),
    ]
    cost = hooks.cost(ran, hooks.charges(EMPTY))
    assert cost.switch_ns == 160.0
    assert cost.net_ns == pytest.approx(160 + 100 + 1)
    assert cost.gross_ns == pytest.approx(361.4)


def test_two_programs_at_one_hook_do_not_make_twice_the_switches() -> None:
    ran = [Ran("sched_switch", 1000, 100_000), Ran("sched_switch", 1000, 60_000)]
    assert hooks.cost(ran, hooks.charges(EMPTY)).net_ns == 80.0


def test_a_round_is_netted_with_its_own_empty_programs_and_the_median_is_told() -> None:
    def turn(ns: int) -> Turn:
        return Turn(5.0, [Ran("sched_switch", 10, ns * 10)])

    # in the slow second round both the way and the empty program cost twice as much
    cost = hooks.median_cost([turn(100), turn(200), turn(130)], [turn(50), turn(100), turn(50)])
    assert cost.net_ns == 80.0
    assert cost.gross_ns == 130.0


def test_programs_are_known_by_the_names_that_the_kernel_keeps() -> None:
    programs = [
        Program(1, "sched_wakeup_ne", 3, 30),
        Program(2, "switched", 5, 50),
        Program(3, "removed", 7, 70),
    ]
    assert hooks.hooked(programs) == [Ran("sched_wakeup_new", 3, 30), Ran("sched_switch", 5, 50)]


class Fails:
    name = "peer"
    tried = 0

    def attached(self) -> contextlib.AbstractContextManager[Sense]:
        self.tried += 1
        raise HostCannot("It does not come up.")


def test_a_way_that_fails_is_told_once_and_not_tried_again() -> None:
    told: list[tuple[str, CotenantError]] = []
    way = Fails()
    turns = hooks.take_turns(
        [way], 3, 0, 1, lambda _done, _all: None, lambda *told_: told.append(told_)
    )
    assert (turns, way.tried) == ({}, 1)
    assert [(name, str(error)) for name, error in told] == [("peer", "It does not come up.")]
