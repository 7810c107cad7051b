"""A profile as pprof: what `go tool pprof`, Pyroscope, Parca and most other tools open.

The message is perftools.profiles.Profile (google/pprof, proto/profile.proto), gzipped: string 0 is
empty, ids begin at 1, the innermost frame comes first. Names of sample types are those that
Pyroscope and Alloy use, without `-`, which Pyroscope refuses. Reading is in pprof_read.py.
"""

from __future__ import annotations

import gzip

from msgspec.structs import asdict

from cotenant.export.pprof_read import parse
from cotenant.export.protobuf import block, number, varint
from cotenant.export.visible import visible
from cotenant.model import COMPLETE, Frame, FrameKind, Profile, ProfileLost, ProfileType, Tenant

__all__ = ["KIND_MAPPINGS", "SAMPLE_TYPES", "parse", "render"]

SAMPLE_TYPES = {
    ProfileType.CPU: "cpu",
    ProfileType.OFF_CPU: "off_cpu",
    ProfileType.ALLOC: "alloc_space",
    ProfileType.FAULTS: "faults",
}
"""Name of what `Stack.value` is, by `Profile.type`; any other type has its own name."""
PERIOD_TYPES = {"alloc_space": "space", "inuse_space": "space"}
"""Name of the period where it is not that of the value: Go's heap profiles say so."""
KIND_MAPPINGS = {
    FrameKind.KERNEL: "[kernel]",
    FrameKind.PYTHON: "[python]",
    FrameKind.JIT: "[jit]",
    FrameKind.NOTE: "[note]",
}
"""The mapping that tells a frame's kind; native frames are in their binary's. A kernel module or
an interpreter follows after a space."""

MOST = (1 << 63) - 1
"""What an int64 holds."""


def render(profile: Profile, *, labels: bool = True) -> bytes:
    """The profile as a gzipped pprof message, every frame a location of its own.

    `labels`: whether samples tell tenant, process, namespace, pod, container and how they ended;
    without them, for a server that has them from elsewhere, equal stacks stay apart.
    """
    return gzip.compress(_Writer().write(profile, labels), compresslevel=6, mtime=0)


