"""Names from the state files of runtimes that cannot run here, through the whole registry."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.tenants.recorded import (
    ID,
    OTHER,
    STORE,
    TASKS,
    UID,
    Host,
    cri,
    crio,
    docker,
    podman,
)

from cotenant.model import Kind, Tenant
from cotenant.tenants.registry import Registry

UID_ = UID.replace("-", "_")
SLICE = f"/kubepods.slice/kubepods-pod{UID_}.slice"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def only(registry: Registry, path: str) -> Tenant:
    registry.scan(wait_s=5.0)
    registry.close()
    return next(tenant for tenant in registry.tenants if tenant.path == path)


def test_containerd_systemd_driver(host: Host) -> None:
    path = f"{SLICE}/cri-containerd-{ID}.scope"
    host.cgroup(path, 42)
    host.file(f"{TASKS}/k8s.io/{ID}/config.json", cri("container", "nginx", "nginx:1.27"))
    tenant = only(host.registry(), path)
    assert tenant.name == "prod/web-0/nginx"
    assert (tenant.namespace, tenant.pod, tenant.container) == ("prod", "web-0", "nginx")
    assert (tenant.image, tenant.runtime, tenant.kind) == (
        "nginx:1.27", "containerd", Kind.CONTAINER)  # fmt: skip
    assert tenant.groups == ("kubepods.slice", "prod/web-0")
    assert (tenant.main_pid, tenant.netns) == (42, 4026532042)
    assert tenant.started_at == 42.0


@pytest.mark.parametrize("state", ["run/containerd", "run/k3s/containerd"])
def test_containerd_cgroupfs_driver(host: Host, state: str) -> None:
    path = f"/kubepods/burstable/pod{UID}/{ID}"
    host.cgroup(path, 42)
    where = f"{state}/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json"
    host.file(where, cri("container", "nginx"))
    tenant = only(host.registry(), path)
    assert (tenant.name, tenant.runtime) == ("prod/web-0/nginx", "containerd")
    assert tenant.groups == ("kubepods", "burstable", "prod/web-0")


def test_the_pause_container_is_called_as_cadvisor_calls_it(host: Host) -> None:
    path = f"{SLICE}/cri-containerd-{ID}.scope"
    host.cgroup(path)
    host.file(f"{TASKS}/k8s.io/{ID}/config.json", cri("sandbox"))
    assert only(host.registry(), path).name == "prod/web-0/POD"


def test_nerdctl(host: Host) -> None:
    path = f"/system.slice/nerdctl-{ID}.scope"
    host.cgroup(path)
    host.file(f"{TASKS}/default/{ID}/config.json", {"annotations": {"nerdctl/name": "web"}})
    assert only(host.registry(), path).name == "web"


@pytest.mark.parametrize(
    ("container", "kind", "name"),
    [("nginx", "container", "prod/web-0/nginx"), ("POD", "sandbox", "prod/web-0/POD")],
)
@pytest.mark.parametrize("store", ["run/containers/storage/overlay-containers", STORE])
def test_crio(host: Host, container: str, kind: str, name: str, store: str) -> None:
    path = f"{SLICE}/crio-{ID}.scope"
    host.cgroup(path)
    host.cgroup(f"{SLICE}/crio-conmon-{ID}.scope", 43)
    host.file(f"{store}/{ID}/userdata/config.json", crio(kind, container))
    tenant = only(host.registry(), path)
    assert (tenant.name, tenant.runtime, tenant.image) == (name, "crio", "registry/nginx:1.27")
    assert tenant.labels == {"app": "web"}
    assert tenant.rootfs == "/var/lib/containers/storage/overlay/aa/diff"


@pytest.mark.parametrize("driver", ["overlay", "vfs"])
def test_podman_rootless_trusts_no_process_and_no_path_of_the_users(
    host: Host, driver: str
) -> None:
    path = f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope"
    host.cgroup(f"{path}/container", 42)
    host.cgroup(path)
    host.file("etc/passwd", "root:x:0:0::/root:/bin/sh\nann:x:1000:1000:Ann:/home/ann:/bin/sh\n")
    store = f"home/ann/.local/share/containers/storage/{driver}-containers"
    host.file(f"{store}/containers.json", podman(ID, "cache"))
    config = {"annotations": {"io.container.manager": "libpod"}, "root": {"path": "/etc/merged"}}
    host.file(f"{store}/{ID}/userdata/config.json", config)
    host.file(f"run/user/1000/containers/{driver}-containers/{ID}/userdata/pidfile", "1")
    tenant = only(host.registry(), path)
    assert (tenant.name, tenant.image) == ("cache", "docker.io/library/redis:7")
    assert (tenant.main_pid, tenant.rootfs) == (42, None)


def test_podman_in_a_pod(host: Host) -> None:
    path = f"/machine.slice/machine-libpod_pod_{OTHER}.slice/libpod-{ID}.scope"
    host.cgroup(path, 42)
    host.cgroup(f"/machine.slice/libpod-conmon-{ID}.scope", 43)
    host.file(f"{STORE}/containers.json", podman(ID, "cache"))
    registry = host.registry()
    tenant = only(registry, path)
    assert tenant.name == "cache"
    assert tenant.groups == ("machine.slice", f"pod {OTHER[:12]}")
    assert len(registry.tenants) == 1, "conmon is no tenant"


def test_docker_without_a_socket_is_named_by_its_files_and_says_so(host: Host) -> None:
    path = f"/docker/{ID}"
    host.cgroup(path, 42)
    host.file(f"var/lib/docker/containers/{ID}/config.v2.json", docker("web", tier="front"))
    host.file(f"var/lib/docker/image/overlay2/layerdb/mounts/{ID}/mount-id", "ab12")
    registry = host.registry()
    tenant = only(registry, path)
    assert (tenant.name, tenant.image, tenant.labels) == ("web", "nginx:1.27", {"tier": "front"})
    assert tenant.rootfs == "/var/lib/docker/overlay2/ab12/diff"
    assert tenant.started_at == 1795305859.667811
    assert len(registry.complaints) == 1 and "docker.sock is not there" in registry.complaints[0]


def test_a_kind_node_and_its_pods(host: Host) -> None:
    """The nested containerd's files lie in the node's own root."""
    node = f"/docker/{ID}"
    pod = f"{node}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID_}.slice"
    inner = f"{pod}/cri-containerd-{OTHER}.scope"
    host.cgroup(node)
    host.cgroup(f"{node}/init.scope", 40)
    host.cgroup(f"{node}/system.slice/containerd.service", 41)
    host.cgroup(inner, 42)
    host.file(f"var/lib/docker/containers/{ID}/config.v2.json", docker("kind-node", pid=40))
    host.file(f"proc/40/root/{TASKS}/k8s.io/{OTHER}/config.json", cri("container", "nginx"))
    registry = host.registry()
    tenant = only(registry, inner)
    around = next(t for t in registry.tenants if t.path == node)
    assert (around.name, around.main_pid) == ("kind-node", 40)
    assert (tenant.name, tenant.parent) == ("prod/web-0/nginx", around.key)
    assert tenant.groups == ("kubelet.slice", "kubelet-kubepods.slice", "prod/web-0")
    names = {t.name: t.parent for t in registry.tenants}
    assert names["containerd.service"] == names["init.scope"] == around.key
    assert names["kind-node"] is None


def test_a_nested_runtime_cannot_lead_out_of_its_container(host: Host) -> None:
    """A link in the container's root that points at the host's state is not followed."""
    node, inner = f"/docker/{ID}", f"/docker/{ID}/docker/{OTHER}"
    host.cgroup(node, 40)
    host.cgroup(inner, 42)
    host.file(f"var/lib/docker/containers/{OTHER}/config.v2.json", docker("secret"))
    root = host.root / "proc/40/root"
    (root / "var/lib").mkdir(parents=True)
    (root / "var/lib/docker").symlink_to(host.root / "var/lib/docker")
    tenant = only(host.registry(), inner)
    assert tenant.name == f"unknown~{OTHER[:8]}"


def test_kata_is_named_by_its_pod(host: Host) -> None:
    path, overhead = f"/kubepods/pod{UID}/kata_{ID}", f"/kata_overhead/{ID}"
    host.cgroup(path, 42)
    host.cgroup(overhead, 43)
    host.file(f"{TASKS}/k8s.io/{ID}/config.json", cri("sandbox"))
    registry = host.registry()
    tenant = only(registry, path)
    assert (tenant.name, tenant.kind, tenant.id) == ("prod/web-0", Kind.VM, ID)
    assert next(t for t in registry.tenants if t.path == overhead).name == "prod/web-0.overhead"


def test_qemu_in_a_service_is_a_vm(host: Host) -> None:
    host.cgroup("/system.slice/my-vm.service", 42, "qemu-system-x86")
    host.process(42, "/system.slice/my-vm.service", "qemu-system-x86",
                 "/usr/bin/qemu-system-x86_64 -name guest=mail")  # fmt: skip
    tenant = only(host.registry(), "/system.slice/my-vm.service")
    assert (tenant.name, tenant.kind, tenant.runtime) == ("mail", Kind.VM, "qemu")


HOSTILE = [
    "", "[]", "{", "null", '{"annotations": 7}', '{"annotations": {"nerdctl/name": 7}}',
    '{"annotations": {"nerdctl/name": ""}, "linux": []}', "[" * 50_000,
    '{"Name": {}, "Config": [], "State": "x"}', '{"Name": "/", "Config": {"Labels": 1}}',
]  # fmt: skip


@pytest.mark.parametrize("content", HOSTILE)
def test_nonsense_in_state_files_does_no_harm(host: Host, content: str) -> None:
    path = f"/mine/{ID}"
    host.cgroup(path, 42)
    for where in (
        f"{TASKS}/k8s.io/{ID}/config.json",
        f"{STORE}/{ID}/userdata/config.json",
        f"{STORE}/containers.json",
        f"run/containers/storage/overlay-containers/{ID}/userdata/config.json",
        f"var/lib/docker/containers/{ID}/config.v2.json",
    ):
        host.file(where, content)
    registry = host.registry()
    tenant = only(registry, path)
    assert tenant.name in (f"unknown~{ID[:8]}", ID)
    assert registry.unknown == (tenant.name != ID)
