"""A profile as OTLP takes it: POST /v1development/profiles, a request per tenant.

Written by hand after opentelemetry/proto/profiles/v1development (proto 1.10, alpha): every request
has a dictionary of strings, functions, mappings, locations, stacks and attributes that all else
names by index; index 0 of each table stands for nothing. One resource a request, since some
servers take but one service from a batch.

Attributes are those of the semantic conventions (`k8s.pod.name`, `container.id`,
`profile.frame.type`). CPU time is told as OTel's own profiler does it: samples that are counted,
and the period each of them stands for.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator, Mapping
from itertools import starmap

from cotenant import __version__
from cotenant.export.parts import by_tenant, of_stacks
from cotenant.export.pprof import KIND_MAPPINGS, MOST, SAMPLE_TYPES
from cotenant.export.protobuf import block, fixed64, number, varint
from cotenant.export.pushed import Encoded, Series
from cotenant.export.pyroscope import MOST_BYTES, MOST_DEPTH, MOST_STACKS, SAMPLES, name_of
from cotenant.export.service import service_name, value
from cotenant.export.visible import visible
from cotenant.model import Frame, FrameKind, Kind, Profile, ProfileType, Stack, Tenant

PATH = "/v1development/profiles"
CONTENT_TYPE = "application/x-protobuf"
FRAME_TYPES = {
    FrameKind.KERNEL: "kernel",
    FrameKind.NATIVE: "native",
    FrameKind.PYTHON: "cpython",
}
"""`profile.frame.type` by kind; the others have no word there."""


def render(
    profile: Profile,
    node: str,
    template: str | None = None,
    more: Mapping[str, str] | None = None,
) -> Encoded:
    """A gzipped ExportProfilesServiceRequest per tenant, or several where one would be too large.

    Arguments as in `pyroscope.render`; `more` are attributes of every resource.
    """
    out, deep, left_out = [], 0, 0
    for part in by_tenant(profile):
        deep += sum(len(stack.frames) > MOST_DEPTH for stack in part.stacks)
        service = service_name(part.tenants[0], node, template)
        about = _resource(part.tenants[0], service, node) | dict(more or {})
        for request in _requests(part, about):
            if request is None:
                left_out += 1
            else:
                out.append(Series(gzip.compress(request, compresslevel=6, mtime=0), service))
    return Encoded(out, deep, left_out)


def _resource(tenant: Tenant, service: str, node: str) -> dict[str, str]:
    container = tenant.kind is Kind.CONTAINER
    pairs = {
        "service.name": service,
        "k8s.namespace.name": tenant.namespace,
        "k8s.pod.name": tenant.pod,
        "k8s.container.name": tenant.container,
        "container.name": tenant.name if container and not tenant.pod else None,
        "container.id": tenant.id if container else None,
        "container.image.name": tenant.image,
        "container.runtime.name": tenant.runtime if container else None,
        "k8s.node.name": node if tenant.pod else None,
        "host.name": node,
        "cotenant.tenant": tenant.name,
    }
    return {name: value(text) for name, text in pairs.items() if text}


def _requests(part: Profile, resource: Mapping[str, str]) -> Iterator[bytes | None]:
    """The profile's requests, parted until each is small enough; None: a stack that is not."""
    stacks = part.stacks
    if len(stacks) <= MOST_STACKS:
        request = _Writer().write(part, resource)
        if len(request) <= MOST_BYTES:
            yield request
            return
        if len(stacks) == 1:
            yield None
            return
    half = (len(stacks) + 1) // 2
    for some in (stacks[:half], stacks[half:]):
        yield from _requests(of_stacks(part, some), resource)


