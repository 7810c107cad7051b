"""The families of the noise sense: who waited, how long, and for whom."""

from __future__ import annotations

from cotenant.buckets import BOUNDS_S
from cotenant.export.family import Form, Series, family

_NS = Form.NANOSECONDS
REASONS = ("self", "throttled", "idle", "irq", "steal", "unknown")

TENANT = (
    family("cotenant_waits_total", "waited.waits"),
    family("cotenant_waited_seconds_total", "waited.waited_ns"),
    family("cotenant_ran_seconds_total", "waited.ran_ns"),
    family("cotenant_wait_reason_seconds_total", "waited.waited_ns", labels=("reason",),
           help="Time waited, by what for: other tenants, its own tasks (self), its own quota "
           "(throttled), a CPU to wake up (idle), interrupts (irq), the hypervisor (steal)",
           series=(
               Series("foreign_ns", _NS, (("reason", "tenant"),)),
               *[Series(f"waited.{one}_ns", _NS, (("reason", one),)) for one in REASONS],
           )),
    family("cotenant_switches_total", "waited.voluntary", labels=("switch",),
           help="Times a CPU was taken from its tasks or given up by them",
           series=(
               Series("waited.voluntary", labels=(("switch", "voluntary"),)),
               Series("waited.involuntary", labels=(("switch", "involuntary"),)),
           )),
    family("cotenant_preemptions_total", "waited.preempted_self", labels=("by",),
           help="Times a CPU was taken from its running task, by whom: its own tasks (self), a "
           "tenant, a service or the host, the kernel",
           series=(
               Series("waited.preempted_self", labels=(("by", "self"),)),
               Series("by_tenant", labels=(("by", "tenant"),)),
               Series("by_service", labels=(("by", "service"),)),
               Series("by_kernel", labels=(("by", "kernel"),)),
           )),
    family("cotenant_noise_findings_total", "findings",
           help="Times it was found to be delayed by others"),
)  # fmt: skip
"""A row for each tenant. Nested tenants are not contained in the one around them."""

HISTOGRAM = (
    family("cotenant_wait_seconds", "histogram", form=_NS, labels=("le",), type="histogram",
           help="Time from runnable to running, wait by wait. As a native histogram with four "
           "buckets to each power of two for scrapers that take those"),
)  # fmt: skip
"""A row for each tenant: the classic buckets, `_sum` and `_count`."""

LE: tuple[int, ...] = tuple(
    i for i, bound in enumerate(BOUNDS_S) if bound in {2.0**n for n in range(-20, 6, 2)}
)
"""Which bounds of buckets.py the classic buckets have: 2^-20 s (1 us), 2^-18 s ... 2^4 s (16 s)."""

BLAME = (
    family("cotenant_blame_seconds_total", "ns", form=_NS,
           help="Time the culprit ran on the CPU that the tenant waited for. Pairs that cost most "
           "have a line (see noise_blame_pairs), begun at 0 when they got it; the rest is in "
           "culprit other, which has no culprit_kind"),
)  # fmt: skip
"""A row for each pair."""

FINDING = (
    family("cotenant_noise_finding", "one",
           help="1 while the tenant is found to be delayed, for each culprit with at least a tenth "
           "of its waiting"),
)  # fmt: skip
"""A row for each culprit of each finding that goes on."""

SENSE = (
    family("cotenant_noise_level", "level",
           help="How much is kept: 0 nothing, 1 counts, 2 and distributions, 3 and blame"),
    family("cotenant_noise_host_cpu_ratio", "share", form=_NS,
           help="Of all the host's CPU time, what its programs took in the last second"),
    family("cotenant_noise_looks_total", "looks", help="Collections of the waits, one a second"),
    family("cotenant_noise_look_seconds_total", "look_ns", form=_NS,
           help="CPU time the agent spent collecting and judging the waits"),
    family("cotenant_noise_unseated_total", "noise_lost.unseated"),
    family("cotenant_noise_unstamped_total", "noise_lost.unstamped"),
    family("cotenant_noise_backwards_total", "noise_lost.backwards"),
    family("cotenant_noise_unseen_total", "noise_lost.unseen"),
    family("cotenant_noise_carried_total", "noise_lost.carried"),
    family("cotenant_noise_unpaired_total", "noise_lost.pairs"),
    family("cotenant_noise_untold_events_total", "noise_lost.events"),
)  # fmt: skip
"""One row each. The level is there also where nothing is sensed; the rest then is not."""

PROGRAM = (
    family("cotenant_noise_run_seconds", "run_ns", form=_NS, labels=("program",),
           help="What one run of the program takes, by the mean of those that timed themselves"),
)  # fmt: skip
"""A row for each program; cotenant_bpf_* count their runs."""
