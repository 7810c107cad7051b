"""The families of continuous profiling: what was kept, where it went, what was asked of Go."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from cotenant.export.family import Family, family
from cotenant.export.singles import lines


class PushRow(Struct, frozen=True):
    """One server that profiles are sent to. Profiles are counted one per tenant."""

    target: str
    sent: int = 0
    refused: int = 0
    gave_up: int = 0
    dropped: int = 0
    retries: int = 0
    sent_bytes: int = 0
    queue_bytes: int = 0
    queued: int = 0
    cut: int = 0


class KeptRow(Struct, frozen=True):
    """What is kept on disk."""

    windows: int = 0
    bytes: int = 0
    evicted: int = 0
    corrupt: int = 0
    failed: int = 0


class PullRow(Struct, frozen=True):
    """What came of asking Go programs for their own profiles."""

    ok: int = 0
    failed: int = 0
    tenants: int = 0


OUTCOMES = ("sent", "refused", "gave_up", "dropped")

PUSH = (
    family("cotenant_profile_pushed_total", "outcome", labels=("target", "outcome"),
           help="Profiles, one per tenant, by what became of them: sent; refused by the server; "
           "given up after all retries; dropped for want of room in the queue"),
    family("cotenant_profile_push_retries_total", "retries", labels=("target",),
           help="Pushes that were put off because the server was busy, broken or silent"),
    family("cotenant_profile_pushed_bytes_total", "sent_bytes", labels=("target",),
           help="Bytes of profiles that were sent, compressed"),
    family("cotenant_profile_push_queue_bytes", "queue_bytes", labels=("target",),
           help="Bytes that wait to be sent"),
    family("cotenant_profile_push_queued", "queued", labels=("target",),
           help="Profiles that wait to be sent, one per tenant"),
    family("cotenant_profile_push_cut_total", "cut", labels=("target",),
           help="Stacks that lost frames or were left out because no server takes them so large"),
)  # fmt: skip
"""A row for each server."""

KEPT = (
    family("cotenant_profile_windows", "windows", help="Windows of profiles kept on disk"),
    family("cotenant_profile_kept_bytes", "bytes", help="What they take on disk"),
    family("cotenant_profile_evicted_total", "evicted",
           help="Windows that went before their time, for want of room (keep_bytes)"),
    family("cotenant_profile_corrupt_total", "corrupt",
           help="Kept files or parts of them that were damaged and left out"),
    family("cotenant_profile_keep_failed_total", "failed",
           help="Windows that could not be written, as on a full disk"),
    family("cotenant_profile_missed_total", "missed",
           help="Windows that came faster than they could be written"),
)  # fmt: skip
"""One row each."""

PULL = (
    family("cotenant_profile_pulled_total", "outcome", labels=("outcome",),
           help="Times that Go programs were asked for their own profiles, by outcome: ok, failed"),
    family("cotenant_profile_pull_tenants", "tenants", help="Tenants that are asked"),
)  # fmt: skip
"""One row each; `cotenant_profile_pulled_total` one by outcome."""


def render(
    kept: KeptRow, missed: int, pushes: Sequence[PushRow], pulls: PullRow | None = None
) -> bytes:
    """Exposition lines, each with the newline before it; `pulls` None: nobody is asked."""
    parts = [_pushed(PUSH[0], pushes)]
    for one in PUSH[1:]:
        source = one.series[0].source
        parts.append(lines(one, [((("target", p.target),), getattr(p, source)) for p in pushes]))
    for one in KEPT:
        source = one.series[0].source
        parts.append(lines(one, [((), missed if source == "missed" else getattr(kept, source))]))
    if pulls is not None:
        told = [((("outcome", word),), getattr(pulls, word)) for word in ("ok", "failed")]
        parts += [lines(PULL[0], told), lines(PULL[1], [((), pulls.tenants)])]
    return b"".join(parts)


def _pushed(one: Family, pushes: Sequence[PushRow]) -> bytes:
    return lines(one, [
        ((("target", push.target), ("outcome", word)), getattr(push, word))
        for push in pushes for word in OUTCOMES
    ])  # fmt: skip
