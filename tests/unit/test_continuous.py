"""The profiler's thread: what it does not begin any more, and whom it asks before a window ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from cotenant.agent import continuous
from cotenant.agent.continuous import Continuous
from cotenant.config import Settings
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.model import Kind, Tenant


def continuous_of(told: list[str], settled: Callable[[], None] = lambda: None) -> Continuous:
    return Continuous(
        Settings(),
        Hierarchies([]),
        lambda profile: None,
        lambda part, what, s: told.append(what),
        settled,
    )


class Busy:
    """A profiler whose tables are never all made."""

    def __init__(self, *_: object) -> None:
        self.begun = False
        self.at_work = threading.Event()

    def __enter__(self) -> Busy:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def prepare(self) -> bool:
        self.at_work.set()
        return False

    def start(self) -> None:
        self.begun = True
        raise OSError("it began")


def test_who_is_told_to_end_while_tables_are_made_does_not_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy, told = Busy(), list[str]()
    made: Any = lambda *_: busy  # noqa: E731
    monkeypatch.setattr(continuous, "Profiler", made)
    one = continuous_of(told)
    one.start()
    assert busy.at_work.wait(30)
    one.close()
    assert not busy.begun
    assert told == []


class Ending:
    """A profiler that asks who lives here, once that is settled, and ends."""

    def __init__(
        self,
        _hierarchies: object,
        _wanted: object,
        present: Callable[[], Sequence[Tenant]],
        _cache: object,
        settled: Callable[[], None],
    ) -> None:
        self._present, self._settled = present, settled
        self.found: list[Tenant] = []

    def __enter__(self) -> Ending:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def prepare(self) -> bool:
        return True

    def start(self) -> None:
        self._settled()
        self.found += self._present()
        raise OSError("that was all")


def test_a_window_that_ends_has_told_who_is_here_by_then(monkeypatch: pytest.MonkeyPatch) -> None:
    early, late = Tenant(1, "a", Kind.CGROUP, "/a", {}), Tenant(2, "b", Kind.CGROUP, "/b", {})
    made: list[Ending] = []

    def make(*given: Any) -> Ending:
        made.append(Ending(*given))
        return made[0]

    def tell() -> None:
        one.follow([early], [late])
        asked.set()

    monkeypatch.setattr(continuous, "Profiler", make)
    one, asked = continuous_of([], tell), threading.Event()
    one.start()
    assert asked.wait(30)
    one.close()
    assert made[0].found == [late, early]


def test_whoever_is_told_to_end_asks_for_nobody() -> None:
    """Who would tell waits for the end."""
    asked: list[str] = []
    one = continuous_of([], lambda: asked.append("who is here"))
    one.close()
    one._settle()
    assert asked == []
