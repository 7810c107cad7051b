"""Who is being delayed, judged window by window: Delays in, Findings out. Pure; knows no clock.

A window accuses when others made the victim wait (not its own quota, not the hypervisor), for long
enough to matter, and longer than the victim is used to. Three accusing windows in a row begin a
finding, five that do not end it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from statistics import median

from msgspec.structs import replace

from cotenant.model import KERNEL, Delay, Finding
from cotenant.noise.blame import merged

BEGIN, END = 3, 5
SPAN = 10
"""Windows that a finding's arithmetic covers."""
PAST_S = 60.0
"""So much of the victim's own past must be known before it is judged by that."""
MEMORY = 600
"""Windows of the past that are remembered."""
FOREIGN = 0.5
"""Least share of the waiting that other tenants must be to blame for."""
ABSOLUTE_P99_NS = 2e6
USUAL_TIMES, USUAL_P99_NS = 3.0, 1e6
"""By its own past: p99 over so many times the usual, and over so much in any case."""
LEAST_SHARE = 0.01
"""Waiting in a window must come to this share of its time: less harms nobody."""
STEAL = 0.25
"""With more of it, the hypervisor is to blame."""


class _Victim:
    """What is remembered of one tenant."""

    __slots__ = ("against", "finding", "for_", "past", "past_s", "recent", "usual")

    def __init__(self) -> None:
        self.recent: deque[Delay] = deque(maxlen=SPAN)
        self.past: deque[float] = deque(maxlen=MEMORY)
        self.past_s = 0.0
        self.usual: float | None = None
        self.for_ = 0
        self.against = 0
        self.finding: Finding | None = None


class Judge:
    """Feed it every window's delays; it tells what began and what ended, and keeps what goes on."""

    def __init__(self) -> None:
        self._victims: dict[int, _Victim] = {}

    @property
    def findings(self) -> list[Finding]:
        """What goes on now, whoever waits most first."""
        going = [v.finding for v in self._victims.values() if v.finding]
        return sorted(going, key=lambda finding: -finding.delay.waited_ns)

    def judge(self, windows: Iterable[Delay], at_ns: int) -> tuple[list[Finding], list[Finding]]:
        """Findings that began and that ended with this window, which ended at `at_ns`."""
        began, ended = [], []
        seen = set()
        for delay in windows:
            key = delay.tenant.key
            if key == KERNEL.key:
                continue
            seen.add(key)
            victim = self._victims.setdefault(key, _Victim())
            before = victim.finding
            self._weigh(victim, delay, at_ns)
            if victim.finding and not before:
                began.append(victim.finding)
            elif before and not victim.finding:
                ended.append(_at_end(before, at_ns))
        for key in self._victims.keys() - seen:  # it died
            finding = self._victims.pop(key).finding
            if finding:
                ended.append(_at_end(finding, at_ns))
        return began, ended

    def _weigh(self, victim: _Victim, delay: Delay, at_ns: int) -> None:
        usual = self._usual(victim)
        victim.recent.append(delay)
        if accuses(delay, usual):
            victim.for_, victim.against = victim.for_ + 1, 0
        else:
            victim.for_, victim.against = 0, victim.against + 1
            self._remember(victim, delay)
        if victim.finding is None and victim.for_ < BEGIN:
            return
        if victim.finding and victim.against >= END:
            victim.finding = None
            victim.recent.clear()
            return
        first = victim.finding
        victim.finding = Finding(
            delay=merged(victim.recent),
            usual_p99_ns=first.usual_p99_ns if first else usual,
            rule=first.rule if first else "absolute" if usual is None else "baseline",
            began_ns=first.began_ns if first else at_ns - _ns(list(victim.recent)[-BEGIN:]),
        )

    def _usual(self, victim: _Victim) -> float | None:
        if victim.usual is None and victim.past_s >= PAST_S and victim.past:
            victim.usual = median(victim.past)
        return victim.usual

    def _remember(self, victim: _Victim, delay: Delay) -> None:
        """Only windows that accuse nobody are its past: else a lasting noise would become usual."""
        victim.past_s += delay.seconds
        if delay.p99_ns is not None:
            victim.past.append(delay.p99_ns)
            victim.usual = None


def accuses(delay: Delay, usual_p99_ns: float | None) -> bool:
    """Whether this window speaks for others delaying the victim."""
    if delay.p99_ns is None or delay.waited_ns < LEAST_SHARE * delay.seconds * 1e9:
        return False
    if delay.share("tenant") < FOREIGN or delay.share("steal") > STEAL:
        return False
    if usual_p99_ns is None:
        return delay.p99_ns > ABSOLUTE_P99_NS
    return delay.p99_ns > max(USUAL_TIMES * usual_p99_ns, USUAL_P99_NS)


def _ns(windows: Sequence[Delay]) -> int:
    return round(sum(window.seconds for window in windows) * 1e9)


def _at_end(finding: Finding, at_ns: int) -> Finding:
    return replace(finding, ended_ns=at_ns)
