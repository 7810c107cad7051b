"""What the page of a flame graph is made of: every name once, stacks as rows of numbers.

Stacks are sorted, and each row tells only how it differs from the one before, so that 50,000 of
them stay a few megabytes.
"""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

from msgspec.structs import asdict

from cotenant.export.flame import function
from cotenant.export.visible import visible
from cotenant.model import Frame, FrameKind, Profile, ProfileLost

KINDS = tuple(FrameKind)
"""Kinds by number, in the order that page/tree.js has them."""


class Names:
    """Names, functions, frames, tenants and processes of one page: each once, known by number."""

    def __init__(self, *, alike: bool) -> None:
        self._alike = alike
        self._strings: dict[str, int] = {}
        self._functions: dict[tuple[Any, ...], int] = {}
        self._rows: list[list[int]] = []
        self._frames: dict[tuple[int, int], int] = {}
        self._tenants: dict[str, int] = {}
        self._processes: dict[str, int] = {}

    def string(self, text: str) -> int:
        """Number of a text, hidden characters spelt."""
        return self._strings.setdefault(visible(text), len(self._strings))

    def tenant(self, name: str) -> int:
        """Number of a tenant: in a comparison the same name is the same tenant."""
        return self._tenants.setdefault(name, len(self._tenants))

    def process(self, name: str) -> int:
        """Number of a process name."""
        return self._processes.setdefault(name, len(self._processes))

    def frame(self, frame: Frame) -> int:
        """Number of a function's line."""
        key = _alike(frame) if self._alike else function(frame)
        number = self._functions.setdefault(key, len(self._functions))
        if number == len(self._rows):
            texts = [self.string(text) for text in (frame.name, frame.file, frame.module)]
            kind = KINDS.index(frame.kind)
            self._rows.append([texts[0], kind, texts[1], frame.first_line, texts[2]])
        return self._frames.setdefault((number, frame.line), len(self._frames))

    def told(self) -> dict[str, Any]:
        """All of them, for the page."""
        return {
            "functions": self._rows,
            "frames": [number for pair in self._frames for number in pair],
            "tenants": [self.string(name) for name in self._tenants],
            "processes": [self.string(name) for name in self._processes],
            "strings": list(self._strings),
        }


def page_data(profile: Profile, base: Profile | None = None, host: str = "") -> dict[str, Any]:
    """Everything the page shows; `base`: the profile that this one is compared with."""
    names = Names(alike=base is not None)
    data = {
        **_about(profile, names),
        "host": visible(host),
        "type": profile.type,
        "period": profile.period,
        "ends": [[visible(end), count] for end, count in profile.ends.items()],
        "lost": _lost(profile.lost),
        "notes": [visible(note) for note in profile.notes],
        "base": None if base is None else _about(base, names),
    }
    return data | names.told()


def _alike(frame: Frame) -> tuple[Any, ...]:
    """What makes a function the same in two versions of a program: lines move, paths too."""
    return frame.name, frame.kind, frame.file.rpartition("/")[2]


def _about(profile: Profile, names: Names) -> dict[str, Any]:
    return {
        "unit": profile.unit,
        "from": profile.from_s,
        "until": profile.until_s,
        "samples": sum(stack.count for stack in profile.stacks),
        "weight": sum(stack.value for stack in profile.stacks),
        "rows": _rows(profile, names),
    }


def _rows(profile: Profile, names: Names) -> list[int]:
    """All stacks, one after the other.

    Each is tenant, process, how many outer frames it shares with the one before, how many follow,
    these, samples, weight.
    """
    frames = [names.frame(frame) for frame in profile.frames]
    stacks = sorted(
        (
            names.tenant(profile.tenants[one.tenant].name),
            names.process(one.process),
            [frames[i] for i in one.frames],
            i,
        )
        for i, one in enumerate(profile.stacks)
    )
    rows: list[int] = []
    above: tuple[int, int, list[int]] = (-1, -1, [])
    for tenant, process, path, i in stacks:
        kept = _shared(path, above[2]) if (tenant, process) == above[:2] else 0
        rows += (tenant, process, kept, len(path) - kept, *path[kept:])
        rows += (profile.stacks[i].count, profile.stacks[i].value)
        above = (tenant, process, path)
    return rows


def _shared(one: list[int], other: list[int]) -> int:
    """How many of the first frames are the same."""
    for i, (mine, its) in enumerate(zip(one, other, strict=False)):
        if mine != its:
            return i
    return min(len(one), len(other))


def _lost(lost: ProfileLost) -> list[tuple[str, int, str]]:
    """Name, number and description of each loss there was."""
    hints = get_type_hints(ProfileLost, include_extras=True)
    words = {name: get_args(hints[name])[1].description for name in hints}
    return [(name, value, words[name]) for name, value in asdict(lost).items() if value]
