"""A profile of any pprof file: our own, Go's `/debug/pprof/*`, another profiler's.

Files come from tenants and strangers: each count and size has a limit, and whatever is wrong is
`BadProfile`. Messages as in pprof.py, by their field numbers.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from typing import NamedTuple

from cotenant.errors import BadProfile
from cotenant.export.protoread import Value, fields, numbers, signed
from cotenant.model import (
    COMPLETE,
    RESERVED,
    Frame,
    FrameKind,
    Kind,
    Profile,
    ProfileLost,
    ProfileType,
    Stack,
    Tenant,
)

MAX_BYTES = 64 << 20
"""Of the message when unpacked; Pyroscope takes 4 MiB."""
MAX_ENTRIES = 1_000_000
"""Strings, functions, locations, mappings or samples, each."""
MAX_NAME = 16 << 10
"""Bytes of a string; what is longer is cut."""
MAX_DEPTH = 4096
"""Frames of one stack, inlined ones counted."""
MAX_FRAMES = 8_000_000
"""Frames of all stacks together."""

_TYPES = {
    "off_cpu": ProfileType.OFF_CPU,
    "alloc_space": ProfileType.ALLOC,
}
_KINDS = {f"[{kind}]": kind for kind in FrameKind if kind is not FrameKind.NATIVE}
_LOST = re.compile(r"(\w+) (\d{1,18})(?:, |$)")
_ENTRIES = {2: "samples", 3: "mappings", 4: "locations", 5: "functions", 6: "strings"}


class _Types(NamedTuple):
    """Which of a sample's values is read, and which counts."""

    name: str
    unit: str
    at: int
    count_at: int | None


def parse(
    data: bytes, *, type: str | None = None, tenant: Tenant | None = None, process: str = ""
) -> Profile:
    """The profile in a pprof file, gzipped or not.

    `type`: which of its values is read, by name (`alloc_space`); else its default, else the last.
    `tenant`, `process`: whose the samples are that have no labels, as in Go's own profiles.
    Raises BadProfile for anything that is no such file or larger than the limits above.
    """
    return _Reader(_unpacked(data)).read(type, tenant or _tenant("", {}, 0), process)


