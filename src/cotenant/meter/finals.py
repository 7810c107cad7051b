"""The last sample of a tenant that died, put together from what each of its cgroups left.

On v1 a container is a cgroup in several trees, removed one after the other; each removal brings the
books of its tree. A final sample is given out once no tree has more to tell.

Where nobody tells the last books, the last look before the death is the final sample (`end`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from cotenant.kernel import records
from cotenant.meter.decode import ABSENT, RECORD, disks_of
from cotenant.meter.programs import Death
from cotenant.model import Cpu, Memory, Sample, Tenant, Throttle, Traffic

_SETTLED_NS = 1_500_000_000
_FORGOTTEN_NS = 60_000_000_000
_F = {name: at for at, name in enumerate(RECORD.fields)}


class Finals:
    """Final samples in the making, by (hierarchy, cgroup id) of the tenant they belong to.

    `watched`: hierarchies whose deaths are told; None: all. `unread` counts those who died before
    anything was read of them.
    """

    def __init__(self, watched: frozenset[int] | None = None) -> None:
        self._watched = watched
        self._owner: dict[tuple[int, int], Tenant] = {}
        self._left: set[int] = set()
        self._last: dict[int, Sample] = {}
        self._dying: dict[int, list[Death]] = {}
        self._strays: list[Death] = []
        self._ended: list[Sample] = []
        self.unread = 0

    def expect(self, tenants: Iterable[Tenant]) -> None:
        """All that live, as known now; the dying stay known until they are given out."""
        living = list(tenants)
        self.meet(living)
        self._forget({tenant.key for tenant in living})

    def meet(self, tenants: Iterable[Tenant]) -> None:
        """Some that were born or are known better; the others stay as they are."""
        for tenant in tenants:
            for hierarchy, number in tenant.cgroups.items():
                self._owner[hierarchy, number] = tenant
        strays, self._strays = self._strays, []
        for death in strays:
            self.add(death)

    def _forget(self, living: set[int]) -> None:
        """Lets go of tenants that left two changes ago: nobody will tell of their death any more.

        Without eBPF nobody does; with it, when the ring buffer was full.
        """
        left = {tenant.key for tenant in self._owner.values()} - living - self._dying.keys()
        gone, self._left = left & self._left, left - self._left
        if gone:
            self._owner = {at: who for at, who in self._owner.items() if who.key not in gone}

    def remember(self, samples: Iterable[Sample]) -> None:
        """The newest live sample of each tenant: what a death record lacks is taken from it."""
        before, last = self._last, {}
        for sample in samples:
            key = sample.tenant.key
            if (sample.cpu is None or sample.memory is None) and key in before:
                sample = _filled(sample, before[key])
            last[key] = sample
        self._last = last | {key: before[key] for key in self._dying if key in before}

    def add(self, death: Death) -> None:
        """One cgroup of a tenant is gone. Deaths of cgroups inside a tenant are no one's end."""
        tenant = self._owner.get((death.event.hierarchy, death.event.id))
        if tenant:
            self._dying.setdefault(tenant.key, []).append(death)
        else:
            self._strays.append(death)

    def end(self, tenant: Tenant, now_ns: int) -> None:
        """A tenant died and no death record will come: its last sample is final, as of then.

        Of one that was never read all is None, and `now_ns` its time: that it lived is known.
        """
        last = self._last.pop(tenant.key, None)
        if last is None:
            self.unread += 1
            last = Sample(tenant, now_ns)
        self._ended.append(replace(last, tenant=tenant, final=True))
        for place in tenant.cgroups.items():
            self._owner.pop(place, None)

    def take(self, now_ns: int) -> list[Sample]:
        """Final samples of tenants whose cgroups are all gone, or whose last went a while ago."""
        self._strays = [d for d in self._strays if now_ns - d.at_ns < _FORGOTTEN_NS]
        finals, self._ended = self._ended, []
        for key, deaths in list(self._dying.items()):
            first = deaths[0].event
            tenant = self._owner[first.hierarchy, first.id]
            gone = {death.event.hierarchy for death in deaths}
            told = tenant.cgroups.keys() if self._watched is None else self._watched
            settled = now_ns - deaths[-1].at_ns > _SETTLED_NS
            if settled or gone >= tenant.cgroups.keys() & told:
                finals.append(final(tenant, deaths, self._last.pop(key, None)))
                del self._dying[key]
                for place in tenant.cgroups.items():
                    self._owner.pop(place, None)
        return finals


def _filled(sample: Sample, before: Sample) -> Sample:
    """A sample taken while its tenant was dying: the parts that were gone as they were before."""
    if sample.cpu is None and sample.memory is None:
        return before
    parts = {
        name: getattr(before, name)
        for name in ("cpu", "throttle", "memory", "pids", "pressure", "disks", "vm_bytes")
        if getattr(sample, name) is None and getattr(before, name) is not None
    }
    return replace(sample, **parts) if parts else sample


def final(tenant: Tenant, deaths: Sequence[Death], last: Sample | None) -> Sample:
    """The last sample: the books at death where the kernel kept them, else the last look's."""
    cpu = last.cpu if last else None
    throttle = last.throttle if last else None
    memory = last.memory if last else None
    traffic = last.traffic if last else None
    disks = last.disks if last else None
    for death in deaths:
        record = death.record
        parts = record[_F["parts"]]
        if parts & records.METER_CPU:
            cpu = _cpu(record[_F["cpu_usage_ns"]], cpu)
        if parts & records.METER_THROTTLE:
            throttle = _throttle(record, throttle)
        if parts & records.METER_MEMORY:
            memory = _memory(record, memory)
        if parts & records.METER_TRAFFIC:
            traffic = Traffic(
                *record[RECORD.slice("traffic.received_bytes", "traffic.sent_packets")]
            )
        found = disks_of(death.disks)
        if found:
            disks = found
    return Sample(
        tenant,
        deaths[-1].at_ns,
        cpu=cpu,
        throttle=throttle,
        memory=memory,
        traffic=traffic,
        interfaces=last.interfaces if last else None,
        disks=disks,
        space_bytes=last.space_bytes if last else None,
        final=True,
    )


def _cpu(usage_ns: int, last: Cpu | None) -> Cpu:
    """Exact in total; how it splits is known only as of the last look."""
    if last is None:
        return Cpu(usage_ns, None, None)
    return Cpu(max(usage_ns, last.usage_ns), last.user_ns, last.system_ns)


def _throttle(record: tuple[int, ...], last: Throttle | None) -> Throttle:
    quota_us = record[_F["quota_us"]]
    return Throttle(
        record[_F["periods"]],
        record[_F["throttled_periods"]],
        record[_F["throttled_ns"]],
        None if quota_us == ABSENT else quota_us,
        record[_F["period_us"]],
        last.shares if last else record[_F["shares"]],
    )


def _memory(record: tuple[int, ...], last: Memory | None) -> Memory:
    """Peak, failures and kills at death. Usage reads what was not given back yet: mostly 0."""
    values = [
        None if v == ABSENT else v for v in record[RECORD.slice("memory_usage", "memory_kernel")]
    ]
    at_death = dict(zip(Memory.__struct_fields__, values, strict=True))
    if not record[_F["parts"]] & records.METER_STATES_PART:
        for name in Memory.__struct_fields__:
            if name not in ("usage", "limit", "max_usage", "failures", "oom_kills"):
                at_death[name] = getattr(last, name) if last else None
    return Memory(**at_death)  # type: ignore[arg-type]
