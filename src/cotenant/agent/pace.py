"""When the next sample is due, which ones came late, and how long nobody was here. No I/O."""

from __future__ import annotations


class Pace:
    """A clock that does not drift: sample n is due n intervals after the first.

    Times are seconds on the monotonic clock. `late` counts samples taken more than half an interval
    after they were due, and those that were left out because the ones before took too long.
    """

    def __init__(self, interval_s: float, now: float) -> None:
        self.interval_s = interval_s
        self.due = now
        self.late = 0

    def step(self, now: float) -> None:
        """A sample is taken now: counts it if it is late, and sets when the next is due."""
        behind = now - self.due
        if behind > self.interval_s / 2:
            self.late += 1
        left_out = int(max(behind, 0.0) / self.interval_s)
        self.late += left_out
        self.due += (left_out + 1) * self.interval_s

    def set_interval(self, interval_s: float) -> None:
        """Another interval, from the next sample on; a shorter one brings that one forward."""
        self.due += min(0.0, interval_s - self.interval_s)
        self.interval_s = interval_s


class Idle:
    """Tells when nobody has been here for `most_s` seconds; None: never."""

    def __init__(self, most_s: float | None, now: float) -> None:
        self.most_s = most_s
        self._since = now

    def is_over(self, now: float, *, anybody: bool) -> bool:
        """Whether it is time to go; `anybody`: someone is here now."""
        if anybody:
            self._since = now
        return self.most_s is not None and now - self._since >= self.most_s