def _unpacked(data: bytes) -> bytes:
    if data[:2] != b"\x1f\x8b":
        message = data[: MAX_BYTES + 1]
    else:
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
                message = file.read(MAX_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise BadProfile(f"The profile cannot be unpacked: {error}.") from None
    if len(message) > MAX_BYTES:
        raise BadProfile(f"The profile is larger than {MAX_BYTES >> 20} MiB when unpacked.")
    if not message:
        raise BadProfile("The profile is empty.")
    return message


class _Reader:
    """One message: its entries by field, then what they say."""

    def __init__(self, message: bytes) -> None:
        self._parts: dict[int, list[bytes]] = {number: [] for number in (1, 11, *_ENTRIES)}
        self._values: dict[int, int] = {}
        self._comments: list[int] = []
        for number, value in fields(message):
            if isinstance(value, bytes) and number in self._parts:
                self._parts[number].append(value)
            elif number == 13:
                self._comments += numbers(value)
            elif isinstance(value, int):
                self._values[number] = signed(value)
        for number, name in _ENTRIES.items():
            if len(self._parts[number]) > MAX_ENTRIES:
                raise BadProfile(f"The profile has more than {MAX_ENTRIES:,} {name}.")
        if not self._parts[1]:
            raise BadProfile("This is no pprof file: no sample type is in it.")
        self._strings: dict[int, str] = {}
        self._frames: dict[Frame, int] = {}
        self._tenants: dict[tuple[tuple[str, str], ...], int] = {}
        self._who: list[Tenant] = []

    def read(self, type_name: str | None, tenant: Tenant, process: str) -> Profile:
        types = self._types(type_name)
        places = self._places()
        stacks = self._stacks(types, places, tenant, process)
        lost, notes = self._remarks()
        begin = max(0, self._values.get(9, 0)) / 1e9
        return Profile(
            type=_TYPES.get(types.name, types.name),
            unit=types.unit,
            from_s=begin,
            until_s=begin + max(0, self._values.get(10, 0)) / 1e9,
            period=max(0, self._values.get(12, 0)),
            tenants=tuple(self._who),
            frames=tuple(self._frames),
            stacks=stacks,
            lost=lost,
            notes=notes,
        )

    def _text(self, index: int) -> str:
        # Made once each: a long one that a million functions name is still one.
        text = self._strings.get(index)
        if text is None:
            try:
                raw = self._parts[6][index]
            except IndexError:
                raise BadProfile(f"The profile has no string {index}, which it names.") from None
            text = self._strings[index] = raw[:MAX_NAME].decode("utf-8", "replace")
        return text

    def _types(self, wanted: str | None) -> _Types:
        types = []
        for part in self._parts[1]:
            one = _numbers(part)
            types.append((self._text(one.get(1, 0)), self._text(one.get(2, 0))))
        names = [name for name, _ in types]
        default = wanted or self._text(max(0, self._values.get(14, 0)))
        if wanted and wanted not in names:
            raise BadProfile(f"The profile has no {wanted}; it has {', '.join(names)}.")
        value = names.index(default) if default in names else len(types) - 1
        # Go's heap has a number of objects before each size; all others have one number of samples.
        counts = [i for i in range(value + 1) if types[i][1] == "count"]
        if ("samples", "count") in types:
            counts = [types.index(("samples", "count"))]
        return _Types(*types[value], value, counts[-1] if counts else None)

    def _places(self) -> dict[int, tuple[int, ...]]:
        """Frames of each location by its id, outermost first; several where some are inlined."""
        mappings = {}
        for part in self._parts[3]:
            one = _numbers(part)
            mappings[one.get(1, 0)] = (self._text(one.get(5, 0)), self._text(one.get(6, 0)))
        functions = {}
        for part in self._parts[5]:
            one = _numbers(part)
            name = self._text(one.get(2, 0)) or self._text(one.get(3, 0))
            line = max(0, signed(one.get(5, 0)))
            functions[one.get(1, 0)] = (name, self._text(one.get(4, 0)), line)
        return {
            i: self._location(one, lines, mappings, functions)
            for i, one, lines in map(_location, self._parts[4])
        }

    def _location(
        self,
        one: dict[int, int],
        lines: list[bytes],
        mappings: dict[int, tuple[str, str]],
        functions: dict[int, tuple[str, str, int]],
    ) -> tuple[int, ...]:
        mapped, build_id = mappings.get(one.get(2, 0), ("", ""))
        kind, module = _kind(mapped)
        address = one.get(3, 0)
        unnamed = f"{module.rpartition('/')[2][:255]}+{address:#x}" if module else f"{address:#x}"
        found = []
        for part in reversed(lines):
            line = _numbers(part)
            name, file, first = functions.get(line.get(1, 0), ("", "", 0))
            at = max(0, signed(line.get(2, 0)))
            found.append(Frame(name or unnamed, kind, file, at, first, module, build_id, address))
        if not found:
            found = [Frame(unnamed, kind, "", 0, 0, module, build_id, address)]
        return tuple([self._frames.setdefault(frame, len(self._frames)) for frame in found])

    def _stacks(
        self, types: _Types, places: dict[int, tuple[int, ...]], tenant: Tenant, process: str
    ) -> tuple[Stack, ...]:
        sums: dict[tuple[int, str, tuple[int, ...], str], list[int]] = {}
        labels: dict[tuple[bytes, ...], tuple[int, str, str]] = {}
        total = 0
        for part in self._parts[2]:
            ids, values, told = _sample(part)
            path: list[int] = []
            try:
                for i in reversed(ids):
                    path += places[i]
                    if len(path) > MAX_DEPTH:
                        raise BadProfile(f"A stack has more than {MAX_DEPTH:,} frames.")
                value = values[types.at]
                count = 1 if types.count_at is None else values[types.count_at]
            except (KeyError, IndexError):
                raise BadProfile("A sample names a location or value that is not there.") from None
            total += len(path)
            if total > MAX_FRAMES:
                raise BadProfile(f"The stacks have more than {MAX_FRAMES:,} frames.")
            if value < 0 or count < 0:
                raise BadProfile("Values are below zero: a difference of profiles, not a profile.")
            if told not in labels:
                labels[told] = self._labels(told, tenant, process)
            owner, name, end = labels[told]
            both = sums.setdefault((owner, name, tuple(path), end), [0, 0])
            both[0] += count
            both[1] += value
        return tuple(
            Stack(owner, name, path, count, value, end)
            for (owner, name, path, end), (count, value) in sums.items()
        )

    def _labels(
        self, told: tuple[bytes, ...], tenant: Tenant, process: str
    ) -> tuple[int, str, str]:
        """Index of the tenant, process and end that a sample's labels tell."""
        pairs: dict[str, str] = {}
        for part in told:
            one = _numbers(part)
            if one.get(2):
                pairs[self._text(one.get(1, 0))] = self._text(one[2])
        about = ("tenant", "kind", "namespace", "pod", "container")
        own = {name: pairs[name] for name in about if name in pairs}
        key = tuple(own.items())
        if key not in self._tenants:
            self._tenants[key] = len(self._who)
            name = own.get("tenant", "")
            self._who.append(_tenant(name, own, len(self._who)) if name else tenant)
        return self._tenants[key], pairs.get("process", process), pairs.get("end", COMPLETE)

    def _remarks(self) -> tuple[ProfileLost, tuple[str, ...]]:
        lost, notes = ProfileLost(), []
        for comment in [self._text(i) for i in self._comments[:1000]]:
            if comment.startswith("lost: "):
                told = {name: int(value) for name, value in _LOST.findall(comment)}
                known = ProfileLost.__struct_fields__
                lost = ProfileLost(**{name: told[name] for name in known if name in told})
            else:
                notes.append(comment)
        return lost, tuple(notes)


def _numbers(message: bytes) -> dict[int, int]:
    """The plain numbers of a small message."""
    return {number: value for number, value in fields(message) if isinstance(value, int)}


def _location(message: bytes) -> tuple[int, dict[int, int], list[bytes]]:
    one: dict[int, int] = {}
    lines: list[bytes] = []
    for number, value in fields(message):
        if isinstance(value, int):
            one[number] = value
        elif number == 4:
            lines.append(value)
            if len(lines) > MAX_DEPTH:
                raise BadProfile(f"A location has more than {MAX_DEPTH:,} lines.")
    return one.get(1, 0), one, lines


def _sample(message: bytes) -> tuple[list[int], list[int], tuple[bytes, ...]]:
    ids: list[int] = []
    values: list[int] = []
    labels: list[Value] = []
    for number, value in fields(message):
        if number == 1:
            ids += numbers(value)
            if len(ids) > MAX_DEPTH:
                raise BadProfile(f"A stack has more than {MAX_DEPTH:,} frames.")
        elif number == 2:
            values += [signed(one) for one in numbers(value)]
        elif number == 3:
            labels.append(value)
    return ids, values, tuple([label for label in labels if isinstance(label, bytes)])


def _kind(mapped: str) -> tuple[FrameKind, str]:
    """Kind and module that a mapping's name tells."""
    head, _, rest = mapped.partition(" ")
    if head in _KINDS:
        return _KINDS[head], rest
    if head.startswith("./") and head[2:] in _KINDS:
        mapped = mapped[2:]
    return FrameKind.NATIVE, mapped


def _tenant(name: str, told: dict[str, str], i: int) -> Tenant:
    """A tenant as far as labels tell; one of the reserved rows is itself."""
    for one in RESERVED:
        if (one.name, one.kind) == (name, told.get("kind")):
            return one
    kind = told.get("kind", "")
    return Tenant(
        key=i,
        name=name or "unknown",
        kind=Kind(kind) if kind in list(Kind) else Kind.UNKNOWN,
        path="",
        cgroups={},
        namespace=told.get("namespace"),
        pod=told.get("pod"),
        container=told.get("container"),
    )
