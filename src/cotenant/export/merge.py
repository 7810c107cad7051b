"""Several profiles of one type as one: what the agent keeps by the minute becomes an hour."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from msgspec.structs import asdict

from cotenant.errors import UsageError
from cotenant.model import Frame, Profile, ProfileLost, Stack, Tenant


def merge(profiles: Sequence[Profile]) -> Profile:
    """One profile from the first's begin to the last's end; equal stacks become one, losses add up.

    A tenant is the same if kind and name are, also after a restart: the last one told of stands
    for it. Periods that differ give 0, "it varies". Raises UsageError for none at all, and for
    types or units that differ.
    """
    if not profiles:
        raise UsageError("There is no profile to merge.")
    kinds = {(one.type, one.unit) for one in profiles}
    if len(kinds) > 1:
        told = " and ".join(sorted(f"{kind} in {unit}" for kind, unit in kinds))
        raise UsageError(f"Profiles of different types cannot be merged: {told}.")
    frames: dict[Frame, int] = {}
    tenants: dict[tuple[str, str], int] = {}
    latest: dict[int, Tenant] = {}
    stacks: dict[tuple[int, str, tuple[int, ...], str], list[int]] = defaultdict(lambda: [0, 0])
    for one in sorted(profiles, key=lambda profile: profile.until_s):
        frame_of = [frames.setdefault(frame, len(frames)) for frame in one.frames]
        tenant_of = [tenants.setdefault((t.kind, t.name), len(tenants)) for t in one.tenants]
        latest.update(zip(tenant_of, one.tenants, strict=True))
        for stack in one.stacks:
            path = tuple([frame_of[frame] for frame in stack.frames])
            sums = stacks[tenant_of[stack.tenant], stack.process, path, stack.end]
            sums[0] += stack.count
            sums[1] += stack.value
    periods = {one.period for one in profiles}
    return Profile(
        type=profiles[0].type,
        unit=profiles[0].unit,
        from_s=min(one.from_s for one in profiles),
        until_s=max(one.until_s for one in profiles),
        period=periods.pop() if len(periods) == 1 else 0,
        tenants=tuple([latest[i] for i in range(len(tenants))]),
        frames=tuple(frames),
        stacks=tuple(
            Stack(tenant, process, path, count, value, end)
            for (tenant, process, path, end), (count, value) in stacks.items()
        ),
        lost=_added(one.lost for one in profiles),
        notes=tuple(dict.fromkeys(note for one in profiles for note in one.notes)),
    )


def _added(losses: Iterable[ProfileLost]) -> ProfileLost:
    sums: dict[str, int] = defaultdict(int)
    for lost in losses:
        for name, value in asdict(lost).items():
            sums[name] += value
    return ProfileLost(**sums)
