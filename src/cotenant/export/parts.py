"""A profile taken apart, by tenant or by stacks: pure, records in, records out."""

from __future__ import annotations

from collections.abc import Sequence

from cotenant.model import Profile, Stack


def by_tenant(profile: Profile) -> list[Profile]:
    """The profile of each tenant that was met in it, with the frames of its own stacks only.

    What is lost is the whole host's: each part carries it.
    """
    stacks: dict[int, list[Stack]] = {}
    for stack in profile.stacks:
        stacks.setdefault(stack.tenant, []).append(stack)
    return [of_stacks(profile, found) for found in stacks.values()]


def of_stacks(profile: Profile, stacks: Sequence[Stack]) -> Profile:
    """The profile with these of its stacks, and only the tenants and frames that they name."""
    tenants: dict[int, int] = {}
    frames: dict[int, int] = {}
    kept = [
        Stack(
            tenants.setdefault(stack.tenant, len(tenants)),
            stack.process,
            tuple([frames.setdefault(frame, len(frames)) for frame in stack.frames]),
            stack.count,
            stack.value,
            stack.end,
        )
        for stack in stacks
    ]
    return Profile(
        type=profile.type,
        unit=profile.unit,
        from_s=profile.from_s,
        until_s=profile.until_s,
        period=profile.period,
        tenants=tuple([profile.tenants[number] for number in tenants]),
        frames=tuple([profile.frames[number] for number in frames]),
        stacks=tuple(kept),
        lost=profile.lost,
        notes=profile.notes,
    )
