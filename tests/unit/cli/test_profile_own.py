"""The verb's own sense: it steps when it is told to, and by its clock."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from cotenant.cli.profile_own import _Own


class Turned(_Own):
    """Without a kernel. Whoever polls is told once, as of perf's rings; steps are counted."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []
        self.steps = 0
        events: Any = SimpleNamespace(poll=self._poll)
        profiler: Any = SimpleNamespace(step=self._stepped, pause_s=1000.0, sampled=0, complete=0)
        self._events, self._profiler = events, profiler
        self._least_s, self._due, self._woken = 0.0, 0.0, False

    def _poll(self, _ms: float) -> list[tuple[int, int]]:
        told, self.told = self.told, []
        return told

    def _stepped(self) -> None:
        self.steps += 1


def test_what_woke_it_makes_it_step() -> None:
    turned = Turned()
    turned.step()
    assert turned.steps == 1, "its clock: it never did"
    turned.wait(0.001)
    turned.step()
    assert turned.steps == 1, "nothing came"
    turned.told = [(3, 1)]
    turned.wait(0.001)
    turned.step()
    turned.step()
    assert turned.steps == 2, "once for being told once, though that was while it waited"
