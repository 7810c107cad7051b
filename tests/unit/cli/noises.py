"""Made-up reports of who made whom wait: two hogs and one that wants little, on one CPU."""

from __future__ import annotations

from collections.abc import Sequence

from tests.unit.snapshots import tenant

from cotenant.buckets import BOUNDS_S, COUNT, quantile_ns
from cotenant.model import HOST, KERNEL, Delay, Finding, NoiseLost, NoiseReport, Part, Tenant

NAMES = ("api", "batch-7", "batch-9")
NOW_NS = 5_000_000_000_000
SECONDS = 10.0
MS = 1_000_000


def buckets(*waits: tuple[float, int]) -> tuple[int, ...]:
    """Buckets with so many waits of so many ns."""
    counts = [0] * COUNT
    for ns, count in waits:
        counts[sum(bound * 1e9 <= ns for bound in BOUNDS_S)] += count
    return tuple(counts)


def delay(
    who: Tenant,
    parts: Sequence[Part],
    ran_ms: int,
    counted: tuple[int, ...],
    preemptions: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> Delay:
    """What `who` waited: the sum of the parts."""
    return Delay(
        tenant=who,
        seconds=SECONDS,
        ran_ns=ran_ms * MS,
        waits=sum(counted),
        waited_ns=sum(part.ns for part in parts),
        p50_ns=quantile_ns(counted, 0.5),
        p99_ns=quantile_ns(counted, 0.99),
        voluntary=10,
        involuntary=sum(preemptions),
        parts=tuple(sorted(parts, key=lambda part: -part.ns)),
        buckets=counted,
        preemptions=dict(zip(("self", "tenant", "service", "kernel"), preemptions, strict=True)),
    )


def noisy(names: Sequence[str] = NAMES, **more: object) -> NoiseReport:
    """The first is delayed by the second and third, and these by each other."""
    api, one, two = (tenant(index, name) for index, name in zip((0, 1, 2), names, strict=True))
    held = delay(
        api,
        [
            Part(one, "tenant", 1323 * MS, 40),
            Part(two, "tenant", 1296 * MS, 38),
            Part(KERNEL, "tenant", 14 * MS, 9),
            Part(None, "self", 27 * MS),
            Part(None, "steal", 40 * MS),
        ],
        180,
        buckets((9_000, 600), (1.7e6, 300), (13e6, 60)),
        (3, 78, 0, 9),
    )
    hogs = [
        delay(
            mine,
            [Part(other, "tenant", 4700 * MS, 900), Part(api, "tenant", 90 * MS, 480)],
            4800,
            buckets((2.9e6, 1300), (7e6, 80)),
            (0, 1380, 0, 0),
        )
        for mine, other in ((one, two), (two, one))
    ]
    quiet = delay(tenant(9, "chrony.service"), [Part(None, "idle", 40_000)], 2, buckets((800, 50)))
    host = delay(
        HOST,
        [Part(None, "self", 30 * MS), Part(KERNEL, "tenant", 2 * MS, 4), Part(one, "tenant", MS)],
        400,
        buckets((3_000, 4000)),
        (70, 1, 0, 4),
    )
    findings = tuple(
        Finding(one_delay, usual, rule, NOW_NS - since * 10**9)
        for one_delay, usual, rule, since in (
            (hogs[0], None, "absolute", 34),
            (hogs[1], None, "absolute", 34),
            (held, 0.3e6, "baseline", 33),
        )
    )
    fields: dict[str, object] = {
        "unix_s": 1_790_000_000.25,
        "seconds": SECONDS,
        "level": "blame",
        "delays": (*hogs, held, host, quiet),
        "fairness": {api.key: 0.2, one.key: 1.9, two.key: 1.1},
        "findings": findings,
        "ended": (),
        "host_share": 0.0012,
        "lost": NoiseLost(unstamped=4),
    }
    return NoiseReport(**(fields | more))  # type: ignore[arg-type]


def empty() -> NoiseReport:
    """Nobody waited, nothing was seen."""
    return NoiseReport(0.0, 0.0, "blame", (), {}, (), (), None)
