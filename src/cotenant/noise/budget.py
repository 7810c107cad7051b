"""What the noise programs may cost: past it they do less, with room to spare they do more again."""

from __future__ import annotations

from collections.abc import Iterable

from cotenant.kernel.cost import Cost
from cotenant.noise.programs import Level

SHARE = 0.005
"""Of all the host's CPU time."""
OVER, UNDER = 3, 60
"""Windows in a row over the budget until less is done; at half of it or less until more is."""


class Budget:
    """Feed it the programs' costs after every window; it tells how much may be done."""

    def __init__(self, cpus: int, share: float = SHARE, level: Level = Level.BLAME) -> None:
        self._cpus = cpus
        self._most = level
        self._before: dict[str, Cost] = {}
        self._over = self._under = 0
        self.share_allowed = share
        self.level = level
        self.share: float | None = None
        """Of all CPU time, in the last window; None before the second."""

    def judge(self, costs: Iterable[Cost], seconds: float) -> Level:
        """The level for the next window, after one of `seconds` at whose end `costs` were read."""
        now = {cost.program: cost for cost in costs}
        if self._before and seconds > 0:
            ns = sum(self._spent(cost, self._before[name]) for name, cost in now.items())
            self.share = ns / (seconds * 1e9 * self._cpus)
            self._step(self.share)
        self._before = now
        return self.level

    def _spent(self, cost: Cost, before: Cost) -> float:
        """Nanoseconds of all runs, by the mean of those that were timed; of all ever if need be."""
        timed, ns = cost.timed - before.timed, cost.ns - before.ns
        if not timed:
            timed, ns = cost.timed, cost.ns
        return (cost.runs - before.runs) * ns / timed if timed else 0.0

    def _step(self, share: float) -> None:
        self._over = self._over + 1 if share > self.share_allowed else 0
        self._under = self._under + 1 if share <= self.share_allowed / 2 else 0
        if self._over >= OVER and self.level > Level.COUNT:
            self.level = Level(self.level - 1)
            self._over = 0
        elif self._under >= UNDER and self.level < self._most:
            self.level = Level(self.level + 1)
            self._under = 0
