"""The noise sense inside the daemon: opened if wanted and possible, turned, told in the log."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from cotenant.agent.log import ALWAYS
from cotenant.agent.neighbours import Neighbours
from cotenant.config import Settings
from cotenant.errors import CotenantError, HostCannot
from cotenant.export.noise import Heard, Sheet
from cotenant.export.own import BpfCost
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.kernel.cost import Cost
from cotenant.model import Finding, NoiseReport, Snapshot
from cotenant.noise.verdict import SPAN
from cotenant.noise.words import sentence

PERIOD_S = 1.0
"""Length of a window: so often it is looked, whatever the pace of the samples."""
FINDINGS_A_MINUTE = 30
"""Lines about findings that begin or end; what is over is counted."""

log = logging.getLogger("cotenant.agent")

Open = Callable[[Hierarchies, float], Neighbours]


def _open(hierarchies: Hierarchies, budget: float) -> Neighbours:
    return Neighbours(hierarchies, budget=budget)


class Hearing:
    """Keeps a Neighbours open as the settings want it; goes on without where it cannot be.

    `told` hears of it as of any part: its name, what came of it. `sheet` is its part of the page.
    """

    def __init__(
        self,
        settings: Settings,
        hierarchies: Hierarchies,
        told: Callable[[str, str, float], None],
        open_: Open = _open,
    ) -> None:
        self._settings = settings
        self._hierarchies = hierarchies
        self._told = told
        self._open = open_
        self._neighbours: Neighbours | None = None
        self._why = ""
        self._hint: str | None = None
        self._lines = 0
        self._looks = 0
        self._look_ns = 0
        self._set_up()

    def _set_up(self) -> None:
        began, settings = time.monotonic(), self._settings
        self.due = math.inf
        """When the next look should be, on the monotonic clock, in seconds."""
        self.sheet = Sheet(
            keep_finals_s=settings.keep_finals_s, most_pairs=settings.noise_blame_pairs
        )
        if not settings.noise:
            self._refuse("off, as the configuration says", "set noise = true")
        elif settings.tier == "files":
            self._refuse("off, as tier = files wants no program loaded", 'set tier = "auto"')
        else:
            try:
                self._neighbours = self._open(self._hierarchies, settings.noise_budget / 100)
            except CotenantError as error:
                self._refuse(f"off: {str(error).rstrip('.')}", error.hint)
            else:
                self.due = began
                level = self._neighbours.noise.level.name.lower()
                self._told("noise", f"{level} level", time.monotonic() - began)

    def _refuse(self, why: str, hint: str | None) -> None:
        self._why, self._hint = why, hint
        self._told("noise", why, 0.0)

    # --- on the clock

    def look(self, snapshot: Snapshot) -> None:
        """One window is over. What goes wrong in it is said, and the next comes all the same."""
        found = self._neighbours
        if found is None:
            return
        began = time.thread_time_ns()
        self.due = time.monotonic() + PERIOD_S  # keeps step with the samples, which wake us anyway
        try:
            found.look(snapshot)
        except (CotenantError, OSError) as error:
            log.error("noise: a look failed: %s", error)
            return
        self._looks += 1
        self._tell(found)
        if found.waits is not None:
            self.sheet.note(
                Heard(
                    waits=found.waits,
                    findings=tuple(found.findings),
                    began=tuple(found.began),
                    programs=tuple([_bpf(cost) for cost in found.noise.costs()]),
                    host_share=found.budget.share,
                    looks=self._looks,
                    look_ns=self._look_ns,
                )
            )
        self._look_ns += time.thread_time_ns() - began

    def _tell(self, found: Neighbours) -> None:
        if self._looks % round(60 / PERIOD_S) == 0:
            if self._lines > FINDINGS_A_MINUTE:
                more = self._lines - FINDINGS_A_MINUTE
                log.warning("noise: %d more findings began or ended", more, extra=ALWAYS)
            self._lines = 0
        for finding in found.began:
            self._line(logging.WARNING, "noise: %s", sentence(finding))
        for finding in found.ended:
            self._line(logging.INFO, "noise: over: %s", _over(finding))
        if found.changed_level:
            log.warning("noise: level %s", _level(found), extra=ALWAYS)

    def _line(self, level: int, form: str, words: str) -> None:
        """Each finding is another: none is held back for being like the one before."""
        self._lines += 1
        if self._lines <= FINDINGS_A_MINUTE:
            log.log(level, form, words, extra=ALWAYS)

    def costs(self) -> list[Cost]:
        """What its programs cost until now."""
        return self._neighbours.noise.costs() if self._neighbours else []

    # --- on demand

    def report(self, windows: int = SPAN) -> NoiseReport:
        """Who made whom wait in the last so many windows. HostCannot where nothing is sensed."""
        if windows not in range(1, SPAN + 1):
            raise ValueError(f"windows is a whole number from 1 to {SPAN}")
        if self._neighbours is None:
            raise HostCannot(f"The agent's noise sense is {self._why}.", self._hint)
        return self._neighbours.report(int(windows))

    def configure(self, settings: Settings) -> None:
        """Takes over what changed: on or off, the budget, how many pairs."""
        before, self._settings = self._settings, settings
        if settings.noise != before.noise:
            self.close()
            self._set_up()
            return
        self.sheet.pairs.most = settings.noise_blame_pairs
        if self._neighbours is not None:
            self._neighbours.budget.share_allowed = settings.noise_budget / 100

    def close(self) -> None:
        """Detaches every program and frees every map."""
        if self._neighbours is not None:
            self._neighbours.close()
            self._neighbours = None
        self.due = math.inf


def _bpf(cost: Cost) -> BpfCost:
    return BpfCost(cost.program, cost.runs, cost.timed, cost.ns)


def _over(finding: Finding) -> str:
    seconds = ((finding.ended_ns or finding.began_ns) - finding.began_ns) / 1e9
    culprit = finding.delay.culprit
    by = f" by {culprit.culprit.name}" if culprit and culprit.culprit else ""
    return f"{finding.victim.name} is no longer delayed{by}, after {seconds:.0f} s"


def _level(found: Neighbours) -> str:
    """What the budget moved the level to, and why."""
    name = found.noise.level.name.lower()
    share = found.budget.share
    took = "?" if share is None else f"{share * 100:.2f} %"
    allowed = f"{found.budget.share_allowed * 100:g} %"
    return f"{name}: its programs take {took} of the host's CPU time, {allowed} are allowed"
