"""Ways take turns."""

from __future__ import annotations

import os
import time

import pytest

from cotenant.bench import turns
from cotenant.bench.turns import Own, cpu_of, take_turns


class Counted:
    """A way that notes its turns and needs so many ns of CPU each time."""

    def __init__(self, name: str, order: list[str], ns: int) -> None:
        self.name = name
        self._order, self._ns, self._used = order, ns, 0

    def once(self) -> None:
        self._order.append(self.name)
        self._used += self._ns

    def cpu_ns(self) -> int:
        return self._used


def test_ways_take_turns_and_each_round_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "BATCH_NS", 0)
    order: list[str] = []
    told: list[tuple[int, int]] = []
    ways = [Counted("a", order, 5), Counted("b", order, 7)]
    times = take_turns(ways, 3, lambda done, total: told.append((done, total)))
    assert order[-6:] == ["a", "b", "a", "b", "a", "b"]
    assert times["a"].cpu_ns == [5, 5, 5]
    assert times["b"].cpu_ns == [7, 7, 7]
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_batch_is_shared_out_among_its_times() -> None:
    order: list[str] = []
    times = take_turns([Counted("a", order, 5)], 2, lambda _done, _total: None)
    assert len(order) > 100
    assert times["a"].cpu_ns == [5, 5]


def test_own_time_is_the_process_and_so_is_the_clock_of_its_pid() -> None:
    way = Own("busy", lambda: sum(range(20_000)))
    before = way.cpu_ns()
    way.once()
    assert way.cpu_ns() > before
    least = time.process_time_ns()
    told = cpu_of(os.getpid())
    assert least - 5_000_000 <= told <= time.process_time_ns() + 5_000_000
