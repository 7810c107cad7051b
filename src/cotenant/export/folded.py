r"""Folded stacks: a line each, outermost frame first, then how often. What flamegraph.pl reads.

Tenant and process come first. Kernel frames end in `_[k]`, JIT code in `_[j]`, as perf's own
scripts write them; Python frames are `name (file:line)` with the line their function begins at.
`;` in a name is spelt `\x3b`, so that a reader which knows no escapes still splits rightly.
"""

from __future__ import annotations

import re
from collections import Counter

from cotenant.errors import BadProfile
from cotenant.export.visible import visible
from cotenant.model import Frame, FrameKind, Kind, Profile, ProfileType, Stack, Tenant

MAX_BYTES = 256 << 20
MAX_FRAMES = 8_000_000
MAX_DEPTH = 4096

_PYTHON = re.compile(r"(.*) \(([^()]*):(\d{1,19})\)", re.DOTALL)
_SUFFIXES = {FrameKind.KERNEL: "_[k]", FrameKind.JIT: "_[j]"}


def render(profile: Profile, *, samples: bool | None = None) -> bytes:
    """A line per stack, sorted; equal ones are one.

    `samples`: write how many there were, or what they weigh in the profile's unit; None: samples
    of a CPU profile, the weight of any other.
    """
    if samples is None:
        samples = profile.type == ProfileType.CPU
    names = [_written(frame) for frame in profile.frames]
    tenants = [_escaped(tenant.name) for tenant in profile.tenants]
    lines: Counter[str] = Counter()
    for stack in profile.stacks:
        path = [tenants[stack.tenant], _escaped(stack.process)]
        path += [names[frame] for frame in stack.frames]
        lines[";".join(path)] += stack.count if samples else stack.value
    return "".join(f"{line} {number}\n" for line, number in sorted(lines.items())).encode()


def parse(data: bytes) -> Profile:
    """A profile of type `samples`: tenants, processes, names and kinds are what folded lines tell.

    Lines of other tools have no tenant: their first frame is taken for one, as nothing tells.
    """
    if len(data) > MAX_BYTES:
        raise BadProfile(f"The folded stacks are larger than {MAX_BYTES >> 20} MiB.")
    frames: dict[Frame, int] = {}
    known: dict[str, int] = {}
    tenants: dict[str, int] = {}
    stacks: list[Stack] = []
    total = 0
    for number, line in enumerate(data.decode("utf-8", "replace").split("\n"), 1):
        if not line.strip():
            continue
        path, _, count = line.rstrip("\r").rpartition(" ")
        if not path or not count.isascii() or not count.isdigit() or len(count) > 19:
            raise BadProfile(f"Line {number} is no folded stack: it does not end in a number.")
        tenant, *rest = path.split(";")
        total += len(rest)
        if len(rest) > MAX_DEPTH or total > MAX_FRAMES:
            raise BadProfile(f"Line {number} and those before it hold too many frames.")
        for name in rest[1:]:
            if name not in known:
                known[name] = frames.setdefault(_read(name), len(frames))
        stacks.append(
            Stack(
                tenant=tenants.setdefault(tenant, len(tenants)),
                process=_unescaped(rest[0]) if rest else "",
                frames=tuple([known[name] for name in rest[1:]]),
                count=int(count),
                value=int(count),
            )
        )
    return Profile(
        type="samples",
        unit="count",
        from_s=0.0,
        until_s=0.0,
        period=0,
        tenants=tuple(
            Tenant(key=i, name=_unescaped(name), kind=Kind.UNKNOWN, path="", cgroups={})
            for name, i in tenants.items()
        ),
        frames=tuple(frames),
        stacks=tuple(stacks),
    )


def _written(frame: Frame) -> str:
    if frame.kind is FrameKind.PYTHON:
        file = frame.file.replace("(", "\\x28").replace(")", "\\x29")
        return f"{_escaped(frame.name)} ({_escaped(file)}:{frame.first_line})"
    return _escaped(frame.name) + _SUFFIXES.get(frame.kind, "")


def _read(name: str) -> Frame:
    for kind, suffix in _SUFFIXES.items():
        if name.endswith(suffix):
            return Frame(_unescaped(name.removesuffix(suffix)), kind)
    if found := _PYTHON.fullmatch(name):
        file = _unescaped(found[2]).replace("\\x28", "(").replace("\\x29", ")")
        return Frame(_unescaped(found[1]), FrameKind.PYTHON, file, first_line=int(found[3]))
    note = name.startswith("[") and name.endswith("]")
    return Frame(_unescaped(name), FrameKind.NOTE if note else FrameKind.NATIVE)


def _escaped(name: str) -> str:
    return visible(name).replace(";", "\\x3b")


def _unescaped(name: str) -> str:
    return name.replace("\\x3b", ";")
