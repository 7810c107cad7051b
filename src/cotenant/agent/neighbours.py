"""The noise line in one hand: waits are collected, judged and kept within their budget.

`Neighbours` is to the noise sense what `Watch` is to the meter: the daemon and the verb that senses
by itself both turn it, once a second, and both show its reports.
"""

from __future__ import annotations

import time
from collections import deque

from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.model import Delay, Finding, NoiseLost, NoiseReport, Snapshot, Tenant, Waits
from cotenant.noise.blame import delays, fair_shares, merged
from cotenant.noise.budget import Budget
from cotenant.noise.programs import Level
from cotenant.noise.read import Noise
from cotenant.noise.verdict import SPAN, Judge

ENDED_KEPT = 20


class Neighbours:
    """Senses who makes whom wait: `look()` once a second, then `close()`.

    `budget` is the share of the host's CPU time that its programs may take. `waits` holds the
    newest counters, `began` and `ended` the findings that did so in the last look, `changed_level`
    says whether the budget moved the level in it. Raises NoBpf where the kernel lacks or refuses
    what it takes.
    """

    def __init__(self, hierarchies: Hierarchies, *, budget: float) -> None:
        self.noise = Noise(hierarchies, Level.BLAME)
        self.budget = Budget(self.noise.cpus, budget)
        self.waits: Waits | None = None
        self.began: list[Finding] = []
        self.ended: list[Finding] = []
        self.changed_level = False
        self._tenants: tuple[Tenant, ...] = ()
        self._judge = Judge()
        self._windows: deque[list[Delay]] = deque(maxlen=SPAN)
        self._shares: dict[int, int | None] = {}
        self._over: deque[Finding] = deque(maxlen=ENDED_KEPT)

    def look(self, snapshot: Snapshot) -> None:
        """Takes in what everybody waited since the last look; `snapshot` tells who lives here."""
        tenants = tuple([sample.tenant for sample in snapshot.samples])
        if tenants != self._tenants:  # the same tuple tells that nobody came, went or was named
            self._tenants = tenants
        self._shares = {
            s.tenant.key: s.throttle.shares if s.throttle else None for s in snapshot.samples
        }
        before, self.waits = self.waits, self.noise.collect(self._tenants)
        if before is None:
            return
        window = delays(self.waits, before)
        self._windows.append(window)
        self.began, self.ended = self._judge.judge(window, self.waits.at_ns)
        self._over.extend(self.ended)
        seconds = (self.waits.at_ns - before.at_ns) / 1e9
        level = self.budget.judge(self.noise.costs(), seconds)
        self.changed_level = level != self.noise.level
        if self.changed_level:
            self.noise.set_level(level)

    @property
    def findings(self) -> list[Finding]:
        """What goes on now."""
        return self._judge.findings

    def report(self, windows: int = SPAN) -> NoiseReport:
        """What was seen in the last so many looks."""
        seen = list(self._windows)[-windows:]
        by_key: dict[int, list[Delay]] = {}
        for window in seen:
            for delay in window:
                by_key.setdefault(delay.tenant.key, []).append(delay)
        joined = [merged(parts) for parts in by_key.values()]
        joined.sort(key=lambda delay: -delay.share("tenant") * delay.waited_ns)
        fair = fair_shares(joined, self._shares)
        return NoiseReport(
            unix_s=time.time(),
            seconds=sum(window[0].seconds for window in seen if window),
            level=self.noise.level.name.lower(),
            delays=tuple(joined),
            fairness={d.tenant.key: d.ran_ns / fair[d.tenant.key] for d in joined
                      if fair.get(d.tenant.key)},
            findings=tuple(self.findings),
            ended=tuple(self._over),
            host_share=self.budget.share,
            lost=self.waits.lost if self.waits else NoiseLost(),
        )  # fmt: skip

    def close(self) -> None:
        """Detaches every program and frees every map."""
        self.noise.close()
