"""From the words of a stack to frames with names, and from many stacks to a Profile.

Pure but for what it asks: whoever knows the code (`Names`) and whoever knows the tenants.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from time import monotonic

from msgspec import Struct
from msgspec.structs import replace

from cotenant.kernel import records
from cotenant.model import (
    COMPLETE,
    HOST,
    KERNEL,
    UNITS,
    Frame,
    FrameKind,
    Profile,
    ProfileLost,
    ProfileType,
    Stack,
    Tenant,
)
from cotenant.profile.parts import (
    FILE_BYTE,
    MOST_PLACES,
    PYTHON_BYTE,
    Code,
    Kernels,
    Leaves,
    Names,
    Natives,
    Part,
    Renamed,
)
from cotenant.profile.read import HEAD_BYTES, Head, Met, Taken, head_of, process_of

MOST_HELD = 1 << 14
"""Places remembered from one round to the next; beyond that, all are forgotten."""

ENDS = {
    records.PROFILE_END_COMPLETE: COMPLETE,
    records.PROFILE_END_NO_PROCESS: "process not known yet",
    records.PROFILE_END_NO_MAPPING: "address in no mapping",
    records.PROFILE_END_NO_TABLE: "no unwind table",
    records.PROFILE_END_NO_RULE: "no unwind rule",
    records.PROFILE_END_UNSUPPORTED: "unwind rule not supported",
    records.PROFILE_END_FAULT: "stack memory not there",
    records.PROFILE_END_JIT: "JIT code without frame pointers",
    records.PROFILE_END_DEEP: "too many frames",
    records.PROFILE_END_SNAPSHOT: "stack deeper than its snapshot",
}
"""How a stack ended, in words."""
_CUT = {end: (Frame(f"[cut: {end}]", FrameKind.NOTE),) for end in ENDS.values()}


class Named(Struct, frozen=True, gc=False):
    """A stack with names: its parts, outermost first, of which other stacks have the same.

    stale     Python frames that were gone
    unknown   whether it has code of a JIT that was not told of yet
    """

    tenant: Tenant
    type: ProfileType
    process: str
    parts: tuple[Part, ...]
    end: str
    stale: int
    unknown: bool
    python_lost: bool


class _Begin(Struct, frozen=True, gc=False):
    """What stacks that begin with the same bytes have in common. `until`: where user space ends."""

    head: Head
    code: Code
    until: int
    end: str
    cut: tuple[Part, ...]


class Stacks:
    """Names stacks as they are met, and makes profiles of them.

    `owner` tells whose a cgroup is: by its id, and by a process in it that may still live.

    At most rates nearly every stack is new, as it ends at another instruction; but what called that
    was met before. So the innermost place, all that called it, and the kernel's part cost one look
    into a dictionary each, as a rule. Stacks that differ in nothing that is told share one `Named`.
    """

    def __init__(self, names: Names, owner: Callable[[int, int], Tenant]) -> None:
        self._names = names
        self._owner = owner
        self._named: dict[bytes, Named] = {}
        self._forget_places()

    def _forget_places(self) -> None:
        self._natives = Natives(self._names)
        self._leaves = Leaves(self._natives)
        self._kernels = Kernels(self._names)
        self._codes: dict[tuple[int, int], Code] = {}
        self._begins: dict[bytes, _Begin] = {}
        self._shared: dict[tuple[object, ...], Named] = {}

    def meet(self, keys: deque[bytes], seconds: float) -> None:
        """Names stacks that were met for the first time, for about so long: the first ones first.

        Those that were named are taken out of `keys`.
        """
        until = monotonic() + seconds
        while keys:
            key = keys.popleft()
            if key not in self._named:
                self._named[key] = self._name(key)
                if monotonic() >= until:
                    return

    def _name(self, key: bytes) -> Named:
        begin = self._begins.get(key[:HEAD_BYTES]) or self._begin(key)
        head, until, code = begin.head, begin.until, begin.code
        if until == HEAD_BYTES:
            parts, stale, unknown = begin.cut, 0, False
        elif FILE_BYTE <= key[HEAD_BYTES + 7] < PYTHON_BYTE:
            outer, stale, unknown = code[key[HEAD_BYTES + 8 : until]]
            parts = (*begin.cut, outer, self._leaves[key[HEAD_BYTES : HEAD_BYTES + 8]])
        else:
            whole, stale, unknown = code[key[HEAD_BYTES:until]]
            parts = (*begin.cut, whole)
        if until < len(key):
            parts = (*parts, self._kernels[key[until:]])
        owner = self._owner(head.cgroup, head.tgid) if head.started else KERNEL
        lost = head.python_end != 0
        named = Named(owner, head.type, head.comm, parts, begin.end, stale, unknown, lost)
        return self._only(named)

    def _only(self, one: Named) -> Named:
        """The first of those that tell the same."""
        # What it holds stays where it is, so that its place in memory tells it from all others.
        parts = map(id, one.parts)
        told = (id(one.tenant), one.type, one.process, one.end, one.stale, one.python_lost, *parts)
        return self._shared.setdefault(told, one)

    def _begin(self, key: bytes) -> _Begin:
        head = head_of(key)
        process = (head.tgid, head.started)
        code = self._codes.get(process)
        if code is None:
            code = self._codes[process] = Code(self._names, self._natives, head)
        end = ENDS[head.end]
        cut = () if end == COMPLETE else (_CUT[end],)
        begin = _Begin(head, code, HEAD_BYTES + 8 * head.user, end, cut)
        if len(self._begins) < MOST_PLACES:
            self._begins[key[:HEAD_BYTES]] = begin
        return begin

    def own_anew(self) -> None:
        """Asks again whose the stacks are: tenants are told of late, their names still later."""
        moved: dict[bytes, Named] = {}
        for key, named in self._named.items():
            cgroup, started, tgid = process_of(key)
            owner = self._owner(cgroup, tgid) if started else named.tenant
            # The host's is what belongs to nobody; whoever had it once was told by a process in it.
            if owner is not named.tenant and owner is not HOST:
                moved[key] = self._only(replace(named, tenant=owner))
        self._named |= moved

    def profile(
        self, taken: Taken, kind: ProfileType, period: int, notes: tuple[str, ...]
    ) -> Profile:
        """All stacks of one type. `period`: what one sample stands for, 0 where each tells."""
        made = _Making()
        stale = pythonless = 0
        for named, count, value in self._sums(taken.met, kind):
            stale += named.stale * count
            pythonless += named.python_lost * count
            made.add(named, count, value or count * period)
        folded = taken.folded.get(kind)
        lost = ProfileLost(
            dropped=taken.counts.dropped + taken.counts.busy + taken.counts.untallied,
            idle=taken.counts.idle,
            stale=stale,
            pythonless=pythonless,
            folded=folded.count if folded else 0,
        )
        return Profile(
            type=kind.value,
            unit=UNITS[kind],
            from_s=taken.since_s,
            until_s=taken.until_s,
            period=period,
            tenants=tuple(made.tenants),
            frames=tuple(made.frames),
            stacks=made.stacks(),
            lost=lost,
            notes=notes,
        )

    def _sums(
        self, met: Mapping[bytes, Met], kind: ProfileType
    ) -> Iterable[tuple[Named, int, int]]:
        """How often each stack was met, and what that weighs: those of one name together."""
        found: dict[int, Named] = {}
        sums: dict[int, list[int]] = {}
        for key, one in met.items():
            if not one.count:
                continue
            named = self._named.get(key)
            if named is None:
                named = self._named[key] = self._name(key)
            if named.type is not kind:
                continue
            if named.unknown and self._names.may_tell(head_of(key)):
                named = self._named[key] = self._name(key)
            same = sums.get(id(named))
            if same is None:
                found[id(named)] = named
                sums[id(named)] = [one.count, one.value]
            else:
                same[0] += one.count
                same[1] += one.value
        return [(found[number], count, value) for number, (count, value) in sums.items()]

    def next_round(self, taken: Taken, renamed: Renamed) -> None:
        """Drops names of stacks that were not met in that time, and what may have others now.

        Other places are remembered, up to so many: most are met again. So is the code of processes
        that were just met.
        """
        changed = renamed.processes
        self._named = {
            key: named
            for key, named in self._named.items()
            if key in taken.met and not renamed.files and process_of(key)[2] not in changed
        }
        held = len(self._natives) + len(self._leaves)
        held += sum([code.held for code in self._codes.values()])
        if renamed.files or held > MOST_HELD:
            self._forget_places()
            return
        kept = {id(named) for named in self._named.values()}
        self._shared = {told: named for told, named in self._shared.items() if id(named) in kept}
        met = {id(begin.code) for begin in self._begins.values()}
        self._codes = {
            process: code
            for process, code in self._codes.items()
            if id(code) in met and process[0] not in changed
        }
        self._kernels.clear()
        self._begins.clear()


class _Making:
    """A profile in the making: every tenant, frame and stack once."""

    def __init__(self) -> None:
        self.tenants: dict[Tenant, int] = {}
        self.frames: dict[Frame, int] = {}
        self._frames: dict[int, int] = {}
        self._numbers: dict[int, tuple[int, ...]] = {}
        self._met: dict[tuple[int, str, tuple[int, ...], str], list[int]] = {}

    def add(self, named: Named, count: int, value: int) -> None:
        tenant = self.tenants.setdefault(named.tenant, len(self.tenants))
        frames: tuple[int, ...] = ()
        for part in named.parts:
            frames += self._numbers.get(id(part)) or self._number(part)
        key = (tenant, named.process, frames, named.end)
        met = self._met.get(key)
        if met is None:
            self._met[key] = [count, value]
        else:
            met[0] += count
            met[1] += value

    def _number(self, part: Part) -> tuple[int, ...]:
        """Numbers of a part's frames. Equal ones have one; to ask which takes as long as naming.

        So frames and parts are known by their place in memory, where stacks keep them.
        """
        for frame in part:
            if id(frame) not in self._frames:
                self._frames[id(frame)] = self.frames.setdefault(frame, len(self.frames))
        numbers = self._numbers[id(part)] = tuple([self._frames[id(frame)] for frame in part])
        return numbers

    def stacks(self) -> tuple[Stack, ...]:
        return tuple(
            [
                Stack(tenant, process, frames, count, value, end)
                for (tenant, process, frames, end), (count, value) in self._met.items()
            ]
        )
