"""Drains the kernel's books of waits into Waits: what every tenant waited, and for whom.

The programs book by seat, a number that each group of tasks (a cgroup) got when it first ran. Here
seats become tenants: the innermost one that a cgroup is in, else the host. Kernel counters are
added up by what they rose since the last collection, so that a tenant's totals outlive the cgroups
below it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from operator import add, sub
from types import TracebackType

from cotenant.kernel import records
from cotenant.kernel.cgroupfs import UNIFIED, Hierarchies
from cotenant.kernel.cost import Cost
from cotenant.model import Blame, LongWait, Tenant, Waited, Waits
from cotenant.noise.programs import BOOK, EVENT, IDLE, Level, Programs
from cotenant.noise.seats import Seats

_REASON_FLAG = 1 << 31
_REASONS = ("itself", "throttled", "idle CPU", "interrupts", "steal", "unknown")
_BURY_EVERY = 10
_WRAP = 1 << 32
_COUNTERS = len(BOOK.unpack(bytes(BOOK.size))) - records.NOISE_BUCKETS - 1
"""Values of a book between `round` and the buckets."""


class _Account:
    """What a tenant's groups have added up to; `waited` is made anew when it changed."""

    __slots__ = ("buckets", "counters", "waited")

    def __init__(self) -> None:
        self.counters = [0] * _COUNTERS
        self.buckets = [0] * records.NOISE_BUCKETS
        self.waited: Waited | None = None


