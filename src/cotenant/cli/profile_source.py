"""Where `profile` gets its stacks: a sense of our own, what the agent kept, or a file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from cotenant.cli import show
from cotenant.config import Settings
from cotenant.errors import UnknownTenant, UsageError
from cotenant.export.profile_files import parse_file
from cotenant.model import Profile, ProfileType
from cotenant.tenants.select import find
from cotenant.web.control import PROFILE, ask

LARGEST_FILE = 1 << 30
PATIENCE_S = 60.0
"""An hour of a busy host takes the agent seconds to put together."""


class Sampler(Protocol):
    """Samples until it is closed.

    how       whose the samples are
    sampled   how many there are so far; `complete` of them were unwound fully
    """

    how: str
    sampled: int
    complete: int

    def wait(self, seconds: float) -> None:
        """Waits so long, less when processes came: a step then finds them while they live."""

    def step(self) -> None:
        """Takes in what was sampled, where that is due: to be called several times a second."""

    def stop(self) -> None:
        """Samples no more; what was sampled can still be taken."""

    def take(self) -> Profile:
        """Everything since the last time it was asked, with names."""

    def awaited(self) -> int:
        """Debug files that a server was asked for, and that have not come: names get better yet."""

    def renamed(self, profile: Profile) -> Profile:
        """What it gave out before, with the names that came since."""

    def close(self) -> None:
        """Ends what it began."""


def read_file(path: Path, words: Sequence[str] = ()) -> Profile:
    """The profile in a file, of the tenants that these words mean alone (none: of all).

    OSError where it cannot be read; UsageError for what is no profile, or has no such tenant.
    """
    with path.open("rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise UsageError(f"{show.name(str(path))} is larger than {LARGEST_FILE >> 30} GiB.")
    return only(parse_file(path.name, data), words)


def read_agent(
    settings: Settings, words: Sequence[str], kind: ProfileType, seconds: float
) -> Profile:
    """What the agent kept of the last so many seconds, of the tenants that these words mean.

    AgentSilent where none answers; HostCannot where it keeps none.
    """
    now = time.time()
    span = {"from_s": now - seconds, "until_s": now, "type": kind.value}
    if len(words) == 1:
        return ask(settings.socket, PROFILE, timeout_s=PATIENCE_S, tenant=words[0], **span)
    return only(ask(settings.socket, PROFILE, timeout_s=PATIENCE_S, **span), words)


def only(profile: Profile, words: Sequence[str]) -> Profile:
    """The profile with the stacks of the tenants that these words mean; UnknownTenant for none."""
    if not words:
        return profile
    wanted = {id(tenant) for word in words for tenant in _meant(word, profile)}
    kept = {i for i, tenant in enumerate(profile.tenants) if id(tenant) in wanted}
    return replace(profile, stacks=tuple(s for s in profile.stacks if s.tenant in kept))


def _meant(word: str, profile: Profile) -> list[object]:
    try:
        return [*find(word, profile.tenants)]
    except UnknownTenant as error:
        known = ", ".join(show.name(tenant.name, 30) for tenant in profile.tenants[:8])
        hint = f"it knows {known}" if known else error.hint
        raise UnknownTenant(f"The profile has no tenant {word!r}.", hint) from None
