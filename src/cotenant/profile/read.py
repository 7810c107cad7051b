"""Drains the kernel's samples: each stack once, with how often it was met.

A stack is known by its bytes, everything in a sample but its time and weight. Most samples meet a
stack that was met before, so most cost one look into a dictionary.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack

from msgspec import Struct

from cotenant.kernel import records
from cotenant.kernel.cgroupfs import UNIFIED, Hierarchies
from cotenant.kernel.cost import Cost
from cotenant.kernel.mapevents import MapEvents
from cotenant.kernel.perf import Clock, online_cpus
from cotenant.model import ProfileType
from cotenant.profile.programs import SAMPLE, TYPES, Counts, Programs, Tally

MOST_STACKS = 1 << 16
"""Different stacks kept between two calls of `take`; samples of any more are told as one."""
WAKE_BYTES = 512
"""An exec, with what it maps at once, fills so much of a ring: it wakes whoever waits."""
_KEY = 3 * 8
"""Bytes of a sample before what is the same for all samples of one stack."""
_NO_WEIGHT = bytes(_KEY - 8)
_END = slice(_KEY + 3 * 8, _KEY + 3 * 8 + 4)
_COMPLETE = records.PROFILE_END_COMPLETE.to_bytes(4, "little")
_ENDS = slice(3 * 8, 3 * 8 + 2 * 4)
_FINE = struct.pack("=II", records.PROFILE_END_COMPLETE, records.PROFILE_PYTHON_FINE)
HEAD_BYTES = SAMPLE.size - _KEY
"""Of a stack's bytes, those before its words."""
_WORD = struct.Struct("=I")
_PROCESS = struct.Struct("=QQI")
_TYPE_AT = _PROCESS.size
_BY_NUMBER = {number: kind for kind, number in TYPES.items()}


class Head(Struct, frozen=True, gc=False):
    """What a sample says besides its stack, of which `user` words are of user space."""

    cgroup: int
    started: int
    tgid: int
    type: ProfileType
    end: int
    python_end: int
    user: int
    comm: str


class Met(Struct, gc=False):
    """How often a stack was met, and what that weighs: 0 where each sample weighs the same."""

    count: int = 0
    value: int = 0


class Taken(Struct, frozen=True):
    """All samples of some time: by the bytes of their stack. `folded`: those beyond the bound."""

    since_s: float
    until_s: float
    met: dict[bytes, Met]
    folded: dict[ProfileType, Met]
    counts: Counts


def ended_well(key: bytes) -> bool:
    """Whether the stack is complete, and no interpreter's frames are missing."""
    return key[_ENDS] == _FINE


def head_of(key: bytes) -> Head:
    """What a stack's bytes say besides the stack."""
    _, _, _, cgroup, started, tgid, kind, end, python_end, user, _, comm = SAMPLE.unpack(
        bytes(_KEY) + key[:HEAD_BYTES]
    )
    name = comm.split(b"\0", 1)[0].decode(errors="replace")
    return Head(cgroup, started, tgid, _BY_NUMBER[kind], end, python_end, user, name)


def process_of(key: bytes) -> tuple[int, int, int]:
    """Whose sample met that stack: cgroup, start (0: the kernel's) and number of the process."""
    found: tuple[int, int, int] = _PROCESS.unpack_from(key)
    return found


def type_of(key: bytes) -> ProfileType:
    """What kind of sample met that stack."""
    return _BY_NUMBER[_WORD.unpack_from(key, _TYPE_AT)[0]]


