"""A profile as Grafana Pyroscope takes it: push.v1.PusherService/Push, a series per tenant.

The request is written in protobuf rather than JSON: raw profiles then need no base64, which would
make each request and the queue a third larger, and a request is its series one after the other, so
that any number of them can be joined to one body or parted again without being written anew.

    PushRequest       series 1
    RawProfileSeries  labels 1 (LabelPair: name 1, value 2), samples 2
    RawSample         raw_profile 1 (pprof, gzipped), ID 2

What a server refuses unless told otherwise (its pkg/validation) is kept to here: a profile of more
than 16,000 stacks or 4 MiB becomes several, a stack deeper than 1,000 loses its innermost frames.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from cotenant.export import pprof
from cotenant.export.parts import by_tenant, of_stacks
from cotenant.export.protobuf import block
from cotenant.export.pushed import Encoded, Series
from cotenant.export.service import LONGEST_NAME, labels, service_name
from cotenant.model import Profile, ProfileType, Stack

PATH = "/push.v1.PusherService/Push"
CONTENT_TYPE = "application/proto"
"""What the Connect protocol calls protobuf over plain HTTP."""
SPY = "cotenant"
MOST_STACKS = 16_000
MOST_BYTES = 4 << 20
"""Of a pprof message before it is compressed."""
MOST_DEPTH = 1_000

NAMES = {
    ProfileType.CPU: "process_cpu",
    ProfileType.OFF_CPU: "off_cpu",
    ProfileType.ALLOC: "memory",
    ProfileType.FAULTS: "page_faults",
    "go/cpu": "process_cpu",
    "go/heap": "memory",
    "go/allocs": "memory",
}
"""`__name__` by type; of any other type: its last word."""
SAMPLES = {
    "go/cpu": "cpu",
    "go/heap": "inuse_space",
    "go/allocs": "alloc_space",
    "go/goroutine": "goroutine",
    "go/mutex": "delay",
    "go/block": "delay",
}
"""What Go itself calls the values of its profiles; a sample type may hold no `-`."""


def name_of(type: str) -> str:
    """`__name__` of a profile's series."""
    return NAMES.get(type) or type.rpartition("/")[2].replace("-", "_")


def render(
    profile: Profile,
    node: str,
    template: str | None = None,
    more: Mapping[str, str] | None = None,
) -> Encoded:
    """A series per tenant, or several where one would be too large.

    `node`: name of this host; `template`: of service names, see `service_name`; `more`: labels that
    every series gets.
    """
    out, cut, left_out = [], 0, 0
    for part in by_tenant(profile):
        flat, deep = _flat(part)
        cut += deep
        tenant = flat.tenants[0]
        service = service_name(tenant, node, template)
        head = _labels(
            labels(tenant, node, more)
            | {"__name__": name_of(part.type), "service_name": service, "pyroscope_spy": SPY}
        )
        for raw in _messages(flat):
            if raw is None:
                left_out += 1
                continue
            number = str(uuid.UUID(bytes=hashlib.blake2b(raw, digest_size=16).digest(), version=4))
            sample = block(2, block(1, raw) + block(2, number.encode()))
            out.append(Series(block(1, head + sample), service))
    return Encoded(out, cut, left_out)


def joined(series: list[Series]) -> bytes:
    """The body of a request with all of these."""
    return b"".join([one.body for one in series])


def _flat(part: Profile) -> tuple[Profile, int]:
    """Each stack once, whichever process met it, none too deep; and how many were too deep.

    A server would take labels of samples for labels of series, so processes are not told.
    """
    sums: dict[tuple[int, ...], tuple[int, int]] = {}
    deep = 0
    for stack in part.stacks:
        deep += len(stack.frames) > MOST_DEPTH
        path = stack.frames[:MOST_DEPTH]
        count, weight = sums.get(path, (0, 0))
        sums[path] = (count + stack.count, weight + stack.value)
    stacks = [Stack(0, "", path, count, weight) for path, (count, weight) in sums.items()]
    flat = replace(part, type=SAMPLES.get(part.type, part.type), stacks=tuple(stacks))
    return flat, deep


def _messages(flat: Profile) -> Iterator[bytes | None]:
    """The profile as pprof, parted until each part is small enough; None: a stack that is not."""
    stacks = flat.stacks
    if len(stacks) <= MOST_STACKS:
        raw = pprof.render(flat, labels=False)
        if int.from_bytes(raw[-4:], "little") <= MOST_BYTES:  # gzip ends with the length unpacked
            yield raw
            return
        if len(stacks) == 1:
            yield None
            return
    half = (len(stacks) + 1) // 2
    for part in (stacks[:half], stacks[half:]):
        yield from _messages(of_stacks(flat, part))


def _labels(pairs: Mapping[str, str]) -> bytes:
    return b"".join(
        block(1, block(1, name[:LONGEST_NAME].encode()) + block(2, text.encode()))
        for name, text in sorted(pairs.items())
    )
