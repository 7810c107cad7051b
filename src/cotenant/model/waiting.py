"""Who makes whom wait."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from cotenant.model.field import Nanoseconds, field
from cotenant.model.tenant import Tenant


class Waited(Struct, frozen=True, gc=False):
    """What one tenant's tasks waited for a CPU, and for whom; counters since the sense was opened.

    `waited_ns` is the sum of its parts: `self_ns`, `throttled_ns`, `idle_ns`, `irq_ns`,
    `steal_ns`, `unknown_ns`, and what `Waits.blame` gives to each other tenant.
    """

    ran_ns: Annotated[Nanoseconds, field("ns", "Time its tasks were on a CPU")]
    waits: Annotated[int, field("", "Times a task of it waited for a CPU")]
    waited_ns: Annotated[Nanoseconds, field("ns", "Time its tasks were runnable, not running")]
    voluntary: Annotated[int, field("", "Switches away by the task's own will")]
    involuntary: Annotated[int, field("", "Switches away of tasks that would have run on")]
    preempted_self: Annotated[int, field("", "Of these, for another task of its own")]
    self_ns: Annotated[Nanoseconds, field("ns", "Waited while its own tasks ran")]
    throttled_ns: Annotated[Nanoseconds, field("ns", "Held back by its own CPU quota")]
    idle_ns: Annotated[Nanoseconds, field("ns", "Waited for an idle CPU to wake up")]
    irq_ns: Annotated[Nanoseconds | None, field("ns", "Waited while interrupts were served")]
    steal_ns: Annotated[Nanoseconds | None, field("ns", "Waited while the hypervisor ran others")]
    unknown_ns: Annotated[Nanoseconds, field("ns", "Waited for it is not known whom")]
    buckets: Annotated[
        tuple[int, ...], field("", "Waits by length; bounds grow by 2^(1/4), see buckets.py")
    ]


class Blame(Struct, frozen=True, gc=False):
    """What one tenant did to another, since the sense was opened."""

    ns: Annotated[Nanoseconds, field("ns", "Time the culprit ran while the victim waited")]
    preempted: Annotated[int, field("", "Times it took a CPU from the running victim")]


class NoiseLost(Struct, frozen=True, gc=False):
    """What is missing in the books of waits: counted since the sense was opened."""

    unseated: Annotated[int, field("", "Looks at groups for which there was no seat")] = 0
    unstamped: Annotated[int, field("", "Tasks that ran without having been in a queue")] = 0
    backwards: Annotated[int, field("", "Waits that would have been negative")] = 0
    unseen: Annotated[int, field("", "Switches the kernel did not tell of, at least")] = 0
    carried: Annotated[int, field("", "Tasks moved in mid-wait, wait so far unknown")] = 0
    pairs: Annotated[int, field("", "Parts of waits whose culprit found no room")] = 0
    events: Annotated[int, field("", "Single long waits that were not told")] = 0


class Waits(Struct, frozen=True):
    """One collection of the noise sense: every tenant's waits, and who ran meanwhile.

    Keys are tenants' keys; `tenants` tells who they are, the host's own tasks, kernel threads and
    groups without a seat among them. Nested tenants are not contained in the one around them.
    Counters only rise; a tenant that died is told once more and then no longer.
    """

    at_ns: Annotated[Nanoseconds, field("ns", "When, on the monotonic clock")]
    level: Annotated[str, field("", "How much is kept: count, histogram or blame")]
    tenants: Annotated[dict[int, Tenant], field("", "Who is who")]
    waited: Annotated[dict[int, Waited], field("", "What each tenant waited")]
    blame: Annotated[dict[tuple[int, int], Blame], field("", "By victim and culprit")]
    lost: Annotated[NoiseLost, field("", "What is missing")] = NoiseLost()


class LongWait(Struct, frozen=True, gc=False):
    """One single long wait, told as it ends."""

    at_ns: Annotated[Nanoseconds, field("ns", "When it got the CPU, on the monotonic clock")]
    waited_ns: Annotated[Nanoseconds, field("ns", "How long it had waited")]
    victim: Annotated[Tenant, field("", "Whose task waited")]
    culprit: Annotated[str, field("", "Who ran most of that time, or the reason")]
    cpu: Annotated[int, field("", "CPU it waited for")]
    pid: Annotated[int, field("", "Its thread")]
    comm: Annotated[str, field("", "Name of its thread")]


class Part(Struct, frozen=True, gc=False):
    """A part of one tenant's waits: due to another tenant, or to what `reason` names."""

    culprit: Annotated[Tenant | None, field("", "Who ran meanwhile; none: see the reason")]
    reason: Annotated[str, field("", "tenant, self, throttled, idle, irq, steal or unknown")]
    ns: Annotated[Nanoseconds, field("ns", "Time waited")]
    preempted: Annotated[int, field("", "Times it took a CPU from the running victim")] = 0


