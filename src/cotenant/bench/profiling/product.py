"""`cotenant profile` as a tool among others: started as a user starts it, read from its JSON."""

from __future__ import annotations

from pathlib import Path

import msgspec

from cotenant.bench.daemon import command
from cotenant.bench.profiling.judge import Seen, Starts, is_start
from cotenant.bench.profiling.tools import Stage, Took, watch
from cotenant.errors import CotenantError
from cotenant.model import FrameKind, Profile

NAME = "cotenant"
MOST_SECONDS = "600s"


class Product:
    """The verb, for the whole host."""

    name = NAME

    def turn(self, stage: Stage) -> Took:
        """Samples once."""
        made = stage.folder / "profile.json"
        words = [*command(), "profile", "--hz", str(stage.hz), "--duration", MOST_SECONDS]
        watched = watch([[*words, "-o", str(made)]], stage, clocked=True)
        profile = decoded(made)
        tenants = {victim.tenant.path: victim.name for victim in stage.victims}
        told = sum(stack.count for stack in profile.stacks)
        return Took(watched, 0, told, judged(profile, tenants), made.stat().st_size)


def decoded(file: Path) -> Profile:
    """A profile as the verb writes it."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Profile)
    except (OSError, msgspec.DecodeError) as error:
        raise CotenantError(f"Its output cannot be read ({error}).") from None


def judged(profile: Profile, tenants: dict[str, str]) -> dict[str, Seen]:
    """Samples by program: `tenants` tells the program by its tenant's path."""
    starts, seen = Starts(), {name: Seen() for name in tenants.values()}
    whole = []
    for frame in profile.frames:
        named = is_start(frame.name)
        whole.append(named or (bool(frame.module) and starts.of_file(frame.module, frame.address)))
    for stack in profile.stacks:
        program = tenants.get(profile.tenants[stack.tenant].path)
        if program is not None and stack.frames:
            kinds = {profile.frames[index].kind for index in stack.frames}
            seen[program].add(stack.count, whole[stack.frames[0]], FrameKind.PYTHON in kinds)
    return seen
