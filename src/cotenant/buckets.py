"""The buckets that waits are counted in (bpf/noise.h): their bounds, and what can be read off them.

They grow by 2^(1/4) and lie where the native histograms of Prometheus have theirs in schema 2, at
2^(k/4) seconds, so that those take over the counts as they are. A value taken from the middle of
its bucket is off by 9 % at most.
"""

from __future__ import annotations

from collections.abc import Sequence

SCHEMA = 2
"""Of the native histogram: 2^2 buckets from one power of two to the next."""
COUNT = 118
FIRST = -22 * 4
"""k of the first bound, 2^(k/4) s: what lies below it is in bucket 0."""
BOUNDS_S: tuple[float, ...] = tuple(2.0 ** ((FIRST + i) / 4) for i in range(COUNT - 1))
"""Seconds; bucket i lies between bound i - 1 and bound i, the last above the last bound."""


def quantile_ns(buckets: Sequence[int], share: float) -> float | None:
    """The wait in ns that `share` (0 to 1) of all did not exceed; None where there were none.

    The middle of the bucket in which it lies, on the logarithmic scale: off by 9 % at most. (To
    look further into the bucket, as Prometheus does, is off by up to 19 % where all waits are
    alike.)
    """
    total = sum(buckets)
    if not total:
        return None
    rank = share * total
    reached = 0
    for i, count in enumerate(buckets):
        reached += count
        if count and reached >= rank:
            return _middle_s(i) * 1e9
    return BOUNDS_S[-1] * 1e9


def _middle_s(i: int) -> float:
    """Seconds in the middle of bucket `i`."""
    if i == 0:
        return BOUNDS_S[0] / 2
    return BOUNDS_S[i - 1] * float(2.0 ** (1 / 8))


def octaves(buckets: Sequence[int], unit_ns: float) -> list[int]:
    """Counts per power of two of `unit_ns`: row i holds 2^i to 2^(i+1) - 1, row 0 also 0.

    Buckets do not end at powers of two of a microsecond: each counts where its middle lies.
    """
    rows: list[int] = []
    for i, count in enumerate(buckets):
        if not count:
            continue
        value = int(_middle_s(i) * 1e9 / unit_ns)
        row = max(value.bit_length() - 1, 0)
        rows.extend([0] * (row + 1 - len(rows)))
        rows[row] += count
    return rows
