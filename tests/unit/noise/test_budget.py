"""The budget: steps down when the programs cost too much, up again when there is room."""

from __future__ import annotations

import pytest

from cotenant.kernel.cost import Cost
from cotenant.noise.budget import OVER, UNDER, Budget
from cotenant.noise.programs import Level


class Meter:
    """Costs that rise by a share of two CPUs each second."""

    def __init__(self) -> None:
        self.budget = Budget(cpus=2)
        self.runs = self.timed = self.ns = 0
        self.budget.judge(self.costs(), 1.0)

    def costs(self) -> list[Cost]:
        return [Cost("switched", self.runs, self.timed, self.ns)]

    def spend(self, share: float, windows: int = 1) -> Level:
        level = self.budget.level
        for _ in range(windows):
            self.runs += 102_400
            self.timed += 100
            self.ns += round(share * 2e9 / 1024)
            level = self.budget.judge(self.costs(), 1.0)
        return level


def test_the_first_look_knows_no_share() -> None:
    meter = Meter()
    assert (meter.budget.share, meter.budget.level) == (None, Level.BLAME)
    meter.spend(0.004)
    assert meter.budget.share == pytest.approx(0.004, abs=1e-4)


def test_past_the_budget_blame_goes_first_and_then_the_histogram() -> None:
    meter = Meter()
    assert meter.spend(0.01, OVER - 1) is Level.BLAME
    assert meter.spend(0.01) is Level.HISTOGRAM
    assert meter.spend(0.01, OVER) is Level.COUNT
    assert meter.spend(0.01, 10 * OVER) is Level.COUNT, "there is no less"


def test_a_single_dear_window_changes_nothing() -> None:
    meter = Meter()
    for _ in range(10):
        assert meter.spend(0.01, OVER - 1) is Level.BLAME
        assert meter.spend(0.004) is Level.BLAME


def test_with_room_to_spare_it_comes_back_step_by_step() -> None:
    meter = Meter()
    meter.spend(0.01, 2 * OVER)
    assert meter.spend(0.002, UNDER - 1) is Level.COUNT
    assert meter.spend(0.002) is Level.HISTOGRAM
    assert meter.spend(0.002, UNDER) is Level.BLAME
    assert meter.spend(0.002, 2 * UNDER) is Level.BLAME


def test_just_within_the_budget_it_stays_where_it_is() -> None:
    meter = Meter()
    meter.spend(0.01, OVER)
    assert meter.spend(0.004, 3 * UNDER) is Level.HISTOGRAM