class Noise:
    """Senses who makes whom wait, from now on.

    Raises NoBpf where the kernel lacks or refuses what it takes (Linux 6.1 with BTF and sched_info;
    CAP_BPF and CAP_PERFMON).
    """

    def __init__(
        self,
        hierarchies: Hierarchies | None = None,
        level: Level = Level.BLAME,
        *,
        seats: int | None = None,
    ) -> None:
        cpu = hierarchies.of("cpu") if hierarchies else None
        unified = cpu.version == 2 if cpu else hierarchies is None or hierarchies.layout == "v2"
        self.tree = UNIFIED if cpu is None else cpu.number
        self._programs = Programs(unified, self.tree, level, seats)
        self._seats = Seats(self._programs, self.tree)
        self._last: dict[int, tuple[int, ...]] = {}
        self._accounts: dict[int, _Account] = {}
        self._blame: dict[tuple[int, int], Blame] = {}
        self._tenants: dict[int, Tenant] = {}
        self._alive: frozenset[int] = frozenset()
        self._leaving: frozenset[int] = frozenset()
        self._followed: Sequence[Tenant] | None = None
        self._collections = 0
        self._events: list[LongWait] = []

    # --- one collection

    def collect(self, tenants: Sequence[Tenant] = ()) -> Waits:
        """What everybody waited until now; `tenants` are those who live here."""
        self._forget_the_told()
        self._follow(tenants)
        self._programs.collect()
        for seat, book in self._programs.changed():
            self._add(seat, book)
        for victim, culprit, ns, preempted in self._programs.pairs():
            self._charge(self._who(victim), self._who(culprit), ns, preempted)
        waits = Waits(
            at_ns=time.monotonic_ns(),
            level=self.level.name.lower(),
            tenants=dict(self._tenants),
            waited={key: self._waited(account) for key, account in self._accounts.items()},
            blame=dict(self._blame),
            lost=self._programs.lost(),
        )
        self._collections += 1
        if self._collections % _BURY_EVERY == 0:
            for seat in self._seats.bury():
                self._last.pop(seat, None)
        return waits

    def _follow(self, tenants: Sequence[Tenant]) -> None:
        """Takes over who lives here; those who no longer do are told this once."""
        if tenants is self._followed:
            return
        self._followed = tenants
        alive = frozenset(tenant.key for tenant in tenants)
        self._leaving, self._alive = self._alive - alive, alive
        self._seats.follow(tenants)
        for tenant in tenants:
            if tenant.key in self._tenants:
                self._tenants[tenant.key] = tenant  # perhaps it has a name by now

    def _forget_the_told(self) -> None:
        """Drops those who were dead when they were told last time."""
        dead, self._leaving = self._leaving, frozenset()
        for key in dead:
            self._accounts.pop(key, None)
            self._tenants.pop(key, None)
        if dead:
            self._blame = {
                pair: blame for pair, blame in self._blame.items() if not dead.intersection(pair)
            }

    def _is_told(self, key: int) -> bool:
        """Whether this collection tells of that tenant; books of the dead may come late."""
        return key < 0 or key in self._alive or key in self._leaving

    def _who(self, seat: int) -> int | None:
        """The key of the tenant on that seat; None where it died and was told for the last time."""
        tenant = self._seats.tenant(seat)
        if not self._is_told(tenant.key):
            return None
        self._tenants[tenant.key] = tenant
        return tenant.key

    def _account(self, key: int) -> _Account:
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = _Account()
        account.waited = None
        return account

    def _add(self, seat: int, book: tuple[int, ...]) -> None:
        """Adds what a seat's books rose by to its tenant's account."""
        before = self._last.get(seat)
        self._last[seat] = book
        who = self._who(seat)
        if who is None:
            return
        account = self._account(who)
        buckets = book[_COUNTERS + 1 :]
        counters: Sequence[int] = book[1 : _COUNTERS + 1]
        if before:
            counters = [*map(sub, counters, before[1:])]
            old = before[_COUNTERS + 1 :]
            account.counters = [*map(add, account.counters, counters)]
            if buckets != old:
                rose = [(now - then) % _WRAP for now, then in zip(buckets, old, strict=True)]
                account.buckets = [*map(add, account.buckets, rose)]
        else:
            account.counters = [*map(add, account.counters, counters)]
            account.buckets = [*map(add, account.buckets, buckets)]

    def _charge(self, victim: int | None, culprit: int | None, ns: int, preempted: int) -> None:
        if victim is None:
            return
        if culprit is None:  # it died while the victim waited, and that was told
            self._account(victim).counters[_UNKNOWN] += ns
            return
        if victim == culprit:  # two groups of one tenant
            account = self._account(victim)
            account.counters[_SELF] += ns
            account.counters[_PREEMPTED_SELF] += preempted
            return
        past = self._blame.get((victim, culprit))
        if past:
            ns, preempted = past.ns + ns, past.preempted + preempted
        self._blame[victim, culprit] = Blame(ns, preempted)

    def _waited(self, account: _Account) -> Waited:
        if account.waited is None:
            counted = dict(zip(_NAMES, account.counters, strict=True))
            facts = self._programs.facts
            account.waited = Waited(
                ran_ns=counted["ran_ns"],
                waits=counted["waits"],
                waited_ns=counted["waited_ns"],
                voluntary=counted["voluntary"],
                involuntary=counted["involuntary"],
                preempted_self=counted["preempted_self"],
                self_ns=counted[_reason(records.NOISE_SELF)],
                throttled_ns=counted[_reason(records.NOISE_THROTTLED)],
                idle_ns=counted[_reason(records.NOISE_IDLE_CPU)],
                irq_ns=counted[_reason(records.NOISE_IRQ)] if facts.irq else None,
                steal_ns=counted[_reason(records.NOISE_STEAL)] if facts.steal else None,
                unknown_ns=counted[_reason(records.NOISE_UNKNOWN)],
                buckets=tuple(account.buckets),
            )
        return account.waited

    # --- single long waits

    def tell_events(self, least_ns: int) -> None:
        """From now on `events` tells single waits of at least `least_ns`; 0: no more."""
        self._programs.tell_events(least_ns, self._take)

    def events(self) -> list[LongWait]:
        """Long waits that ended since the last call, in order."""
        self._programs.drain_events()
        taken, self._events = self._events, []
        return taken

    def fileno(self) -> int | None:
        """Readable when `events` has something to tell; None where nobody asked for events."""
        return self._programs.fileno()

    def _take(self, data: bytes) -> None:
        at_ns, waited, _chief, victim, culprit, cpu, pid, comm = EVENT.unpack(data)
        if culprit == IDLE:
            who = "idle CPU"
        elif culprit & _REASON_FLAG:
            who = _REASONS[culprit & ~_REASON_FLAG]
        else:
            who = self._seats.tenant(culprit).name
        name = comm.partition(b"\0")[0].decode(errors="backslashreplace")
        self._events.append(
            LongWait(at_ns, waited, self._seats.tenant(victim), who, cpu, pid, name)
        )

    # --- how much, at what cost

    @property
    def level(self) -> Level:
        """How much the programs do."""
        return self._programs.level

    def set_level(self, level: Level) -> None:
        """From the next switch on, the programs do so much."""
        self._programs.set_level(level)

    def costs(self) -> list[Cost]:
        """Runs and timed nanoseconds of each program, as of the last collection."""
        return self._programs.costs()

    @property
    def programs(self) -> tuple[tuple[str, int], ...]:
        """Names and descriptors of the attached programs. For measuring."""
        return self._programs.fds

    @property
    def cpus(self) -> int:
        """CPUs this host could ever have."""
        return self._programs.cpus

    @property
    def memory_bytes(self) -> int:
        """Kernel memory of all maps."""
        return self._programs.memory_bytes

    def close(self) -> None:
        """Detaches every program and frees every map."""
        self._programs.close()

    def __enter__(self) -> Noise:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _reason(number: int) -> str:
    return f"reasons[{number}]"


_NAMES = records.NOISE_BOOK_LAYOUT.fields[1 : _COUNTERS + 1]
_SELF = _NAMES.index(_reason(records.NOISE_SELF))
_UNKNOWN = _NAMES.index(_reason(records.NOISE_UNKNOWN))
_PREEMPTED_SELF = _NAMES.index("preempted_self")
