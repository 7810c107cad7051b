"""Percentiles and rows of the slow-down; states take turns, and one that fails is told."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import pytest

from cotenant.bench import slowdown
from cotenant.errors import CotenantError


@pytest.mark.parametrize(("part", "value"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.0, 1.0)])
def test_a_percentile_is_a_value_that_was_there(part: float, value: float) -> None:
    assert slowdown.percentile([float(n) for n in range(100, 0, -1)], part) == value
    assert slowdown.percentile([7.0], part) == 7.0


def test_every_state_stands_against_off() -> None:
    taken = {"a load": {"off": [10.0, 20.0, 30.0], "noise": [11.0, 22.0, 60.0]}}
    off, noise = slowdown.rows(taken)
    assert (off["p50_us"], off["p99_us"], off["p50_times_off"]) == (20.0, 30.0, 1.0)
    assert (noise["state"], noise["p50_times_off"], noise["p99_times_off"]) == ("noise", 1.1, 2.0)
    assert noise["values"] == 3


def test_states_take_turns_and_one_that_fails_is_told_once() -> None:
    seen: list[str] = []
    told: list[str] = []

    @contextlib.contextmanager
    def state(name: str) -> Iterator[None]:
        if name == "agent":
            raise CotenantError("The agent does not come up.")
        seen.append(name)
        yield

    taken = slowdown.take_turns(
        {name: partial(state, name) for name in ("off", "noise", "agent")},
        lambda: {"load": [float(len(seen))]},
        2,
        lambda _done, _all: None,
        lambda name, error: told.append(f"{name}: {error}"),
    )
    assert seen == ["off", "noise", "off", "noise"]
    assert taken == {"load": {"off": [1.0, 3.0], "noise": [2.0, 4.0]}}
    assert told == ["agent: The agent does not come up."]


def test_off_may_not_fail() -> None:
    def turn() -> dict[str, list[float]]:
        raise CotenantError("perf fails.")

    with pytest.raises(CotenantError, match="perf fails"):
        slowdown.take_turns(
            {"off": contextlib.nullcontext}, turn, 1, lambda *_: None, lambda *_: None
        )
