"""From two Waits to Delays: what each tenant waited in between, and for whom.

Pure arithmetic. `delays` is the table; `fair_shares` tells how far a culprit ran beyond what its
weight entitles it to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from operator import add, sub

from cotenant.buckets import COUNT, quantile_ns
from cotenant.model import Blame, Delay, Part, Tenant, Waited, Waits, class_of

REASONS = ("self", "throttled", "idle", "irq", "steal", "unknown")
"""Whatever is not another tenant's doing; the names of `Waited`'s parts without `_ns`."""
NOTHING = Waited(0, 0, 0, 0, 0, 0, 0, 0, 0, None, None, 0, (0,) * COUNT)


def delays(now: Waits, before: Waits | None) -> list[Delay]:
    """What each tenant waited between the two, whoever others delayed most first.

    Without `before`: since the sense was opened (`seconds` is then 0).
    """
    seconds = (now.at_ns - before.at_ns) / 1e9 if before else 0.0
    foreign = _foreign(now, before)
    past = before.waited if before else {}
    found = [
        _idle(now.tenants[key], seconds)
        if past.get(key) is waited and key not in foreign
        else _delay(now, key, waited, past.get(key), foreign, seconds)
        for key, waited in now.waited.items()
    ]
    return sorted(found, key=lambda delay: -delay.share("tenant") * delay.waited_ns)


def _idle(tenant: Tenant, seconds: float) -> Delay:
    """Of one whose tasks did nothing: most tenants, most of the time."""
    return Delay(
        tenant, seconds, 0, 0, 0, None, None, 0, 0, (), NOTHING.buckets, dict(_NO_PREEMPTIONS)
    )


_NO_PREEMPTIONS = {"self": 0, "tenant": 0, "service": 0, "kernel": 0}


def _foreign(now: Waits, before: Waits | None) -> dict[int, list[Part]]:
    """Parts due to other tenants, by victim."""
    past = before.blame if before else {}
    parts: dict[int, list[Part]] = defaultdict(list)
    for (victim, culprit), blame in now.blame.items():
        then = past.get((victim, culprit), _NONE)
        ns, preempted = blame.ns - then.ns, blame.preempted - then.preempted
        if ns or preempted:
            parts[victim].append(Part(now.tenants[culprit], "tenant", ns, preempted))
    return parts


_NONE = Blame(0, 0)


def _delay(
    now: Waits,
    key: int,
    waited: Waited,
    before: Waited | None,
    foreign: Mapping[int, list[Part]],
    seconds: float,
) -> Delay:
    then = before or NOTHING
    buckets = waited.buckets
    if before is not None and any(then.buckets):
        buckets = tuple(map(sub, buckets, then.buckets))
    parts = [
        Part(None, reason, (getattr(waited, f"{reason}_ns") or 0) - (was or 0))
        for reason in REASONS
        for was in (getattr(then, f"{reason}_ns"),)
        if (getattr(waited, f"{reason}_ns") or 0) != (was or 0)
    ]
    parts += foreign.get(key, ())
    return Delay(
        tenant=now.tenants[key],
        seconds=seconds,
        ran_ns=waited.ran_ns - then.ran_ns,
        waits=waited.waits - then.waits,
        waited_ns=waited.waited_ns - then.waited_ns,
        p50_ns=quantile_ns(buckets, 0.5),
        p99_ns=quantile_ns(buckets, 0.99),
        voluntary=waited.voluntary - then.voluntary,
        involuntary=waited.involuntary - then.involuntary,
        parts=tuple(sorted(parts, key=lambda part: -part.ns)),
        buckets=buckets,
        preemptions=_preemptions(waited.preempted_self - then.preempted_self, parts),
        unmeasured=tuple(r for r in REASONS if getattr(waited, f"{r}_ns") is None),
    )


def _preemptions(by_self: int, parts: Iterable[Part]) -> dict[str, int]:
    """Preemptions by the class of who took the CPU: the split of Netflix's article, in full."""
    counts = _NO_PREEMPTIONS | {"self": by_self}
    for part in parts:
        if part.culprit is not None:
            counts[class_of(part.culprit)] += part.preempted
    return counts


def merged(windows: Iterable[Delay]) -> Delay:
    """One tenant's consecutive windows as one; at least one is needed. Its name is the newest."""
    several = list(windows)
    if len(several) == 1:
        return several[0]
    parts: dict[tuple[int | None, str], Part] = {}
    buckets: tuple[int, ...] = (0,) * COUNT
    preemptions = dict.fromkeys(several[-1].preemptions, 0)
    for window in several:
        buckets = tuple(map(add, buckets, window.buckets))
        for name, count in window.preemptions.items():
            preemptions[name] += count
        for part in window.parts:
            key = (part.culprit.key if part.culprit else None, part.reason)
            past = parts.get(key)
            ns, preempted = (past.ns, past.preempted) if past else (0, 0)
            parts[key] = Part(part.culprit, part.reason, ns + part.ns, preempted + part.preempted)
    return Delay(
        tenant=several[-1].tenant,
        seconds=sum(w.seconds for w in several),
        ran_ns=sum(w.ran_ns for w in several),
        waits=sum(w.waits for w in several),
        waited_ns=sum(w.waited_ns for w in several),
        p50_ns=quantile_ns(buckets, 0.5),
        p99_ns=quantile_ns(buckets, 0.99),
        voluntary=sum(w.voluntary for w in several),
        involuntary=sum(w.involuntary for w in several),
        parts=tuple(sorted(parts.values(), key=lambda part: -part.ns)),
        buckets=buckets,
        preemptions=preemptions,
        unmeasured=several[-1].unmeasured,
    )


def fair_shares(delays: Iterable[Delay], shares: Mapping[int, int | None]) -> dict[int, float]:
    """CPU time in ns that each tenant's weight entitled it to, among those who contended.

    `shares`: CPU weights by tenant key (v1 scale; 1024 where not known). Contenders are those who
    waited for another or whom another waited for; what they ran together is what there was to
    share. It is filled up by weight, and nobody gets more than he asked for (ran or waited):
    max-min fairness, as the scheduler aims at (Bertsekas and Gallager, Data Networks, 6.5.2).
    """
    contenders = _contenders(delays)
    left = float(sum(delay.ran_ns for delay in contenders.values()))
    asked = {
        key: delay.ran_ns + delay.waited_ns * (1 - delay.share("throttled"))
        for key, delay in contenders.items()
    }
    fair = dict.fromkeys(contenders, 0.0)
    open_ = set(contenders)
    while open_ and left > 0:
        weight = {key: shares.get(key) or 1024 for key in open_}
        total = sum(weight.values())
        filled = {key for key in open_ if asked[key] <= left * weight[key] / total}
        if not filled:
            fair.update({key: left * weight[key] / total for key in open_})
            break
        for key in filled:
            fair[key] = asked[key]
        left -= sum(asked[key] for key in filled)
        open_ -= filled
    return fair


def _contenders(delays: Iterable[Delay]) -> dict[int, Delay]:
    by_key = {delay.tenant.key: delay for delay in delays}
    found = set()
    for key, delay in by_key.items():
        for part in delay.parts:
            if part.reason == "tenant" and part.ns and part.culprit is not None:
                found |= {key, part.culprit.key}
    return {key: by_key[key] for key in found if key in by_key}
