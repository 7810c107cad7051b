"""Profiles made by hand: tenants with known stacks."""

from __future__ import annotations

from collections.abc import Mapping

from cotenant.model import Frame, FrameKind, Kind, Profile, ProfileLost, Stack, Tenant

WEB = Tenant(
    key=1, name="web", kind=Kind.CONTAINER, path="/docker/aaaa", cgroups={1: 11}, runtime="docker",
    id="aaaa0123", image="nginx:1", labels={"com.example/tier": "front"},
)  # fmt: skip
POD = Tenant(
    key=2, name="shop/api-7/app", kind=Kind.CONTAINER, path="/kubepods/bbbb", cgroups={1: 12},
    groups=("kubepods",), runtime="containerd", id="bbbb0123", namespace="shop", pod="api-7",
    container="app",
)  # fmt: skip

MAIN = Frame("main", FrameKind.NATIVE, module="/usr/bin/web", build_id="ab12", address=0x1000)
SERVE = Frame("Server.serve", FrameKind.PYTHON, file="/srv/app.py", line=31, first_line=20)
HASH = Frame("hash_all", FrameKind.PYTHON, file="/srv/app.py", line=55, first_line=50)
READ = Frame("vfs_read", FrameKind.KERNEL, address=0xFFFFFFFF81000000)

NOTHING = ProfileLost()
Stacks = Mapping[Tenant, Mapping[tuple[Frame, ...], int]]

USUAL: Stacks = {
    WEB: {(MAIN, SERVE, HASH): 30, (MAIN, SERVE, READ): 10},
    POD: {(MAIN, HASH): 5},
}


def profile(
    stacks: Stacks = USUAL,
    *,
    from_s: float = 1_700_000_000.0,
    seconds: float = 15.0,
    type: str = "cpu",
    unit: str = "nanoseconds",
    period: int = 10_000_000,
    lost: ProfileLost = NOTHING,
    notes: tuple[str, ...] = (),
) -> Profile:
    """A profile of these samples by tenant and stack, outermost frame first."""
    tenants: dict[Tenant, int] = {}
    frames: dict[Frame, int] = {}
    found = []
    for tenant, paths in stacks.items():
        number = tenants.setdefault(tenant, len(tenants))
        for path, count in paths.items():
            indices = tuple(frames.setdefault(frame, len(frames)) for frame in path)
            found.append(Stack(number, "python3", indices, count, count * (period or 1)))
    return Profile(
        type=type, unit=unit, from_s=from_s, until_s=from_s + seconds, period=period,
        tenants=tuple(tenants), frames=tuple(frames), stacks=tuple(found), lost=lost, notes=notes,
    )  # fmt: skip


def read(profile: Profile) -> dict[str, dict[tuple[str, ...], int]]:
    """Samples by names of tenant and frames: what must stay the same on any way."""
    out: dict[str, dict[tuple[str, ...], int]] = {}
    for stack in profile.stacks:
        names = tuple(profile.frames[frame].name for frame in stack.frames)
        paths = out.setdefault(profile.tenants[stack.tenant].name, {})
        paths[names] = paths.get(names, 0) + stack.count
    return out
