"""The container storage that podman and CRI-O share (containers/storage): where its files lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from cotenant.tenants.files import json_below, mapping, read_below, sequence

RUN = ("run", "containers", "storage", "overlay-containers")
"""What is running: `<id>/userdata` with podman's `pidfile` and CRI-O's copy of the OCI config."""
STORAGE = ("var", "lib", "containers", "storage")
LIB = (*STORAGE, "overlay-containers")
"""What exists: `containers.json` with id, names and metadata, `<id>/userdata/config.json`."""
LIST_LIMIT = 16 << 20


def config_of(base: Path, id: str, store: tuple[str, ...] = LIB) -> dict[str, Any]:
    """The OCI config of the container `id`, with its annotations; {} when there is none."""
    return json_below(base, *store, id, "userdata", "config.json")


def pid_of(base: Path, id: str, run: tuple[str, ...] = RUN) -> int | None:
    """First process of the running container `id`; None when that is not written down."""
    data = read_below(base, *run, id, "userdata", "pidfile", limit=32)
    return int(data) if data and data.strip().isdigit() else None


def upper_of(config: dict[str, Any]) -> str | None:
    """Its writable layer on the host: `diff` beside the overlay's `merged`; None if not overlay."""
    path = mapping(config.get("root")).get("path")
    if isinstance(path, str) and path.startswith("/") and path.endswith("/merged"):
        return path[: -len("merged")] + "diff"
    return None


def entry_of(base: Path, id: str, lib: tuple[str, ...] = LIB) -> dict[str, Any]:
    """What containers.json keeps of the container `id`; {} when it is not in it."""
    data = read_below(base, *lib, "containers.json", limit=LIST_LIMIT)
    try:
        entries = sequence(msgspec.json.decode(data)) if data else []
    except (msgspec.MsgspecError, RecursionError):
        return {}
    return next((entry for entry in map(mapping, entries) if entry.get("id") == id), {})


def embedded(value: object) -> dict[str, Any]:
    """A JSON object written as text inside JSON; {} when it is none."""
    if not isinstance(value, str) or len(value) > LIST_LIMIT:
        return {}
    try:
        return mapping(msgspec.json.decode(value))
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return {}
