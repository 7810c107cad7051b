"""Profiles that follow each other, added up into one that stays within bounds. Pure."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from cotenant.export.merge import merge
from cotenant.model import Frame, FrameKind, Profile, Stack

MOST_STACKS = 100_000
"""Different stacks that are told apart for as long as a screen is open; some 100 MB at most."""
OTHER = Frame("[other]", FrameKind.NOTE)


class Sum:
    """Adds up profiles of one type: `add` each, `profile` is all of them."""

    def __init__(self, most_stacks: int = MOST_STACKS) -> None:
        self._most = most_stacks
        self._parts: list[Profile] = []

    def add(self, part: Profile) -> None:
        """Takes in what was sampled since the one before."""
        self._parts.append(part)

    def profile(self, renamed: Callable[[Profile], Profile] | None = None) -> Profile | None:
        """All of them as one, with the names that `renamed` gives; None where there was none."""
        if not self._parts:
            return None
        whole = bounded(merge(self._parts), self._most) if len(self._parts) > 1 else self._parts[0]
        whole = renamed(whole) if renamed else whole
        self._parts = [whole]
        return whole


def bounded(profile: Profile, most: int) -> Profile:
    """The profile with its `most` heaviest stacks; the samples of others as `[other]`, counted."""
    if len(profile.stacks) <= most:
        return profile
    heavy = sorted(profile.stacks, key=lambda stack: -stack.value)
    other = len(profile.frames)
    rest: dict[tuple[int, str], list[int]] = {}
    folded = 0
    for stack in heavy[most:]:
        sums = rest.setdefault((stack.tenant, stack.end), [0, 0])
        sums[0] += stack.count
        sums[1] += stack.value
        folded += 0 if [profile.frames[i] for i in stack.frames] == [OTHER] else stack.count
    light = [Stack(who, "", (other,), n, value, end) for (who, end), (n, value) in rest.items()]
    return replace(
        profile,
        frames=(*profile.frames, OTHER),
        stacks=(*heavy[:most], *light),
        lost=replace(profile.lost, folded=profile.lost.folded + folded),
    )
