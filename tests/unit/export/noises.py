"""Made-up collections of the noise sense: every value different, parts that add up."""

from __future__ import annotations

from typing import Any

from tests.unit.export.synthetic import tenant

from cotenant.buckets import COUNT
from cotenant.export.noise import Heard
from cotenant.export.own import BpfCost
from cotenant.model import (
    HOST,
    KERNEL,
    Blame,
    Delay,
    Finding,
    Kind,
    NoiseLost,
    Part,
    Tenant,
    Waited,
    Waits,
)

API, BATCH = tenant(1, "api"), tenant(2, "batch")
SSH = tenant(3, "ssh.service", kind=Kind.SERVICE, path="/system.slice/ssh.service", image=None)
EVERYBODY = (API, BATCH, SSH, HOST, KERNEL)
SECOND = 10**9


def buckets(**counts: int) -> tuple[int, ...]:
    """Counts by bucket, `b40=3`."""
    made = [0] * COUNT
    for name, count in counts.items():
        made[int(name.removeprefix("b"))] = count
    return tuple(made)


def waited(start: int = 1, foreign_ns: int = 0, **more: Any) -> Waited:
    """Values counted up from `start`; `waited_ns` is the sum of the parts."""
    reasons = ("self", "throttled", "idle", "irq", "steal", "unknown")
    given: dict[str, Any] = {f"{name}_ns": start + 10 + i for i, name in enumerate(reasons)} | {
        "ran_ns": start, "voluntary": start + 2, "involuntary": start + 3,
        "preempted_self": start + 4, "buckets": buckets(b0=1, b8=start, b60=2),
    } | more  # fmt: skip
    parts = sum(given[f"{name}_ns"] or 0 for name in reasons)
    return Waited(**({"waits": sum(given["buckets"]), "waited_ns": parts + foreign_ns} | given))


def waits(
    second: int,
    books: dict[Tenant, Waited],
    blame: dict[tuple[Tenant, Tenant], int] | None = None,
    level: str = "blame",
    preempted: int = 0,
) -> Waits:
    """A collection, so many seconds after the first."""
    return Waits(
        at_ns=second * SECOND,
        level=level,
        tenants={who.key: who for who in (*books, *(one for pair in blame or {} for one in pair))},
        waited={who.key: one for who, one in books.items()},
        blame={(v.key, c.key): Blame(ns, preempted) for (v, c), ns in (blame or {}).items()},
        lost=NoiseLost(1, 2, 3, 4, 5, 6, 7),
    )


def finding(victim: Tenant = API, *culprits: tuple[Tenant, int]) -> Finding:
    """One that goes on; `culprits` with what they ran meanwhile, of 1 s that was waited."""
    parts = [Part(who, "tenant", ns) for who, ns in culprits or ((BATCH, SECOND),)]
    rest = SECOND - sum(part.ns for part in parts)
    parts += [Part(None, "self", rest)] if rest else []
    delay = Delay(victim, 10.0, 1, 2, SECOND, 1.0, 2e6, 1, 1, tuple(parts), buckets(b60=2), {})
    return Finding(delay, None, "absolute", 0)


def heard(second: int = 1, **more: Any) -> Heard:
    """All of it at once: three tenants, the host and the kernel, a pair and a finding."""
    ns = 2 * SECOND * second
    given: dict[str, Any] = {
        "waits": waits(
            second,
            {who: waited(100 * i * second, ns if who is API else 0)
             for i, who in enumerate(EVERYBODY, 1)},
            {(API, BATCH): ns},
            preempted=7 * second,
        ),
        "findings": (finding(),),
        "began": (finding(),),
        "programs": (BpfCost("switched", 4096, 4, 600),),
        "host_share": 0.00125,
        "looks": 3,
        "look_ns": 4,
    }  # fmt: skip
    return Heard(**(given | more))
