"""A profile as JSON, complete: what other formats leave out is in it, and it reads back equal."""

from __future__ import annotations

import json
import math

import msgspec

from cotenant.errors import BadProfile
from cotenant.model import Profile

FORMAT = "cotenant-profile-1"
MAX_BYTES = 256 << 20


def render(profile: Profile) -> bytes:
    """The profile's fields under their own names, and `format` first."""
    # Not msgspec's encoder: it refuses half a surrogate pair, which a file name can hold.
    fields = msgspec.to_builtins(profile, str_keys=True)
    return json.dumps({"format": FORMAT, **fields}, separators=(",", ":")).encode()


def parse(data: bytes) -> Profile:
    """The profile; BadProfile for anything that is no such file or does not fit together."""
    if len(data) > MAX_BYTES:
        raise BadProfile(f"The profile is larger than {MAX_BYTES >> 20} MiB.")
    try:
        fields = json.loads(data)
        if not isinstance(fields, dict) or fields.get("format") != FORMAT:
            raise BadProfile("This JSON is no profile: its `format` is not " + FORMAT + ".")
        profile = msgspec.convert(fields, Profile, str_keys=True)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise BadProfile(f"The profile cannot be read: {error}.") from None
    _check(profile)
    return profile


def _check(profile: Profile) -> None:
    """Raises BadProfile unless indices point to something and nothing is below zero."""
    if not (math.isfinite(profile.from_s) and math.isfinite(profile.until_s)):
        raise BadProfile("The profile has no begin or no end.")
    frames, tenants = len(profile.frames), len(profile.tenants)
    for stack in profile.stacks:
        if not 0 <= stack.tenant < tenants or min(stack.count, stack.value) < 0:
            raise BadProfile("A stack of the profile has no tenant or counts below zero.")
        if stack.frames and not (min(stack.frames) >= 0 and max(stack.frames) < frames):
            raise BadProfile("A stack of the profile names a frame that is not there.")
