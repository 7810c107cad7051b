"""Where the time goes: stacks with names, and how often each was met."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Struct

from cotenant.model.field import field
from cotenant.model.tenant import Tenant

COMPLETE = "complete"
"""How a stack ends that was unwound down to the thread's start; any other end is a reason."""


class ProfileType(StrEnum):
    """What is sampled; decides what `Stack.value` counts, see `UNITS`."""

    CPU = "cpu"
    OFF_CPU = "off-cpu"
    ALLOC = "alloc"
    FAULTS = "faults"


UNITS = {
    ProfileType.CPU: "nanoseconds",
    ProfileType.OFF_CPU: "nanoseconds",
    ProfileType.ALLOC: "bytes",
    ProfileType.FAULTS: "count",
}
"""Unit of `Stack.value` by `Profile.type`; Go's own profiles bring theirs."""


class FrameKind(StrEnum):
    """Whose code a frame is: decides its colour."""

    KERNEL = "kernel"
    NATIVE = "native"
    PYTHON = "python"
    JIT = "jit"
    NOTE = "note"
    """No code: what stands where a stack was cut, such as `[cut: no unwind table]`."""


class Frame(Struct, frozen=True, gc=False):
    """One frame of a stack. Names are a tenant's: data, to be escaped wherever they are shown."""

    name: Annotated[str, field("", "Function: demangled, or Python's qualified name")]
    kind: Annotated[FrameKind, field("", "Whose code it is")]
    file: Annotated[str, field("", "Source file; empty: not known")] = ""
    line: Annotated[int, field("", "Line that was running; 0: not known")] = 0
    first_line: Annotated[int, field("", "Line its function begins at; 0: not known")] = 0
    module: Annotated[str, field("", "Binary it is in, as the tenant sees its path")] = ""
    build_id: Annotated[str, field("", "That binary's build id, in hex")] = ""
    address: Annotated[int, field("", "Address in that binary, as its symbols count")] = 0


class Stack(Struct, frozen=True, gc=False):
    """One stack of one tenant, and all samples that met it. The outermost frame comes first."""

    tenant: Annotated[int, field("", "Index of its tenant in `Profile.tenants`")]
    process: Annotated[str, field("", "Name of the process (comm of its first thread)")]
    frames: Annotated[tuple[int, ...], field("", "Indices into `Profile.frames`, outermost first")]
    count: Annotated[int, field("", "Samples")]
    value: Annotated[int, field("", "What they weigh, in the profile's unit")]
    end: Annotated[str, field("", "complete, or why the unwinder stopped")] = COMPLETE


class ProfileLost(Struct, frozen=True, gc=False):
    """What a profile misses: counted over its time."""

    dropped: Annotated[int, field("", "Samples that found no room in the ring buffer")] = 0
    kthreads: Annotated[int, field("", "Samples of kernel threads, shown without a process")] = 0
    idle: Annotated[int, field("", "Samples of an idle CPU, not shown")] = 0
    stale: Annotated[int, field("", "Python frames whose code object was gone when read")] = 0
    pythonless: Annotated[int, field("", "Samples without the Python frames they have")] = 0
    folded: Annotated[int, field("", "Samples told as `[other]`: too many different stacks")] = 0
    unmapped: Annotated[int, field("", "Mappings that found no room or were told too late")] = 0
    untabled: Annotated[int, field("", "Binaries without unwind tables or beyond the budget")] = 0


class Profile(Struct, frozen=True):
    """Stacks of some time, of one type. Frames are kept once each, stacks name them by index."""

    type: Annotated[str, field("", "cpu, off-cpu, alloc, faults, or a type of Go's own")]
    unit: Annotated[str, field("", "Unit of `Stack.value`: nanoseconds, bytes or count")]
    from_s: Annotated[float, field("s", "Begin, as Unix time")]
    until_s: Annotated[float, field("s", "End, as Unix time")]
    period: Annotated[int, field("", "What one sample stands for, in the unit; 0: it varies")]
    tenants: Annotated[tuple[Tenant, ...], field("", "Who was sampled")]
    frames: Annotated[tuple[Frame, ...], field("", "Every frame once")]
    stacks: Annotated[tuple[Stack, ...], field("", "Every stack once")]
    lost: Annotated[ProfileLost, field("", "What is missing")] = ProfileLost()
    notes: Annotated[tuple[str, ...], field("", "What a reader should know, a sentence each")] = ()

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return self.until_s - self.from_s

    @property
    def ends(self) -> dict[str, int]:
        """Samples by how their unwinding ended, `complete` among them; most first."""
        ends: dict[str, int] = {}
        for stack in self.stacks:
            ends[stack.end] = ends.get(stack.end, 0) + stack.count
        return dict(sorted(ends.items(), key=lambda item: -item[1]))
