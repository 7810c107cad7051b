"""The histogram of waits in protobuf: native buckets, and the classic ones for who wants those.

The buckets of bpf/noise.h are those of schema 2, where bucket i ends at 2^(i/4) s; only the counts
of those that hold something are sent, as differences (prometheus/client_model, metrics.proto). All
below 2^-22 s is the zero bucket.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from cotenant.buckets import BOUNDS_S, FIRST, SCHEMA
from cotenant.export import protobuf
from cotenant.export.family import Family
from cotenant.export.protobuf import block, double, number, varint, zigzag

_BOUNDS = [double(2, bound) for bound in BOUNDS_S]
MOST_GAP = 2
"""Empty buckets between two others that are sent along: a new span would take more bytes."""


def family(one: Family, metrics: Iterable[bytes]) -> bytes:
    """One delimited MetricFamily of these metrics; nothing where there are none."""
    together = b"".join(metrics)
    if not together:
        return b""
    return protobuf.family(one.name.encode(), one.help.encode(), protobuf.HISTOGRAM, together)


def metric(
    pairs: Iterable[tuple[str, str | None]],
    buckets: Sequence[int],
    seconds: float,
    classic: Sequence[int],
) -> bytes:
    """One Metric of a family: its labels, and `buckets` (as in buckets.py) that sum to `seconds`.

    `classic`: which bounds the classic buckets have.
    """
    sums = list(accumulate(buckets))
    spans, deltas = sparse(buckets)
    out = [number(1, sums[-1]), double(2, seconds)]
    out += [block(3, number(1, sums[i]) + _BOUNDS[i]) for i in classic]
    out += [number(5, zigzag(SCHEMA)), double(6, BOUNDS_S[0]), number(7, buckets[0])]
    out += [block(12, number(1, zigzag(gap)) + number(2, length)) for gap, length in spans]
    out.append(block(13, b"".join([varint(zigzag(delta)) for delta in deltas])))
    labels = b"".join(
        [protobuf.label(name.encode(), _utf8(value)) for name, value in pairs if value]
    )
    return block(4, labels + block(7, b"".join(out)))


def sparse(buckets: Sequence[int]) -> tuple[list[tuple[int, int]], list[int]]:
    """Spans (gap to the one before, the first one's begin; length) and differences of counts.

    Where nothing is counted one empty span stays: it is what makes the histogram a native one.
    """
    spans: list[tuple[int, int]] = []
    deltas: list[int] = []
    end, before = 0, 0
    for i in range(1, len(buckets)):
        count = buckets[i]
        if not count:
            continue
        index = FIRST + i
        gap = index - end
        if not spans or gap > MOST_GAP:
            spans.append((gap, 1))
        else:
            spans[-1] = (spans[-1][0], spans[-1][1] + gap + 1)
            for _ in range(gap):
                deltas.append(-before)
                before = 0
        deltas.append(count - before)
        end, before = index + 1, count
    return spans or [(0, 0)], deltas


def _utf8(value: str) -> bytes:
    """As in the text format: what is no UTF-8 becomes U+FFFD."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode()
