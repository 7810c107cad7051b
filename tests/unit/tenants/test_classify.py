"""What a path alone says: recorded layouts, and anything at all."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotenant.model import Kind
from cotenant.tenants.claim import Role
from cotenant.tenants.classify import below, classify

ID = "0123456789abcdef" * 4
IN = "fedcba9876543210" * 4
UID = "0d1c2b3a-1111-4222-8333-0123456789ab"
UID_ = UID.replace("-", "_")
POD = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice"
KIND_POD = (
    f"/docker/{ID}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice"
    f"/kubelet-kubepods-besteffort-pod{UID_}.slice"
)
MACHINE = r"/machine.slice/machine-qemu\x2d3\x2dweb\x2d01.scope"
USER = "/user.slice/user-1000.slice/user@1000.service"
C, V, S = Kind.CONTAINER, Kind.VM, Kind.SERVICE

TENANTS = [
    # Docker, both cgroup drivers; a parent of the user's; GitHub's runner; ECS
    (f"/docker/{ID}", C, "docker", ID, ("docker",)),
    (f"/system.slice/docker-{ID}.scope", C, "docker", ID, ("system.slice",)),
    (f"/mine/{ID}", C, None, ID, ("mine",)),
    (f"/mine.slice/docker-{ID}.scope", C, "docker", ID, ("mine.slice",)),
    (f"/actions_job/{ID}", C, "docker", ID, ("actions_job",)),
    (f"/ecs/f1e2d3/{ID}", C, None, ID, ("ecs", "f1e2d3")),
    # rootless Docker
    (f"{USER}/user.slice/docker-{ID}.scope", C, "docker", ID,
     ("user.slice", "user-1000.slice", "user@1000.service", "user.slice")),
    # Kubernetes: systemd and cgroupfs driver, three runtimes
    (f"{POD}/cri-containerd-{ID}.scope", C, "containerd", ID,
     ("kubepods.slice", "kubepods-burstable.slice", f"kubepods-burstable-pod{UID_}.slice")),
    (f"{POD}/crio-{ID}.scope", C, "crio", ID, None),
    (f"{POD}/docker-{ID}.scope", C, "docker", ID, None),
    (f"/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{ID}.scope", C, "containerd", ID,
     ("kubepods.slice", f"kubepods-pod{UID_}.slice")),
    (f"/kubepods/burstable/pod{UID}/{ID}", C, None, ID, ("kubepods", "burstable", f"pod{UID}")),
    (f"/kubepods/pod{UID}/{ID}", C, None, ID, ("kubepods", f"pod{UID}")),
    (f"/kubepods/besteffort/pod{UID}/crio-{ID}", C, "crio", ID, None),
    # containerd that takes a systemd path literally
    (f"/system.slice/containerd.service/kubepods-besteffort-pod{UID_}.slice:cri-containerd:{ID}",
     C, "containerd", ID, (f"kubepods-besteffort-pod{UID_}.slice",)),
    (f"/system.slice:docker:{ID}", C, "docker", ID, ("system.slice",)),
    # nerdctl
    (f"/system.slice/nerdctl-{ID}.scope", C, "containerd", ID, ("system.slice",)),
    (f"/default/{ID}", C, None, ID, ("default",)),
    # nested: kind's node, its pods and its units; docker in docker
    (f"{KIND_POD}/cri-containerd-{IN}.scope", C, "containerd", IN, None),
    (f"/docker/{ID}/system.slice/containerd.service", S, "systemd", None, ("system.slice",)),
    (f"/docker/{ID}/init.scope", S, "systemd", None, ()),
    (f"/docker/{ID}/kubelet/kubepods/besteffort/pod{UID}/{IN}", C, None, IN,
     ("kubelet", "kubepods", "besteffort", f"pod{UID}")),
    (f"/docker/{ID}/docker/{IN}", C, "docker", IN, ("docker",)),
    # podman: root on cgroupfs and systemd, in pods, rootless
    (f"/libpod_parent/libpod-{ID}", C, "podman", ID, ("libpod_parent",)),
    (f"/libpod_parent/{IN}/libpod-{ID}", C, "podman", ID, ("libpod_parent", f"pod {IN[:12]}")),
    (f"/machine.slice/libpod-{ID}.scope", C, "podman", ID, ("machine.slice",)),
    (f"/machine.slice/machine-libpod_pod_{IN}.slice/libpod-{ID}.scope", C, "podman", ID,
     ("machine.slice", f"pod {IN[:12]}")),
    (f"{USER}/user.slice/libpod-{ID}.scope", C, "podman", ID, None),
    (f"{USER}/user.slice/user-libpod_pod_{IN}.slice/libpod-{ID}.scope", C, "podman", ID, None),
    # LXC, LXD, Proxmox
    ("/lxc.payload.web", C, "lxc", "web", ()),
    ("/lxc/web", C, "lxc", "web", ("lxc",)),
    ("/lxc/101", C, "lxc", "101", ("lxc",)),
    ("/lxc.payload/web", C, "lxc", "web", ("lxc.payload",)),
    # VMs
    (MACHINE, V, "libvirt", "web-01", ("machine.slice",)),
    ("/machine/qemu-1-web.libvirt-qemu", V, "libvirt", "web", ("machine",)),
    ("/machine/web.libvirt-qemu", V, "libvirt", "web", ("machine",)),
    ("/libvirt/qemu/web", V, "libvirt", "web", ("libvirt", "qemu")),
    ("/qemu.slice/100.scope", V, "proxmox", "100", ("qemu.slice",)),
    ("/firecracker/551e7604-e35c-42b3-b825-416853441234", V, "firecracker",
     "551e7604-e35c-42b3-b825-416853441234", ("firecracker",)),
    ("/vms/firecracker-v1.7.0-x86_64/web", V, "firecracker", "web",
     ("vms", "firecracker-v1.7.0-x86_64")),
    (f"/kubepods/burstable/pod{UID}/kata_{ID}", V, "kata", ID,
     ("kubepods", "burstable", f"pod{UID}")),
    (f"/kata_overhead/{ID}", V, "kata", ID, ("kata_overhead",)),
    (f"/vc/kata_{ID}", V, "kata", f"kata_{ID}", ("vc",)),
    # machines of systemd
    (r"/machine.slice/machine-lxc\x2d9\x2dold.scope", C, "libvirt", "old", ("machine.slice",)),
    (r"/machine.slice/machine-deb\x2d12.scope", C, "nspawn", "deb-12", ("machine.slice",)),
    ("/machine.slice/systemd-nspawn@deb.service", C, "nspawn", "deb", ("machine.slice",)),
    # units
    ("/system.slice/nginx.service", S, "systemd", None, ("system.slice",)),
    ("/system.slice/system-getty.slice/getty@tty1.service", S, "systemd", None,
     ("system.slice", "system-getty.slice")),
    ("/init.scope", S, "systemd", None, ()),
    ("/user.slice/user-0.slice/session-3.scope", S, "systemd", None,
     ("user.slice", "user-0.slice")),
    (f"{USER}/app.slice/dbus.service", S, "systemd", None, None),
]  # fmt: skip


@pytest.mark.parametrize(("path", "kind", "runtime", "id", "groups"), TENANTS)
def test_tenants(
    path: str, kind: Kind, runtime: str | None, id: str | None, groups: tuple[str, ...] | None
) -> None:
    claim = classify(path)
    assert (claim.role, claim.kind, claim.runtime, claim.id) == (Role.TENANT, kind, runtime, id)
    assert claim.boundary == path
    assert groups is None or claim.groups == groups


NAMES = [
    (MACHINE, "web-01"),
    ("/system.slice/nginx.service", "nginx.service"),
    ("/system.slice/_cpu.service", "cpu.service"),
    ("/lxc.payload.web", "web"),
    ("/firecracker/vm-7", "vm-7"),
    (f"/kata_overhead/{ID}", f"{ID[:12]}.overhead"),
    (f"/docker/{ID}", None),
    (r"/system.slice/dev-disk\x2dby.swap", r"dev-disk\x2dby.swap"),
]


@pytest.mark.parametrize(("path", "name"), NAMES)
def test_names_by_path(path: str, name: str | None) -> None:
    assert classify(path).name == name


OTHERS = [
    ("/", Role.GROUP, None),
    ("/docker", Role.GROUP, None),
    ("/system.slice", Role.GROUP, None),
    ("/kubepods/burstable", Role.GROUP, None),
    (f"/kubepods/burstable/pod{UID}", Role.GROUP, None),
    (POD, Role.GROUP, None),
    (USER, Role.GROUP, None),
    ("/libpod_parent", Role.GROUP, None),
    (f"/libpod_parent/{ID}", Role.GROUP, None),
    ("/libvirt/qemu", Role.GROUP, None),
    (f"/docker/{ID}/docker", Role.GROUP, f"/docker/{ID}"),
    (f"/docker/{ID}/system.slice", Role.GROUP, f"/docker/{ID}"),
    (f"/docker/{ID}/init", Role.INSIDE, f"/docker/{ID}"),
    (f"/docker/{ID}/system.slice/nginx.service/worker", Role.INSIDE,
     f"/docker/{ID}/system.slice/nginx.service"),
    (f"{MACHINE}/libvirt/vcpu0", Role.INSIDE, MACHINE),
    (f"{MACHINE}/libvirt/emulator", Role.INSIDE, MACHINE),
    ("/firecracker/vm/x.service", Role.INSIDE, "/firecracker/vm"),
    (f"/machine.slice/libpod-{ID}.scope/container", Role.INSIDE,
     f"/machine.slice/libpod-{ID}.scope"),
    ("/lxc/101/ns", Role.INSIDE, "/lxc/101"),
    ("/system.slice/nginx.service/a.slice", Role.INSIDE, "/system.slice/nginx.service"),
    ("/batch", Role.PLAIN, "/batch"),
    ("/batch/nightly/one", Role.PLAIN, "/batch/nightly/one"),
    ("/batch/mine.slice", Role.GROUP, None),
    ("/docker/buildx", Role.PLAIN, "/docker/buildx"),
    ("/mine.slice/job", Role.PLAIN, "/mine.slice/job"),
    ("/lxc.monitor.web", Role.ASIDE, None),
    ("/lxc.monitor/web", Role.ASIDE, None),
    ("/lxc.pivot", Role.ASIDE, None),
    (f"{POD}/crio-conmon-{ID}.scope", Role.ASIDE, None),
    (f"/machine.slice/libpod-conmon-{ID}.scope", Role.ASIDE, None),
    ("/libpod_parent/conmon", Role.ASIDE, None),
]  # fmt: skip


@pytest.mark.parametrize(("path", "role", "boundary"), OTHERS)
def test_others(path: str, role: Role, boundary: str | None) -> None:
    claim = classify(path)
    assert (claim.role, claim.boundary) == (role, boundary)


def test_the_pod_and_the_user_are_read_from_the_path() -> None:
    assert classify(f"{POD}/cri-containerd-{ID}.scope").pod_uid == UID
    assert classify(f"/kubepods/pod{UID}/{ID}").pod_uid == UID
    assert classify(f"{USER}/user.slice/libpod-{ID}.scope").uid == 1000


def test_the_container_around_is_known() -> None:
    assert classify(f"/docker/{ID}").outer is None
    assert classify(f"{KIND_POD}/cri-containerd-{IN}.scope").outer == f"/docker/{ID}"
    inner = f"/docker/{ID}/system.slice/containerd.service/a:cri-containerd:{IN}"
    assert classify(inner).outer == f"/docker/{ID}"
    literal = f"/system.slice/containerd.service/x.slice:cri-containerd:{ID}"
    assert classify(literal).outer is None, "its runtime is the host's own"


def test_lingering_units_need_processes() -> None:
    assert classify("/system.slice/data.mount").needs_processes
    assert not classify("/system.slice/nginx.service").needs_processes
    assert classify("/batch").needs_processes


WORDS = st.sampled_from(
    ["docker", ID, "kubepods", f"pod{UID}", "a.slice", "b.service", "user@9.service", "lxc", "x",
     f"libpod-{ID}", f"{ID}.scope", "a:b:c", "machine", "qemu", "firecracker", "kata_overhead",
     "lxc.monitor", "libpod_parent", f"docker-{ID}.scope", "machine-x.scope",
     "user@99999999999.service"]
)  # fmt: skip
SEGMENT = st.one_of(
    WORDS, st.binary(min_size=1, max_size=40).map(lambda raw: os.fsdecode(raw.replace(b"/", b"|")))
)


@given(st.lists(SEGMENT, max_size=8))
def test_no_path_breaks_it(segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    claim = classify(path)
    stepwise = classify("/")
    for segment in segments:
        stepwise = below(stepwise, segment)
    assert claim == stepwise
    inside = claim.boundary
    assert inside is None or claim.path == inside or claim.path.startswith(inside + "/")
    assert (claim.role is Role.TENANT) <= (inside == claim.path)
