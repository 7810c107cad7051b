"""Tenants that died: their counters stay on the page for a while, then only in the totals."""

from __future__ import annotations

from collections import deque

from cotenant.export.rows import Row, final_row
from cotenant.model import Kind, Sample, Snapshot


class Finals:
    """Keeps the final samples of the last `keep_s` seconds, `most` of them at most.

    Prometheus sees a container that lived 50 ms only if its last values are still there at the
    next scrape. What leaves early is counted in `evicted`; what died is summed per kind for ever.
    """

    def __init__(self, keep_s: float = 60.0, most: int = 1000) -> None:
        self.evicted = 0
        self.departed: dict[Kind, int] = {}
        self.departed_cpu_ns: dict[Kind, int] = {}
        self._keep_ns = int(keep_s * 1e9)
        self._most = most
        self._kept: deque[tuple[Sample, Row]] = deque()
        self._noted_ns: int | None = None

    def note(self, snapshot: Snapshot) -> None:
        """Take in the finals of a snapshot. The same snapshot a second time changes nothing."""
        if self._noted_ns is not None and snapshot.at_ns <= self._noted_ns:
            return
        self._noted_ns = snapshot.at_ns
        for final in snapshot.finals:
            # Rounded down: a dead tenant was never seen later than it was.
            died_ms = round(snapshot.unix_s * 1000) - _ms_up(snapshot.at_ns - final.at_ns)
            self._kept.append((final, final_row(final, died_ms)))
            kind = final.tenant.kind
            self.departed[kind] = self.departed.get(kind, 0) + 1
            # A nested tenant's time is in its parent's already: counted once, with the parent.
            if final.cpu is not None and final.tenant.parent is None:
                used = self.departed_cpu_ns.get(kind, 0) + final.cpu.usage_ns
                self.departed_cpu_ns[kind] = used
        while self._kept and self._kept[0][0].at_ns < snapshot.at_ns - self._keep_ns:
            self._kept.popleft()
        while len(self._kept) > self._most:
            self._kept.popleft()
            self.evicted += 1

    def kept(self) -> list[tuple[Sample, Row]]:
        """The finals still to be shown and their rows, the newest first."""
        return list(reversed(self._kept))


def _ms_up(ns: int) -> int:
    return -(-ns // 1_000_000)
