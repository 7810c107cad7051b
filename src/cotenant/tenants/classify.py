"""What a cgroup is, by its path alone: pure, never asks anyone.

`classify("/docker/<64 hex>")` is a container of Docker's; `/system.slice` is a group; a path nobody
claims is plain. Paths are judged one directory at a time (`below`), outermost first, so that a
container inside a container is seen as both.

Recorded from: Docker 20 to 28, containerd 1.6 and 2, CRI-O, podman 3 to 5, kubelet with both
cgroup drivers, kind, k3s, LXC 2 to 6, LXD, Proxmox, libvirt, Firecracker's jailer, Kata 2 and 3.
"""

from __future__ import annotations

import re

from cotenant.model import Kind
from cotenant.tenants import lxc, systemd
from cotenant.tenants.claim import ROOT, Claim, Role
from cotenant.tenants.vm import libvirt_machine

HEX = "[0-9a-f]{64}"
_HEX = re.compile(HEX)
_CONMON = re.compile(rf"(?:crio|libpod)-conmon-{HEX}(?:\.scope)?")
_SCOPE = re.compile(rf"([A-Za-z0-9_.@-]+?)-({HEX})(?:\.scope)?")
_COLON = re.compile(r"([^:]+\.slice|[^:]*):([A-Za-z0-9_.-]+):([A-Za-z0-9_.-]+)")
_KUBE = re.compile(
    r"(?:[a-z0-9-]+-)?kubepods(?:-(besteffort|burstable|guaranteed))?(?:-pod([0-9a-f_-]+))?\.slice"
)
_POD = re.compile(r"pod([0-9a-f-]{32,36})")
_QOS = frozenset({"besteffort", "burstable", "guaranteed"})
_PODMAN_POD = re.compile(rf"(?:machine|user)-libpod_pod_({HEX})\.slice")
_KATA = re.compile(r"kata_([A-Za-z0-9-]{8,})")
_JAILER = re.compile(r"(?:firecracker|jailer)(?:[-_.][A-Za-z0-9_.-]*)?")
_JAIL_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_STRUCTURE = frozenset(
    "docker kubepods kubelet k8s.io libpod_parent lxc lxc.payload machine libvirt firecracker"
    " jailer kata_overhead vc kata ecs actions_job garden mesos buildkit".split()
)
_RUNTIMES = {
    "docker": "docker",
    "cri-containerd": "containerd",
    "containerd": "containerd",
    "nerdctl": "containerd",
    "crio": "crio",
    "libpod": "podman",
    "libpod-payload": "podman",
}
"""What stands before the id in a container's directory name, and who writes it so."""


def classify(path: str) -> Claim:
    """What the cgroup at `path` is ("/" is the root, a group). Never raises, whatever the bytes."""
    claim = ROOT
    for segment in path.split("/"):
        if segment:
            claim = below(claim, segment)
    return claim


def below(parent: Claim, segment: str) -> Claim:
    """What the directory `segment` is, given what its parent is."""
    path = f"{parent.path}/{segment}"
    if parent.role is Role.ASIDE or _helper(parent, segment):
        return Claim(path, Role.ASIDE)
    if parent.kind is Kind.VM:
        return _belongs(parent, path, segment)
    for rule in _RULES if parent.kind is not Kind.SERVICE else _RULES_IN_SERVICES:
        claim = rule(parent, path, segment)
        if claim:
            return claim
    return _belongs(parent, path, segment)


def _belongs(parent: Claim, path: str, segment: str) -> Claim:
    """No rule speaks: part of the tenant around it, or plain."""
    if parent.kind in (None, Kind.CGROUP):
        return Claim(
            path,
            Role.PLAIN,
            Kind.CGROUP,
            path,
            groups=(*_groups(parent), segment),
            uid=parent.uid,
            needs_processes=True,
        )
    return Claim(
        path,
        Role.INSIDE,
        parent.kind,
        parent.boundary,
        parent.runtime,
        parent.id,
        uid=parent.uid,
        outer=parent.outer,
    )


def _groups(parent: Claim) -> tuple[str, ...]:
    """Groups of a child: counted afresh inside every tenant."""
    return () if parent.role is Role.TENANT else parent.groups


def _around(parent: Claim) -> str | None:
    """The innermost container around a child that is a tenant or a group."""
    return parent.boundary if parent.kind is Kind.CONTAINER else parent.outer


def _helper(parent: Claim, segment: str) -> bool:
    if segment == "conmon" and parent.segment == "libpod_parent":
        return True
    return bool(_CONMON.fullmatch(segment) or lxc.MONITOR.fullmatch(segment))


def _group(
    parent: Claim, path: str, name: str, pod_uid: str | None = None, uid: int | None = None
) -> Claim:
    """A directory that holds tenants; processes straight in it belong to whoever is around it."""
    return Claim(
        path,
        Role.GROUP,
        parent.kind,
        None if parent.kind is Kind.CGROUP else parent.boundary,
        groups=(*_groups(parent), name),
        pod_uid=pod_uid or parent.pod_uid,
        uid=parent.uid if uid is None else uid,
        outer=_around(parent),
    )


