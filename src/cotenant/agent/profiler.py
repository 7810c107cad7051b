"""The profile line in one hand: samples are taken, processes followed, stacks named.

`Profiler` is to the profile sense what `Watch` is to the meter: the daemon and the verb that senses
by itself both turn it.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from operator import attrgetter
from pathlib import Path
from time import monotonic
from types import TracebackType

from msgspec import Struct
from msgspec.structs import replace

from cotenant.errors import UsageError
from cotenant.export.merge import merge
from cotenant.kernel import records
from cotenant.kernel.capabilities import lacks
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.kernel.cost import Cost
from cotenant.kernel.perf import clock_ns
from cotenant.model import Profile, ProfileType, Tenant
from cotenant.profile.allocations import Allocations
from cotenant.profile.binaries import Binaries
from cotenant.profile.cache import Cache
from cotenant.profile.deferred import Deferred
from cotenant.profile.follow import Follower
from cotenant.profile.names import Names
from cotenant.profile.owners import Owners
from cotenant.profile.processes.known import Processes
from cotenant.profile.programs import ALLOC_EVERY, FAULTS_EVERY
from cotenant.profile.read import Samples, ended_well, head_of
from cotenant.profile.stacks import Stacks
from cotenant.profile.symbols.debuginfod import Server
from cotenant.profile.unwind.loaded import Tables

STEP_S, CALM_STEP_S = 0.25, 1.0
"""Longest time between two steps; the longer one where no interpreter came for `CALM_S`."""
CALM_S = 2.0
LEAST_S = 0.02
"""After a step the next waits this long, however many processes come."""
NAMED_S = 0.05
"""Stacks are named for so long; then samples are drained again."""
LONGEST_STEP_NS = 1_000_000_000
MOST_STEPS = 8
WORK_S = 0.1
"""Tables are made for so long in one step; then samples are drained again."""
_time_ns = attrgetter("time_ns")
SECOND_NS = 1_000_000_000


def cache_directory() -> Path:
    """Where tables and symbols are kept: /var/cache/cotenant for root, else the user's own."""
    if os.geteuid() == 0:
        return Path("/var/cache/cotenant")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cotenant"


class Wanted(Struct, frozen=True):
    """What is to be sampled. No tenants: the whole host; `debuginfod`: who is asked for names."""

    types: tuple[ProfileType, ...] = (ProfileType.CPU,)
    hz: int = 99
    tenants: tuple[Tenant, ...] | None = None
    debuginfod: str | None = None