class _Writer:
    """One message in the making: the strings met so far and their numbers."""

    def __init__(self) -> None:
        self._strings = {"": 0}
        self._mappings: dict[tuple[str, str], int] = {}
        self._functions: dict[tuple[str, str, int], int] = {}

    def write(self, profile: Profile, labels: bool) -> bytes:
        value_type = SAMPLE_TYPES.get(profile.type, profile.type)  # type: ignore[call-overload]
        period = PERIOD_TYPES.get(value_type, value_type)
        out = [block(1, self._type("samples", "count"))]
        if value_type != "samples":
            out.append(block(1, self._type(value_type, profile.unit)))
        out += self._samples(profile, labels, single=value_type == "samples")
        out += self._places(profile.frames)
        out.append(number(9, _nanoseconds(profile.from_s)))
        out.append(number(10, _nanoseconds(profile.seconds)))
        out.append(block(11, self._type(period, profile.unit)))
        out.append(number(12, profile.period))
        out.append(number(14, self._string(value_type)))
        out += [number(13, self._string(comment)) for comment in _comments(profile)]
        out += [block(6, text.encode()) for text in self._strings]
        return b"".join(out)

    def _string(self, text: str) -> int:
        return self._strings.setdefault(visible(text), len(self._strings))

    def _type(self, name: str, unit: str) -> bytes:
        return number(1, self._string(name)) + number(2, self._string(unit))

    def _samples(self, profile: Profile, labels: bool, single: bool) -> list[bytes]:
        """Every stack; `single`: the samples are all there is, they have no second weight."""
        ids = [varint(i + 1) for i in range(len(profile.frames))]
        told: dict[tuple[int, str, str], bytes] = {}
        out = []
        for stack in profile.stacks:
            who = (stack.tenant, stack.process, stack.end)
            if labels and who not in told:
                told[who] = self._labels(profile.tenants[stack.tenant], *who[1:])
            path = b"".join([ids[frame] for frame in reversed(stack.frames)])
            values = _int64(stack.count) + (b"" if single else _int64(stack.value))
            out.append(block(2, block(1, path) + block(2, values) + told.get(who, b"")))
        return out

    def _labels(self, tenant: Tenant, process: str, end: str) -> bytes:
        pairs = {
            "tenant": tenant.name,
            "kind": tenant.kind,
            "process": process,
            "namespace": tenant.namespace,
            "pod": tenant.pod,
            "container": tenant.container,
            "end": None if end == COMPLETE else end,
        }
        return b"".join(
            block(3, number(1, self._string(name)) + number(2, self._string(value)))
            for name, value in pairs.items()
            if value
        )

    def _places(self, frames: tuple[Frame, ...]) -> list[bytes]:
        """Mappings, locations and functions of all frames."""
        highest: dict[int, int] = {}
        locations = []
        for i, frame in enumerate(frames):
            mapping = self._mapping(frame)
            highest[mapping] = max(highest.get(mapping, 0), frame.address)
            line = number(1, self._function(frame)) + number(2, frame.line)
            place = number(1, i + 1) + number(2, mapping) + number(3, frame.address)
            locations.append(block(4, place + block(4, line)))
        mappings = [
            block(3, self._mapped(i, name, build_id, highest[i]))
            for (name, build_id), i in self._mappings.items()
        ]
        functions = [
            block(5, self._defined(i, name, file, line))
            for (name, file, line), i in self._functions.items()
        ]
        return [*mappings, *locations, *functions]

    def _mapping(self, frame: Frame) -> int:
        """Number of the mapping that a frame is in; 0: of none, its binary is not known."""
        name = _mapping_name(frame)
        if not name and not frame.build_id:
            return 0
        return self._mappings.setdefault((name, frame.build_id), len(self._mappings) + 1)

    def _mapped(self, i: int, name: str, build_id: str, highest: int) -> bytes:
        # From address 0 at offset 0: addresses are the binary's own, as its symbols count.
        place = number(1, i) + number(3, min(highest + 1, MOST))
        named = number(5, self._string(name)) + number(6, self._string(build_id))
        return place + named + number(7, 1) + number(8, 1) + number(9, 1)

    def _function(self, frame: Frame) -> int:
        key = (frame.name, frame.file, frame.first_line)
        return self._functions.setdefault(key, len(self._functions) + 1)

    def _defined(self, i: int, name: str, file: str, line: int) -> bytes:
        # A system name equal to the name asks `go tool pprof` to demangle, and for it `<module>`
        # is a template argument to be taken away.
        mangled = self._string(name) if name.startswith(("_Z", "_R")) else 0
        named = number(1, i) + number(2, self._string(name)) + number(3, mangled)
        return named + number(4, self._string(file)) + number(5, line)


def _nanoseconds(seconds: float) -> int:
    # By way of whole microseconds: a double of Unix time holds no more.
    return min(max(0, round(seconds * 1e6) * 1000), MOST)


def _int64(value: int) -> bytes:
    return varint(min(value, MOST))


def _mapping_name(frame: Frame) -> str:
    """The kind's mapping and the module in it; of a native frame: its module."""
    own = KIND_MAPPINGS.get(frame.kind)
    if own:
        return f"{own} {frame.module}" if frame.module else own
    if frame.module.partition(" ")[0] in KIND_MAPPINGS.values():  # a binary that is called so
        return f"./{frame.module}"
    return frame.module


def _comments(profile: Profile) -> list[str]:
    """What was lost, in one line that parse understands, then the notes."""
    lost = ", ".join(f"{name} {value}" for name, value in asdict(profile.lost).items())
    return [*([f"lost: {lost}"] if profile.lost != ProfileLost() else []), *profile.notes]