def _tenant(
    parent: Claim,
    path: str,
    kind: Kind,
    runtime: str | None,
    *,
    id: str | None = None,
    name: str | None = None,
    group: str | None = None,
    pod_uid: str | None = None,
    needs_processes: bool = False,
) -> Claim:
    return Claim(
        path,
        Role.TENANT,
        kind,
        path,
        runtime,
        id,
        name,
        (*_groups(parent), group) if group else _groups(parent),
        pod_uid or parent.pod_uid,
        parent.uid,
        _around(parent),
        needs_processes,
    )


def _kata(parent: Claim, path: str, segment: str) -> Claim | None:
    """Kata: the sandbox's own cgroup, or the VMM's share outside the pod (sandbox_cgroup_only)."""
    if parent.segment in ("kata_overhead", "vc", "kata"):
        name = f"{segment[:12]}.overhead" if parent.segment == "kata_overhead" else segment[:12]
        return _tenant(parent, path, Kind.VM, "kata", id=segment, name=name)
    found = _KATA.fullmatch(segment)
    if found and segment != "kata_overhead":
        return _tenant(parent, path, Kind.VM, "kata", id=found[1], name=found[1][:12])
    return None


def _scope(parent: Claim, path: str, segment: str) -> Claim | None:
    """`docker-<id>.scope`, `cri-containerd-<id>.scope`, `crio-<id>`, `libpod-<id>.scope` ..."""
    found = _SCOPE.fullmatch(segment)
    if not found:
        return None
    return _tenant(parent, path, Kind.CONTAINER, _RUNTIMES.get(found[1]), id=found[2])


def _colon(parent: Claim, path: str, segment: str) -> Claim | None:
    """`<slice>:<prefix>:<id>`: a systemd cgroup path that a cgroupfs driver took literally."""
    found = _COLON.fullmatch(segment)
    if not found:
        return None
    kube = _KUBE.fullmatch(found[1])
    pod_uid = kube[2].replace("_", "-") if kube and kube[2] else None
    return _tenant(
        parent,
        path,
        Kind.CONTAINER,
        _RUNTIMES.get(found[2]),
        id=found[3],
        group=found[1] or None,
        pod_uid=pod_uid,
    )


def _bare(parent: Claim, path: str, segment: str) -> Claim | None:
    """64 hex digits alone: Docker's below `docker`, a podman pod below `libpod_parent`."""
    if not _HEX.fullmatch(segment):
        return None
    if parent.segment == "libpod_parent":
        return _group(parent, path, f"pod {segment[:12]}", segment)
    runtime = "docker" if parent.segment in ("docker", "actions_job") else None
    return _tenant(parent, path, Kind.CONTAINER, runtime, id=segment)


def _machine(parent: Claim, path: str, segment: str) -> Claim | None:
    """libvirt's VMs and containers, Proxmox's VMs, systemd-nspawn's containers."""
    hit = libvirt_machine(parent.segment, segment)
    if hit:
        kind, runtime, name = hit
        return _tenant(parent, path, kind, runtime, id=name, name=name)
    return None


def _lxc(parent: Claim, path: str, segment: str) -> Claim | None:
    name = lxc.payload(parent.segment, segment)
    return _tenant(parent, path, Kind.CONTAINER, "lxc", id=name, name=name) if name else None


def _jailer(parent: Claim, path: str, segment: str) -> Claim | None:
    """Firecracker's jailer: `<base>/<exec file name>/<id>` (its docs/jailer.md)."""
    jail = parent.role is Role.GROUP and _JAILER.fullmatch(parent.segment)
    if not jail or not _JAIL_ID.fullmatch(segment):
        return None
    return _tenant(parent, path, Kind.VM, "firecracker", id=segment, name=segment)


def _structure(parent: Claim, path: str, segment: str) -> Claim | None:
    """Directories that only hold tenants: of Kubernetes, of podman's pods, of the runtimes."""
    kube = _KUBE.fullmatch(segment)
    if kube:
        return _group(parent, path, segment, kube[2].replace("_", "-") if kube[2] else None)
    pod = _POD.fullmatch(segment)
    if pod and parent.segment in _QOS | {"kubepods"}:
        return _group(parent, path, segment, pod[1])
    podman = _PODMAN_POD.fullmatch(segment)
    if podman:
        return _group(parent, path, f"pod {podman[1][:12]}", podman[1])
    known = segment in _STRUCTURE or _JAILER.fullmatch(segment)
    if known or (segment in _QOS and parent.segment == "kubepods"):
        return _group(parent, path, segment)
    return _group(parent, path, segment) if path.endswith("/libvirt/qemu") else None


def _systemd(parent: Claim, path: str, segment: str) -> Claim | None:
    """Slices are groups, and so is a user's manager; every other unit is a tenant."""
    if segment.endswith(".slice"):
        return _group(parent, path, systemd.unit_name(segment))
    manager = systemd.MANAGER.fullmatch(segment)
    if manager and len(manager[1]) < 11:
        return _group(parent, path, segment, uid=int(manager[1]))
    if not systemd.UNIT.fullmatch(segment):
        return None
    lingers = bool(systemd.LIVES_WITHOUT_PROCESSES.fullmatch(segment))
    name = systemd.unit_name(segment)
    return _tenant(parent, path, Kind.SERVICE, "systemd", name=name, needs_processes=lingers)


_RULES_IN_SERVICES = (_kata, _scope, _colon, _bare, _structure)
_RULES = (_kata, _scope, _colon, _bare, _lxc, _jailer, _machine, _structure, _systemd)