class Profiler:
    """Samples from `start` on: `step()` several times a second, `take()` when a profile is due.

    `tenants` tells who lives here, and who did since it was asked last; once `settled` returns, it
    knows of all who were here when that was called. `cache` is a directory for tables and symbols.
    Raises NoBpf where the kernel lacks or refuses what it takes.
    """

    def __init__(
        self,
        hierarchies: Hierarchies,
        wanted: Wanted,
        tenants: Callable[[], Sequence[Tenant]],
        cache: Path | None = None,
        settled: Callable[[], None] = lambda: None,
    ) -> None:
        self.wanted = wanted
        if ProfileType.ALLOC in wanted.types and wanted.tenants is None:
            raise UsageError(
                "Watching allocations slows down whoever is watched: name the tenants.",
                "cotenant profile --type alloc --tenant NAME",
            )
        self._named: Sequence[Tenant] = wanted.tenants or ()
        self.sampled = 0
        # Whether kernel frames have names is told by whoever looked for them.
        self._lacks = [lack.words for lack in lacks() if lack.name != "CAP_SYSLOG"]
        self._stopped = False
        self._moved = False
        self._lost = self._lost_before = (0, 0)
        self._fresh: deque[bytes] = deque()
        self._tenants = tenants
        self._settled = settled
        self._hierarchies = hierarchies
        with ExitStack() as opened:
            snapshots: list[bytes] = []
            self._snapshots = snapshots
            self._samples = Samples(
                hierarchies, wanted.types, wanted.hz, self._chosen(hierarchies), snapshots.append
            )
            opened.callback(self._samples.close)
            programs = self._samples.programs
            self._tables = Tables(programs)
            server = Server(wanted.debuginfod, cache) if wanted.debuginfod else None
            self._binaries = Binaries(self._tables, Cache(cache) if cache else None, server)
            opened.callback(self._binaries.close)
            self._processes = Processes()
            self._follower = Follower(programs, self._binaries, self._processes)
            self._deferred = Deferred(self._binaries, self._follower.file)
            self._allocations = Allocations(programs)
            opened.callback(self._allocations.close)
            self._names = Names(self._binaries, self._follower)
            opened.callback(self._names.close)
            self._owners = Owners(hierarchies, self._samples.tree)
            self._stacks = Stacks(self._names, self._owners.owner)
            self._processes.seed()
            self._follower.publish()
            self._opened = opened.pop_all()

    def _chosen(self, hierarchies: Hierarchies) -> list[int] | None:
        if self.wanted.tenants is None:
            return None
        cpu = hierarchies.of("cpu")
        tree = cpu.number if cpu else 0
        chosen = [tenant.cgroups[tree] for tenant in self.wanted.tenants if tree in tenant.cgroups]
        outside = [tenant.name for tenant in self.wanted.tenants if tree not in tenant.cgroups]
        if outside and not chosen:
            raise UsageError(
                f"{outside[0]!r} has no cgroup in the hierarchy that tells who is on a CPU: its "
                "samples cannot be told from others'.",
                "`cotenant profile` without --tenant samples the whole host.",
            )
        if outside:
            self._lacks.append(f"{len(outside)} tenants have no cgroup where CPU time is counted")
        return chosen

    def stop(self) -> None:
        """Sampling ends; what was sampled can still be taken."""
        self._samples.stop()
        self._stopped = True

    def _allocating(self) -> list[int]:
        """Processes of the tenants that were named."""
        named = [tenant.path for tenant in self._named]
        return [pid for path in named for pid in self._hierarchies.pids_below(path)]

    def set_rates(self, rates: dict[Tenant, int]) -> None:
        """Of those tenants one sample of so many is taken, 0: none; of others as for all."""
        tree = self._samples.tree
        self._named = [tenant for tenant, every in rates.items() if every]
        self._samples.set_rates({t.cgroups[tree]: n for t, n in rates.items() if tree in t.cgroups})

    def fileno(self) -> int:
        """Readable when processes came, or mapped code, in numbers."""
        return self._samples.events.fileno()

    @property
    def memory_bytes(self) -> int:
        """Kernel memory of the maps."""
        return self._samples.programs.memory_bytes

    @property
    def waiting(self) -> int:
        """Binaries whose unwind tables are still to be made."""
        return self._binaries.waiting

    @property
    def places(self) -> int:
        """Breakpoints on allocators that are set now."""
        return self._allocations.count

    def prepare(self, seconds: float = WORK_S) -> bool:
        """Makes tables for about so long; True when all are made."""
        self._follow()
        self._names.prepare()
        self._binaries.work(seconds, self._follower.mapped())
        return not self._binaries.waiting

    def start(self) -> None:
        """Sampling begins."""
        self._samples.start()

    def _follow(self) -> None:
        until_ns = clock_ns()
        told = self._samples.events.drain()
        self._samples.drain_snapshots()
        for raw in self._snapshots:
            self._deferred.keep(raw)
        self._snapshots.clear()
        applied = 0
        for snapshot in self._deferred.due(until_ns):
            upto = bisect_right(told, snapshot.at_ns, lo=applied, key=_time_ns)
            self._processes.apply(told[applied:upto])
            applied = upto
            snapshot.mappings = self._processes.mappings(snapshot.tgid, snapshot.started)
        self._processes.apply(told[applied:])
        if self._processes.doubtful:
            self._processes.seed()
        self._follower.publish()

    @property
    def pause_s(self) -> float:
        """How long the next step may wait. Names of interpreted code die with the process."""
        return STEP_S if monotonic() - self._follower.came_s < CALM_S else CALM_STEP_S

    def step(self) -> int:
        """Takes in what came since; how many samples."""
        began_ns = clock_ns()
        before = self.sampled
        self._drain()
        self._moved |= self._owners.follow(self._tenants())
        self._stacks.meet(self._fresh, NAMED_S)
        while self._fresh and clock_ns() - began_ns < LONGEST_STEP_NS:
            self._drain()  # new names take their time, and samples come meanwhile
            self._stacks.meet(self._fresh, NAMED_S)
        if not self._fresh:
            # Whoever ended before this step began has had its samples drained and named.
            self._processes.bury(began_ns)
        if self._binaries.waiting:
            self._binaries.work(WORK_S, self._follower.mapped())
        self._names.learn()
        return self.sampled - before

    def _drain(self) -> None:
        now_ns = clock_ns()
        self._follow()
        self.sampled += self._samples.step()
        if ProfileType.ALLOC in self.wanted.types:
            self._allocations.follow(self._allocating, self._follower.living)
        for raw in self._deferred.finish(0 if self._stopped else now_ns):
            self._samples.tell(raw)
            self.sampled += 1
        self._fresh.extend(self._samples.fresh)
        self._learn(self._samples.fresh)

    def _learn(self, fresh: Sequence[bytes]) -> None:
        """What samples show that nothing else has told: processes, mappings, threads."""
        found = False
        for key in fresh:
            if ended_well(key):
                continue
            head = head_of(key)
            if head.end == records.PROFILE_END_NO_PROCESS:
                found |= self._processes.sighted(head.tgid, head.started)
            elif head.end == records.PROFILE_END_NO_MAPPING:
                found |= self._processes.rescan(head.tgid)
            elif head.python_end == records.PROFILE_PYTHON_NO_THREAD:
                self._follower.missed(head.tgid)
        if found:
            self._follower.publish()

    @property
    def complete(self) -> int:
        """Of `sampled`, those whose stack was unwound to its end."""
        return self._samples.complete

    def take(self) -> list[Profile]:
        """A profile of each type wanted: what was sampled since the last time."""
        self.step()
        for _ in range(MOST_STEPS):
            if not self._fresh:
                break
            self.step()  # what is not named by then, is named without looking at what comes
        self._settle_owners()
        taken = self._samples.take()
        profiles = [
            self._stacks.profile(taken, kind, self._period(kind), self._notes())
            for kind in self.wanted.types
        ]
        self._fresh.clear()
        gone = self._binaries.retire(self._follower.mapped())
        self._stacks.next_round(taken, self._names.next_round(gone))
        self._allocations.forget(gone)
        return [self.renamed(self._with_losses(profile)) for profile in profiles]

    def _settle_owners(self) -> None:
        """Gives every stack to whose it is: someone may have come since tenants were told of."""
        if self._owners.doubted:
            self._settled()
            self._owners.doubted = False
        self._moved |= self._owners.follow(self._tenants())
        if self._moved:
            self._stacks.own_anew()
            self._moved = False

    def awaited(self) -> int:
        """Reads the debug files that a server sent; how many it was asked for are still to come."""
        self._names.learn()
        return self._binaries.server_waiting

    def renamed(self, profile: Profile) -> Profile:
        """The profile with the names that came since it was taken: a server takes its time."""
        self._names.learn()
        frames = self._names.renamed(profile.frames)
        # Of what had no name, several places may be one function now.
        return profile if frames is profile.frames else merge([replace(profile, frames=frames)])

    def _with_losses(self, profile: Profile) -> Profile:
        """What was lost of processes and binaries since the last take, told with each type."""
        unmapped = self._processes.unmapped + self._processes.lost + self._follower.unmapped
        counts = unmapped, self._binaries.untabled
        if profile.type == self.wanted.types[0].value:
            self._lost_before, self._lost = self._lost, counts
        before = self._lost_before
        lost = replace(profile.lost, unmapped=counts[0] - before[0], untabled=counts[1] - before[1])
        return replace(profile, lost=lost)

    def _period(self, kind: ProfileType) -> int:
        return {
            ProfileType.CPU: SECOND_NS // self.wanted.hz,
            ProfileType.ALLOC: ALLOC_EVERY,
            ProfileType.FAULTS: FAULTS_EVERY,
        }.get(kind, 0)

    def _notes(self) -> tuple[str, ...]:
        notes = {file.note: None for file in self._binaries.by_number.values() if file.note}
        lacks = [f"{words[0].upper()}{words[1:]}." for words in self._lacks]
        watched = ProfileType.ALLOC in self.wanted.types
        allocations = self._allocations.notes if watched else ()
        return (*lacks, *self._names.notes, *notes, *allocations)

    def costs(self) -> list[Cost]:
        """What the programs in the kernel cost since they were loaded."""
        return self._samples.costs()

    def close(self) -> None:
        """Stops sampling, detaches everything."""
        self._opened.close()

    def __enter__(self) -> Profiler:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
