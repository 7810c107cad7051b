"""Which file ending asks for which form of a profile, and which forms can be read back."""

from __future__ import annotations

from collections.abc import Callable

from cotenant.errors import UsageError
from cotenant.export import flame_html, flame_svg, folded, pprof, profile_json, speedscope
from cotenant.model import Profile

FORMATS: dict[str, Callable[[Profile], bytes]] = {
    ".html": flame_html.render,
    ".pb.gz": pprof.render,
    ".folded": folded.render,
    ".svg": flame_svg.render,
    ".speedscope.json": speedscope.render,
    ".json": profile_json.render,
}
"""Renderer by ending, the more particular ending first."""
READERS: dict[str, Callable[[bytes], Profile]] = {
    ".pb.gz": pprof.parse,
    ".pprof": pprof.parse,
    ".folded": folded.parse,
    ".json": profile_json.parse,
}
"""Parser by ending, for what can be compared with another profile."""


def render(name: str, profile: Profile) -> bytes:
    """The profile in the form that the file's ending asks for; UsageError for an unknown one."""
    return renderer(name)(profile)


def renderer(name: str) -> Callable[[Profile], bytes]:
    """What makes a file of this name: to be asked for before anything is sampled."""
    for ending, make in FORMATS.items():
        if name.endswith(ending):
            return make
    raise UsageError(
        f"A profile cannot be written as {name!r}: the ending of the name chooses the form.",
        f"end it in one of {' '.join(FORMATS)}",
    )


def parse_file(name: str, data: bytes) -> Profile:
    """The profile in a file of this name; UsageError for an ending that is not read.

    Raises BadProfile, a UsageError too, for contents that are no such profile.
    """
    for ending, parse in READERS.items():
        if name.endswith(ending) and not name.endswith(".speedscope.json"):
            return parse(data)
    raise UsageError(
        f"A profile cannot be read from {name!r}.",
        f"profiles are read from files that end in {' '.join(READERS)}",
    )
