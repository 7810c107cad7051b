"""JSON of a snapshot, for `cotenant metrics --format json` and whoever reads it with a program.

    {"at": 1790000000.25, "tier": "iterator", "machine": {...}, "root": {...},
     "tenants": [...], "finals": [...], "unattributed": [...], "lost": {...}}

A record of `root`, `tenants` and `finals` has `tenant` (who) and one object per part (`cpu`,
`memory` ...); `unattributed` lists block devices, as `disks` of a record does. Fields are the
model's, with the unit in the name where the model leaves it out: `usage` of Memory is
`usage_bytes`. Names that end in `at` are Unix seconds, `at_ns` is the monotonic clock. Every field
is always there: null = not measured, 0 = measured zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, get_type_hints

import msgspec
from msgspec import Meta, Struct

from cotenant.model import Disk, Sample, Snapshot, Usage

_SUFFIX = {"bytes": "_bytes", "ns": "_ns", "us": "_us", "bytes/s": "_bytes_rate"}


def render(snapshot: Snapshot) -> bytes:
    """One JSON object of the whole snapshot, ending in a newline."""
    return msgspec.json.encode(document(snapshot)) + b"\n"


def render_usages(usages: Iterable[Usage]) -> bytes:
    """A JSON array of usages, each a tenant's record with its rates beside it under `rates`."""
    return msgspec.json.encode([usage_record(usage) for usage in usages]) + b"\n"


def document(snapshot: Snapshot) -> dict[str, Any]:
    """The snapshot as plain dicts and lists, in the shape this module's docstring shows."""
    return {
        "at": snapshot.unix_s,
        "tier": snapshot.tier,
        "machine": plain(snapshot.machine),
        "root": record(snapshot.root),
        "tenants": [record(sample) for sample in snapshot.samples],
        "finals": [record(sample) for sample in snapshot.finals],
        "unattributed": disks(snapshot.unattributed),
        "lost": plain(snapshot.lost),
    }


def disks(of: tuple[Disk, ...] | None) -> list[dict[str, Any]] | None:
    """Block devices as plain dicts; None where they were not measured."""
    return None if of is None else [plain(disk) for disk in of]


def record(sample: Sample) -> dict[str, Any]:
    """One tenant's sample as plain dicts; `memory.working_set_bytes` is derived and added."""
    found = plain(sample)
    if sample.memory is not None:
        found["memory"]["working_set_bytes"] = sample.memory.working_set
    return found


def usage_record(usage: Usage) -> dict[str, Any]:
    """A usage as plain dicts: the sample's record, and `rates` between the last two samples."""
    rates = plain(usage)
    del rates["sample"]
    return {**record(usage.sample), "rates": rates}


def plain(struct: Struct) -> dict[str, Any]:
    """A record of the model as a dict under the names this format uses."""
    return {name: _value(getattr(struct, field)) for field, name in names(type(struct)).items()}


@cache
def names(of: type[Struct]) -> dict[str, str]:
    """The model's field names of a record and the names they have in JSON, with the unit."""
    hints = get_type_hints(of, include_extras=True)
    return {field: _named(field, hints[field]) for field in of.__struct_fields__}


def _named(field: str, hint: Any) -> str:
    metas = [one for one in getattr(hint, "__metadata__", ()) if isinstance(one, Meta)]
    unit = str((metas[0].extra or {}).get("unit", "")) if metas else ""
    suffix = _SUFFIX.get(unit, "")
    return field if not suffix or field.endswith(suffix) else field + suffix


def _value(value: Any) -> Any:
    if isinstance(value, Struct):
        return plain(value)
    if isinstance(value, tuple):
        return [_value(one) for one in value]
    if isinstance(value, str):
        # A file name need not be UTF-8; JSON must be.
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return value
