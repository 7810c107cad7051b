"""Which pairs of victim and culprit have a line of their own: a bounded number, the rest summed.

Every line is a counter that only rises. A pair that gets a line late begins at 0 there: what it
cost until then was counted in the victim's line `other`, and stays there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from cotenant.model import Blame, Waits, class_of

MOST = 200
LEAST_NS = 10_000_000
"""A pair that cost its victim less, ever, gets no line of its own."""
QUIET_NS = 1_000_000
ROUND_NS = 60_000_000_000
"""Where all lines are taken, a pair that cost its victim less than QUIET_NS in the last round gives
way to one that cost more than LEAST_NS."""
CLASSES = ("tenant", "service", "kernel")

Pair = tuple[int, int]


class Pairs:
    """Follows the matrix of blame from one Waits to the next; keys are those of tenants."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.foreign: dict[int, int] = {}
        """Time that each tenant waited for all others together, ns."""
        self.preempted: dict[int, list[int]] = {}
        """How often each was preempted, by CLASSES of who took the CPU."""
        self._last: dict[Pair, Blame] = {}
        self._shown: dict[Pair, int] = {}
        self._told: dict[int, int] = {}
        self._mark: dict[Pair, int] = {}
        self._marked_ns = 0
        self._quiet: list[Pair] = []

    def note(self, waits: Waits, kept: Collection[int]) -> None:
        """Takes in what rose; `kept` are the keys of those who still have lines."""
        rose = self._rose(waits)
        self._forget(kept)
        self._take_turns(waits.at_ns)
        self._promote(waits, rose, kept)
        for pair, ns in rose:
            if pair in self._shown:
                self._shown[pair] += ns
                self._told[pair[0]] = self._told.get(pair[0], 0) + ns

    def lines(self) -> Iterator[tuple[int, int | None, int]]:
        """Victim, culprit (None: all without a line of their own) and ns, by victim."""
        for victim, culprit in sorted(self._shown):
            yield victim, culprit, self._shown[victim, culprit]
        for victim, ns in self.foreign.items():
            rest = ns - self._told.get(victim, 0)
            if rest:
                yield victim, None, rest

    def _rose(self, waits: Waits) -> list[tuple[Pair, int]]:
        """Pairs that cost their victim more than last time, and how much more; sums kept."""
        last, self._last = self._last, waits.blame
        rose = []
        for pair, blame in waits.blame.items():
            was = last.get(pair)
            if was is blame:
                continue
            ns = blame.ns - (was.ns if was else 0)
            preempted = blame.preempted - (was.preempted if was else 0)
            victim, culprit = pair
            self.foreign[victim] = self.foreign.get(victim, 0) + ns
            if preempted:
                by = CLASSES.index(class_of(waits.tenants[culprit]))
                self.preempted.setdefault(victim, [0] * len(CLASSES))[by] += preempted
            rose.append((pair, ns))
        return rose

    def _forget(self, kept: Collection[int]) -> None:
        for book in (self.foreign, self.preempted, self._told):
            for key in [key for key in book if key not in kept]:
                del book[key]
        for pair in [pair for pair in self._shown if pair[0] not in kept or pair[1] not in kept]:
            del self._shown[pair]

    def _take_turns(self, at_ns: int) -> None:
        """At the end of a round: who was quiet in it."""
        if at_ns - self._marked_ns < ROUND_NS:
            return
        mark, self._mark, self._marked_ns = self._mark, dict(self._shown), at_ns
        self._quiet = [
            pair for pair, ns in self._shown.items() if pair in mark and ns - mark[pair] < QUIET_NS
        ]

    def _promote(self, waits: Waits, rose: list[tuple[Pair, int]], kept: Collection[int]) -> None:
        """Gives lines to those that rose most, as far as there are any left."""
        excess = len(self._shown) - self.most
        if excess > 0:  # fewer are allowed than before
            for pair in sorted(self._shown, key=lambda pair: self._shown[pair])[:excess]:
                del self._shown[pair]
        if len(self._shown) >= self.most and not self._quiet:
            return
        asking = [
            (ns, pair)
            for pair, ns in rose
            if ns > 0
            and pair not in self._shown
            and waits.blame[pair].ns >= LEAST_NS
            and pair[0] in kept
            and pair[1] in kept
        ]
        for _, pair in sorted(asking, reverse=True):
            if len(self._shown) >= self.most and not self._make_room():
                return
            self._shown[pair] = 0

    def _make_room(self) -> bool:
        while self._quiet:
            pair = self._quiet.pop()
            if pair in self._shown and self._shown[pair] - self._mark[pair] < QUIET_NS:
                del self._shown[pair]
                return self.most > 0
        return False
