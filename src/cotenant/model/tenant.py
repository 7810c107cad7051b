"""Who lives on this host."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Struct

from cotenant.model.field import field


class Kind(StrEnum):
    """What sort of tenant: decides its icon, its filter and its `kind` label."""

    CONTAINER = "container"
    VM = "vm"
    SERVICE = "service"
    CGROUP = "cgroup"
    HOST = "host"
    UNKNOWN = "unknown"


class Tenant(Struct, frozen=True, eq=False):
    """One who shares this host: a container, a VM, a systemd unit, or a plain cgroup.

    Compared by identity; `key` stays the same for as long as the cgroup lives and is never reused.
    """

    key: Annotated[int, field("", "Number of the tenant, unique for the life of the process")]
    name: Annotated[str, field("", "Name on screen, unique on this host at any one time")]
    kind: Annotated[Kind, field("", "What sort of tenant it is")]
    path: Annotated[str, field("", "Path of its cgroup below the mount, the same everywhere")]
    cgroups: Annotated[
        dict[int, int], field("", "Cgroup id in each hierarchy, by its number", "cgroup ids")
    ]
    groups: Annotated[tuple[str, ...], field("", "Pods, slices, projects around it")] = ()
    parent: Annotated[int | None, field("", "Key of the tenant it is nested in")] = None
    runtime: Annotated[str | None, field("", "Who runs it: docker, containerd, systemd ...")] = None
    id: Annotated[str | None, field("", "Container or VM id in its runtime")] = None
    image: Annotated[str | None, field("", "Image it was started from")] = None
    namespace: Annotated[str | None, field("", "Kubernetes namespace")] = None
    pod: Annotated[str | None, field("", "Kubernetes pod")] = None
    container: Annotated[str | None, field("", "Kubernetes container name")] = None
    labels: Annotated[dict[str, str], field("", "Labels its runtime keeps for it")] = {}
    started_at: Annotated[float | None, field("s", "Start as Unix time", "started")] = None
    main_pid: Annotated[
        int | None, field("", "Its first process, as the host numbers it", "first process")
    ] = None
    netns: Annotated[
        int | None, field("", "Inode of its network namespace; host's own: None", "network")
    ] = None
    rootfs: Annotated[
        str | None, field("", "Its writable layer on the host, to measure space", "writable layer")
    ] = None


HOST = Tenant(key=-1, name="host", kind=Kind.HOST, path="", cgroups={})
"""The rest: what runs in no tenant."""
KERNEL = Tenant(key=-2, name="kernel", kind=Kind.HOST, path="", cgroups={})
"""Kernel threads that work for no tenant in particular."""
UNSEATED = Tenant(key=-3, name="unseated", kind=Kind.UNKNOWN, path="", cgroups={})
"""Tenants for which the noise sense had no room."""
UNATTRIBUTED = Tenant(key=-4, name="unattributed", kind=Kind.HOST, path="", cgroups={})
"""What cgroup v1 charges to nobody: buffered writes, written back later by the kernel."""
RESERVED = (HOST, KERNEL, UNSEATED, UNATTRIBUTED)
"""Rows that are no cgroup; no tenant may have their names."""


def class_of(tenant: Tenant) -> str:
    """What a culprit is counted as: kernel, service (systemd units, the host's own) or tenant."""
    if tenant.key == KERNEL.key:
        return "kernel"
    return "service" if tenant.kind in (Kind.SERVICE, Kind.HOST) else "tenant"