class _Writer:
    """One request in the making: tables met so far, as encoded entries and their numbers."""

    def __init__(self) -> None:
        self._strings = {"": 0}
        self._tables: dict[int, dict[bytes, int]] = {field: {b"": 0} for field in _TABLES}

    def write(self, part: Profile, resource: Mapping[str, str]) -> bytes:
        profile = self._profile(part)
        scope = block(1, b"cotenant") + block(2, __version__.encode())
        about = b"".join(starmap(_attribute, resource.items()))
        scoped = block(1, scope) + block(2, profile)
        tables = [block(field, entry) for field in _TABLES for entry in self._tables[field]]
        strings = [block(5, text.encode()) for text in self._strings]
        dictionary = b"".join([*tables, *strings])
        return block(1, block(1, about) + block(2, scoped)) + block(2, dictionary)

    def _profile(self, part: Profile) -> bytes:
        word = SAMPLES.get(part.type) or SAMPLE_TYPES.get(part.type, part.type)  # type: ignore[call-overload]
        counted = part.type == ProfileType.CPU and part.period > 0
        places = [self._location(frame) for frame in part.frames]
        out = [block(1, self._type(*(("samples", "count") if counted else (word, part.unit))))]
        out += [block(2, self._sample(stack, places, counted)) for stack in part.stacks]
        out.append(fixed64(3, max(0, round(part.from_s * 1e9))))
        out.append(number(4, max(0, round(part.seconds * 1e9))))
        if part.type != ProfileType.OFF_CPU:  # a blocked thread's time has none
            out.append(block(5, self._type("cpu" if counted else name_of(part.type), part.unit)))
            out.append(number(6, part.period or 1))
        body = b"".join(out)
        return body + block(7, hashlib.blake2b(body, digest_size=16).digest())

    def _sample(self, stack: Stack, places: list[int], counted: bool) -> bytes:
        path = b"".join([varint(places[frame]) for frame in reversed(stack.frames[:MOST_DEPTH])])
        out = number(1, self._entry(_STACKS, block(1, path)))
        if stack.process:
            out += block(2, varint(self._told("process.executable.name", stack.process)))
        return out + block(4, varint(min(stack.count if counted else stack.value, MOST)))

    def _location(self, frame: Frame) -> int:
        entry = number(1, self._mapping(frame)) + number(2, frame.address)
        line = number(1, self._function(frame)) + number(2, frame.line)
        word = FRAME_TYPES.get(frame.kind)
        kind = block(4, varint(self._told("profile.frame.type", word))) if word else b""
        return self._entry(_LOCATIONS, entry + block(3, line) + kind)

    def _mapping(self, frame: Frame) -> int:
        name = KIND_MAPPINGS.get(frame.kind) or frame.module
        if not name and not frame.build_id:
            return 0
        entry = number(4, self._string(name))
        if frame.build_id:
            told = self._told("process.executable.build_id.gnu", frame.build_id)
            entry += block(5, varint(told))
        return self._entry(_MAPPINGS, entry)

    def _function(self, frame: Frame) -> int:
        name = self._string(frame.name)
        named = number(1, name) + number(2, name) + number(3, self._string(frame.file))
        return self._entry(_FUNCTIONS, named + number(4, frame.first_line))

    def _told(self, name: str, text: str) -> int:
        entry = number(1, self._string(name)) + block(2, block(1, visible(text).encode()))
        return self._entry(_ATTRIBUTES, entry)

    def _type(self, name: str, unit: str) -> bytes:
        return number(1, self._string(name)) + number(2, self._string(unit))

    def _string(self, text: str) -> int:
        return self._strings.setdefault(visible(text), len(self._strings))

    def _entry(self, table: int, entry: bytes) -> int:
        entries = self._tables[table]
        return entries.setdefault(entry, len(entries))


_MAPPINGS, _LOCATIONS, _FUNCTIONS, _LINKS, _ATTRIBUTES, _STACKS = _TABLES = (1, 2, 3, 4, 6, 7)
"""Fields of ProfilesDictionary; strings are its field 5."""


def _attribute(name: str, text: str) -> bytes:
    """A KeyValue as a field of a Resource, its value a text."""
    return block(1, block(1, name.encode()) + block(2, block(1, text.encode())))
