"""Made-up tenants, delays and collections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cotenant.buckets import BOUNDS_S, COUNT, quantile_ns
from cotenant.model import Blame, Delay, Kind, Part, Tenant, Waited, Waits

MS = 1_000_000
S = 1_000_000_000


def tenant(key: int, name: str = "") -> Tenant:
    return Tenant(key, name or f"t{key}", Kind.CGROUP, f"/t{key}", {0: key})


def buckets(*waits_ns: float) -> tuple[int, ...]:
    """The buckets of single waits, by the bounds alone."""
    counts = [0] * COUNT
    for ns in waits_ns:
        counts[sum(bound * 1e9 <= ns for bound in BOUNDS_S)] += 1
    return tuple(counts)


Parts = Sequence[tuple[Tenant | str, int]]


def delay(
    who: Tenant,
    parts: Parts = (),
    *,
    p99_ns: float | None = None,
    seconds: float = 1.0,
    ran_ns: int = 0,
    waits: int = 100,
) -> Delay:
    """A window; `parts` are culprits or reasons, and ns."""
    made = [
        Part(what, "tenant", ns) if isinstance(what, Tenant) else Part(None, what, ns)
        for what, ns in parts
    ]
    counts = buckets(*[p99_ns] * waits) if p99_ns is not None else (0,) * COUNT
    return Delay(
        tenant=who,
        seconds=seconds,
        ran_ns=ran_ns,
        waits=sum(counts),
        waited_ns=sum(part.ns for part in made),
        p50_ns=quantile_ns(counts, 0.5),
        p99_ns=p99_ns,
        voluntary=0,
        involuntary=0,
        parts=tuple(sorted(made, key=lambda part: -part.ns)),
        buckets=counts,
        preemptions={"self": 0, "tenant": 0, "service": 0, "kernel": 0},
    )


def waited(**values: int) -> Waited:
    """A tenant's counters; what is not told is 0."""
    names = [name for name in Waited.__struct_fields__ if name != "buckets"]
    return Waited(**{name: values.get(name, 0) for name in names}, buckets=(0,) * COUNT)


def waits(
    at_s: float,
    of: Mapping[Tenant, Waited] | Sequence[tuple[Tenant, Waited]],
    blame: Mapping[tuple[int, int], Blame] | None = None,
) -> Waits:
    pairs = list(of.items()) if isinstance(of, Mapping) else list(of)
    return Waits(
        at_ns=int(at_s * S),
        level="blame",
        tenants={who.key: who for who, _ in pairs},
        waited={who.key: counted for who, counted in pairs},
        blame=dict(blame or {}),
    )
