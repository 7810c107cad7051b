"""A profile for speedscope.app: one profile per tenant in one file, heaviest first.

The form is speedscope's own (its file-format-schema.json): frames once, then for each tenant
samples as indices, outermost first, with a weight each. Their order means nothing here: look at
them "left heavy".
"""

from __future__ import annotations

import json
from typing import Any

import cotenant
from cotenant.export.flame import functions
from cotenant.export.visible import visible
from cotenant.model import Frame, FrameKind, Profile

SCHEMA = "https://www.speedscope.app/file-format-schema.json"
_UNITS = ("nanoseconds", "bytes")
"""Units that speedscope knows too; anything else is counted: `none`."""


def render(profile: Profile) -> bytes:
    """The file, as JSON. Lines of one function are one frame; its first line is the line shown."""
    index, firsts = functions(profile.frames)
    frames = [_frame(frame) for frame in firsts]
    processes: dict[str, int] = {}
    by_tenant: dict[int, list[tuple[list[int], int]]] = {}
    for stack in profile.stacks:
        process = processes.setdefault(stack.process, len(firsts) + len(processes))
        path = [process, *[index[frame] for frame in stack.frames]]
        by_tenant.setdefault(stack.tenant, []).append((path, stack.value))
    frames += [{"name": visible(name) or "?"} for name in processes]
    weights = {i: sum(weight for _, weight in rows) for i, rows in by_tenant.items()}
    heaviest = sorted(weights, key=lambda i: -weights[i])
    file = {
        "$schema": SCHEMA,
        "shared": {"frames": frames},
        "profiles": [
            _profile(visible(profile.tenants[i].name), profile.unit, by_tenant[i], weights[i])
            for i in heaviest
        ],
        "name": f"{profile.type}, {profile.seconds:.0f} s",
        "activeProfileIndex": 0,
        "exporter": f"cotenant {cotenant.__version__}",
    }
    return json.dumps(file, separators=(",", ":")).encode()


def _profile(name: str, unit: str, rows: list[tuple[list[int], int]], end: int) -> dict[str, Any]:
    return {
        "type": "sampled",
        "name": name,
        "unit": unit if unit in _UNITS else "none",
        "startValue": 0,
        "endValue": end,
        "samples": [path for path, _ in rows],
        "weights": [weight for _, weight in rows],
    }


def _frame(frame: Frame) -> dict[str, Any]:
    """speedscope colours by file: what has none gets its binary, kernel frames the kernel."""
    out: dict[str, Any] = {"name": visible(frame.name)}
    own = f"[{frame.kind}]" if frame.kind in (FrameKind.KERNEL, FrameKind.JIT) else ""
    file = frame.file or own or frame.module
    if file:
        out["file"] = visible(file)
    if frame.first_line:
        out["line"] = frame.first_line
    return out