class Samples:
    """Samples from now on: `step()` several times a second, `take()` for what came since the last.

    `kept` hears of those that are to be walked yet; they come back by `tell`.

    `fresh` are stacks that were met for the first time in the last step: their process may still
    live, so their names are best looked for at once.
    """

    def __init__(
        self,
        hierarchies: Hierarchies,
        types: Sequence[ProfileType],
        hz: int,
        chosen: Iterable[int] | None = None,
        kept: Callable[[bytes], None] = lambda raw: None,
    ) -> None:
        cpu = hierarchies.of("cpu")
        self.tree = UNIFIED if cpu is None else cpu.number
        unified = cpu.version == 2 if cpu else hierarchies.layout == "v2"
        self.hz = hz
        self.fresh: list[bytes] = []
        self.complete = 0
        self._met: dict[bytes, Met] = {}
        self._folded: dict[ProfileType, Met] = {}
        self._known: dict[int, bytes] = {}
        self._tallied: dict[int, tuple[int, int]] = {}
        self._clocks: list[Clock] = []
        self._rates: dict[int, int] = {}
        self._since_s = time.time()
        self._ended_s = 0.0
        self._ended: list[Tally] | None = None
        with ExitStack() as opened:
            self.programs = Programs(types, unified, chosen is not None, hz)
            opened.callback(self.programs.close)
            self.events = MapEvents(online_cpus(), wake_bytes=WAKE_BYTES)
            opened.callback(self.events.close)
            self.set_rates(dict.fromkeys(chosen or (), 1))
            self.programs.listen(self.tell, kept)
            self._opened = opened.pop_all()

    def set_rates(self, rates: dict[int, int]) -> None:
        """One sample of so many, by cgroup; 0: none. Cgroups no longer named are as all others."""
        for cgroup in self._rates.keys() - rates.keys():
            self.programs.drop_rate(cgroup)
        for cgroup, every in rates.items():
            if self._rates.get(cgroup) != every:
                self.programs.set_rate(cgroup, every)
        self._rates = rates

    def start(self) -> None:
        """Sampling begins: call it when the programs know the processes that run."""
        self.programs.attach()
        if ProfileType.CPU in self.programs.types:
            for cpu in online_cpus():
                clock = Clock(cpu, self.hz)
                self._opened.callback(clock.close)
                self.programs.attach_clock(clock.fileno())
                self._clocks.append(clock)
        self._base = self.programs.counts()
        self._since_s = time.time()

    def stop(self) -> None:
        """The clock's ticks end, and blocked time counts no further."""
        for clock in self._clocks:
            clock.disable()
        if ProfileType.OFF_CPU in self.programs.types:
            self._ended = list(self.programs.tallies())
        self._ended_s = time.time()

    def step(self) -> int:
        """Takes in what came since the last step; how many samples."""
        self.fresh = []
        return self.programs.drain()

    def drain_snapshots(self) -> int:
        """Hands over samples that are to be walked yet, see `deferred`; how many."""
        return self.programs.drain_snapshots()

    def tell(self, raw: bytes) -> None:
        """Takes in a sample: a packed profile_sample, words."""
        key = raw[_KEY:]
        self.complete += raw[_END] == _COMPLETE
        value, stack = SAMPLE.unpack_from(raw)[1:3] if raw[8:_KEY] != _NO_WEIGHT else (0, 0)
        if stack:
            self._known[stack] = key
            self.fresh.append(key)
            return
        met = self._met.get(key)
        if met is None:
            met = self._meet(key)
        met.count += 1
        met.value += value

    def _meet(self, key: bytes) -> Met:
        if len(self._met) >= MOST_STACKS:
            return self._folded.setdefault(type_of(key), Met())
        met = self._met[key] = Met()
        self.fresh.append(key)
        return met

    def _tally(self) -> None:
        """Adds what blocked tasks were counted for since the last time."""
        for stack, count, ns in self._ended or self.programs.tallies():
            before = self._tallied.get(stack, (0, 0))
            if (count, ns) == before:
                continue
            self._tallied[stack] = (count, ns)
            key = self._known.get(stack)
            if key is None:
                met = self._folded.setdefault(ProfileType.OFF_CPU, Met())
            else:
                met = self._met.setdefault(key, Met())
            met.count += count - before[0]
            met.value += ns - before[1]

    def take(self) -> Taken:
        """What came since the last take, or since the start."""
        if ProfileType.OFF_CPU in self.programs.types:
            self._tally()
        met, self._met = self._met, {}
        folded, self._folded = self._folded, {}
        now, counts = self._ended_s or time.time(), self.programs.counts()
        since = Counts(*(n - b for n, b in zip(counts, self._base, strict=True)))
        taken = Taken(self._since_s, now, met, folded, since)
        self._since_s, self._base = now, counts
        return taken

    def costs(self) -> list[Cost]:
        """What the programs cost since they were loaded."""
        return self.programs.costs()

    def close(self) -> None:
        """Stops sampling."""
        self._opened.close()