class Delay(Struct, frozen=True):
    """What one tenant waited between two collections; `parts` add up to `waited_ns`."""

    tenant: Annotated[Tenant, field("", "Who waited")]
    seconds: Annotated[float, field("s", "Time between the two collections")]
    ran_ns: Annotated[Nanoseconds, field("ns", "Time its tasks were on a CPU")]
    waits: Annotated[int, field("", "Waits that ended")]
    waited_ns: Annotated[Nanoseconds, field("ns", "Time waited")]
    p50_ns: Annotated[float | None, field("ns", "Half of the waits were shorter")]
    p99_ns: Annotated[float | None, field("ns", "99 of 100 waits were shorter")]
    voluntary: Annotated[int, field("", "Switches away by the task's own will")]
    involuntary: Annotated[int, field("", "Switches away of tasks that would have run on")]
    parts: Annotated[tuple[Part, ...], field("", "For whom it waited, longest first")]
    buckets: Annotated[tuple[int, ...], field("", "Waits by length, see buckets.py")]
    preemptions: Annotated[
        dict[str, int], field("", "Preemptions for: self, tenant, service, kernel")
    ]
    unmeasured: Annotated[
        tuple[str, ...], field("", "Reasons that this kernel does not tell apart: irq, steal")
    ] = ()

    def share(self, *reasons: str) -> float:
        """What part of the waiting those reasons make up, 0 to 1; 0 where nobody waited."""
        ns = sum(part.ns for part in self.parts if part.reason in reasons)
        return ns / self.waited_ns if self.waited_ns else 0.0

    @property
    def culprit(self) -> Part | None:
        """The other tenant that made it wait longest; None where none did."""
        return next((part for part in self.parts if part.reason == "tenant" and part.ns), None)


class Finding(Struct, frozen=True):
    """A verdict: this tenant is being delayed by others, and how that is known."""

    delay: Annotated[Delay, field("", "What it waited in the last seconds")]
    usual_p99_ns: Annotated[float | None, field("ns", "Its usual p99; none: not known yet")]
    rule: Annotated[str, field("", "baseline: against its own past; absolute: without one")]
    began_ns: Annotated[Nanoseconds, field("ns", "When it began, on the monotonic clock")]
    ended_ns: Annotated[Nanoseconds | None, field("ns", "When it ended; none: it goes on")] = None

    @property
    def victim(self) -> Tenant:
        """Who is delayed."""
        return self.delay.tenant


class NoiseReport(Struct, frozen=True):
    """Who makes whom wait, over the last seconds: what screens show and the agent answers."""

    unix_s: Annotated[float, field("s", "When, as Unix time")]
    seconds: Annotated[float, field("s", "What `delays` cover, up to then")]
    level: Annotated[str, field("", "How much is kept: count, histogram or blame")]
    delays: Annotated[tuple[Delay, ...], field("", "Whoever others delayed most first")]
    fairness: Annotated[
        dict[int, float], field("", "CPU time got against the fair share by weight, by tenant")
    ]
    findings: Annotated[tuple[Finding, ...], field("", "What goes on now")]
    ended: Annotated[tuple[Finding, ...], field("", "What ended lately, newest last")]
    host_share: Annotated[float | None, field("", "Of all CPU time, what this sensing cost")]
    lost: Annotated[NoiseLost, field("", "What is missing")] = NoiseLost()
