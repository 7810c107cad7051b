"""The profiler's thread: what it does not begin any more."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from cotenant.agent import continuous
from cotenant.agent.continuous import Continuous
from cotenant.config import Settings
from cotenant.kernel.cgroupfs import Hierarchies


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
    one = Continuous(
        Settings(), Hierarchies([]), lambda profile: None, lambda part, what, s: told.append(what)
    )
    one.start()
    assert busy.at_work.wait(30)
    one.close()
    assert not busy.begun
    assert told == []
