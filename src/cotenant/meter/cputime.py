"""CPU time split into user and system the way the kernel's own files split it."""

from __future__ import annotations


def split(usage_ns: int, user_ns: int, system_ns: int) -> tuple[int, int]:
    """User and system time that add up to `usage_ns`, in the proportion of the sampled two.

    The kernel counts total time exactly but user and system by ticks; its files show the exact
    total divided in the ticks' proportion (kernel/sched/cputime.c, `cputime_adjust`).
    """
    if not system_ns:
        return usage_ns, 0
    if not user_ns:
        return 0, usage_ns
    system = usage_ns * system_ns // (user_ns + system_ns)
    return usage_ns - system, system


class Rising:
    """Holds each tenant's CPU counters so that none goes backwards, as the kernel's files do.

    A changing proportion can lower one part by a little, and a slice booked between two looks can
    be counted twice by less than a tick. `held` counts how often a value had to be held.
    """

    def __init__(self) -> None:
        self._last: dict[int, tuple[int, int, int]] = {}
        self.held = 0

    def rise(self, key: int, usage_ns: int, user_ns: int, system_ns: int) -> tuple[int, int, int]:
        """Usage, user and system of the tenant `key`, none below what was given out before."""
        user, system = split(usage_ns, user_ns, system_ns)
        before = self._last.get(key)
        if before:
            if usage_ns < before[0]:
                self.held += 1
                return before
            if user < before[1]:
                user, system = before[1], usage_ns - before[1]
            elif system < before[2]:
                user, system = usage_ns - before[2], before[2]
        self._last[key] = now = (usage_ns, user, system)
        return now

    def forget(self, key: int) -> None:
        """The tenant is gone."""
        self._last.pop(key, None)
