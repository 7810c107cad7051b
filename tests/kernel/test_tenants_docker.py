"""Docker's containers as tenants: names, images, labels, processes, layers; against real Docker."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.kernel.conftest import docker, within

from cotenant.config import NamedTenant, Settings
from cotenant.kernel import cgroupfs
from cotenant.kernel.cgroupfs import CgroupEvent
from cotenant.model import Kind, Tenant
from cotenant.tenants.docker import Docker
from cotenant.tenants.registry import Registry

pytestmark = [pytest.mark.kernel, pytest.mark.docker]
NOBODY = Settings()
PATIENCE_S = 60.0
"""Until the sources have answered; they do so at once, unless the machine stands still."""


@pytest.fixture
def registry(hierarchies: cgroupfs.Hierarchies, docker_image: str) -> Iterator[Registry]:
    made = Registry(hierarchies, NOBODY)
    yield made
    made.close()


@pytest.fixture
def run(docker_image: str) -> Iterator[Callable[..., str]]:
    """Starts a sleeping container by name; removed after the test."""
    names: list[str] = []

    def start(name: str, *options: str, command: tuple[str, ...] = ("sleep", "1000")) -> str:
        names.append(name)
        docker("rm", "-f", name, check=False)
        return docker("run", "-d", "--name", name, "--network", "none", *options, docker_image,
                      *command)  # fmt: skip

    yield start
    for name in names:
        docker("rm", "-f", name, check=False)


def called(registry: Registry, name: str) -> Tenant:
    found = [tenant for tenant in registry.tenants if tenant.name == name]
    assert len(found) == 1, f"{name} is not among {[t.name for t in registry.tenants]}"
    return found[0]


def settled(registry: Registry, true: Callable[[], object]) -> bool:
    """Whether something becomes true, or is, with what sources say."""

    def heard() -> object:
        registry.settle()
        return true()

    return within(60, heard)


def events_of(hierarchies: cgroupfs.Hierarchies, path: str, made: bool) -> list[CgroupEvent]:
    return [CgroupEvent(made, tree, id, path) for tree, id in hierarchies.ids(path).items()]


@pytest.mark.one_vm
@pytest.mark.claim
def test_a_container_is_named_at_the_first_scan(
    registry: Registry, run: Callable[..., str], hierarchies: cgroupfs.Hierarchies
) -> None:
    id = run("tn-one", "--label", "tier=web", "--label", "com.docker.compose.project=shop")
    registry.scan(wait_s=PATIENCE_S)
    tenant = called(registry, "tn-one")
    assert (tenant.kind, tenant.runtime, tenant.id) == (Kind.CONTAINER, "docker", id)
    assert tenant.image == "cotenant-test"
    assert tenant.labels == {"tier": "web", "com.docker.compose.project": "shop"}
    assert tenant.groups == ("docker", "shop")
    assert tenant.cgroups == hierarchies.ids(tenant.path) != {}
    assert registry.complaints == []
    pid = int(docker("inspect", "-f", "{{.State.Pid}}", id))
    assert tenant.main_pid == pid
    assert tenant.netns == os.stat(f"/proc/{pid}/ns/net").st_ino
    assert [t.name for t in registry.find(f"pid:{pid}")] == ["tn-one"]
    assert [t.name for t in registry.find(id[:6])] == ["tn-one"]


def test_start_and_layer_come_with_the_details(registry: Registry, run: Callable[..., str]) -> None:
    id = run("tn-layer")
    registry.scan(wait_s=PATIENCE_S)
    assert settled(registry, lambda: called(registry, "tn-layer").rootfs)
    tenant = called(registry, "tn-layer")
    upper = docker("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", id)
    if upper != "<no value>":  # the vfs driver, in a VM whose disk is a tmpfs
        assert tenant.rootfs == upper
    started = docker("inspect", "-f", "{{.State.StartedAt}}", id)
    assert tenant.started_at is not None and started.startswith("20")


def test_the_host_network_is_no_namespace_of_its_own(registry: Registry, docker_image: str) -> None:
    docker("rm", "-f", "tn-hostnet", check=False)
    docker("run", "-d", "--name", "tn-hostnet", "--network", "host", docker_image, "sleep", "99")
    try:
        registry.scan(wait_s=PATIENCE_S)
        assert called(registry, "tn-hostnet").netns is None
    finally:
        docker("rm", "-f", "tn-hostnet")


@pytest.mark.one_vm
@pytest.mark.claim
def test_a_container_that_is_already_gone_still_gets_its_name(
    registry: Registry, docker_image: str, tmp_path: Path
) -> None:
    """Births and deaths arrive up to a second late: Docker's events must have told the name."""
    registry.scan(wait_s=PATIENCE_S)
    docker_source = registry._desk._sources[0]
    assert isinstance(docker_source, Docker)
    assert within(60, lambda: docker_source._stream is not None)
    file = tmp_path / "id"
    docker("run", "--rm", "--name", "tn-brief", "--label", "job=1", "--network", "none",
           f"--cidfile={file}", docker_image, "sleep", "0.05")  # fmt: skip
    id = file.read_text()
    assert within(60, lambda: id in docker_source._known), "no event told it"
    path = f"/docker/{id}"
    changes = registry.apply([CgroupEvent(True, 0, 1 << 40, path),
                              CgroupEvent(False, 0, 1 << 40, path)])  # fmt: skip
    (born,), (died,) = changes.born, changes.died
    assert born is died
    assert (died.name, died.image, died.labels) == ("tn-brief", docker_image, {"job": "1"})
    assert died not in registry.tenants


def test_a_birth_by_events_is_named_and_a_death_ends_it(
    registry: Registry, run: Callable[..., str], hierarchies: cgroupfs.Hierarchies
) -> None:
    registry.scan(wait_s=PATIENCE_S)
    id = run("tn-born")
    path = next(d.path for d in hierarchies.walk() if d.path.endswith((id, f"{id}.scope")))
    made, gone = events_of(hierarchies, path, True), events_of(hierarchies, path, False)
    first = registry.apply(made[:1]).born
    assert len(first) == 1
    again = registry.apply(made[1:])
    assert not again.born
    assert settled(registry, lambda: "tn-born" in [tenant.name for tenant in registry.tenants])
    tenant = called(registry, "tn-born")
    assert tenant.key == first[0].key and tenant.cgroups == hierarchies.ids(path)
    assert settled(registry, lambda: called(registry, "tn-born").main_pid)
    assert not registry.apply(made), "told twice"
    assert not registry.apply(gone[:-1]).died, "it lives until it is gone from the last hierarchy"
    assert [t.key for t in registry.apply(gone[-1:]).died] == [first[0].key]
    assert not registry.apply([*made, *gone]), "late events of a dead cgroup"


def test_a_rename_is_followed(registry: Registry, run: Callable[..., str]) -> None:
    run("tn-before")
    registry.scan(wait_s=PATIENCE_S)
    key = called(registry, "tn-before").key
    docker("rename", "tn-before", "tn-after")
    try:
        told: set[str] = set()

        def heard() -> bool:
            told.update(tenant.name for tenant in registry.settle().changed)
            return "tn-after" in told

        assert within(60, heard)
        assert called(registry, "tn-after").key == key
    finally:
        docker("rm", "-f", "tn-after")


def test_kubernetes_labels_name_it_by_its_pod(registry: Registry, run: Callable[..., str]) -> None:
    words = {"pod.namespace": "prod", "pod.name": "web-0", "container.name": "nginx"}
    run("tn-k8s_nginx", *(w for k, v in words.items() for w in ("-l", f"io.kubernetes.{k}={v}")))
    registry.scan(wait_s=PATIENCE_S)
    tenant = called(registry, "prod/web-0/nginx")
    assert (tenant.namespace, tenant.pod, tenant.container) == ("prod", "web-0", "nginx")


def test_hostile_labels_are_taken_as_they_are(registry: Registry, run: Callable[..., str]) -> None:
    words = {'a"b\n{}': "한국어", "huge": "x" * 50_000, "name": "tn-lies", "image": "lies"}
    run("tn-hostile", *(word for key, value in words.items() for word in ("-l", f"{key}={value}")))
    registry.scan(wait_s=PATIENCE_S)
    assert settled(registry, lambda: called(registry, "tn-hostile").rootfs)
    tenant = called(registry, "tn-hostile")
    assert tenant.labels['a"b\n{}'] == "한국어"
    assert len(tenant.labels["huge"]) == 4096
    assert (tenant.labels["name"], tenant.image) == ("tn-lies", "cotenant-test")


@pytest.mark.one_vm
@pytest.mark.claim
def test_nested_cgroups_are_children_with_names_of_their_own(
    registry: Registry, run: Callable[..., str], hierarchies: cgroupfs.Hierarchies
) -> None:
    id = run("tn-node")
    outer = next(d.path for d in hierarchies.walk() if d.path.endswith((id, f"{id}.scope")))
    inner_id = "ab" * 32
    made = [f"{outer}/system.slice", f"{outer}/system.slice/web.service", f"{outer}/init",
            f"{outer}/docker", f"{outer}/docker/{inner_id}"]  # fmt: skip
    config = f'{{"Name": "/inner", "Config": {{"Image": "redis"}}, "ID": "{inner_id}"}}'
    where = f"/var/lib/docker/containers/{inner_id}"
    docker("exec", "tn-node", "sh", "-c",
           f"busybox mkdir -p {where} && echo '{config}' > {where}/config.v2.json")  # fmt: skip
    try:
        for path in made:
            for tree in hierarchies.trees:
                tree.directory(path).mkdir()
        registry.scan(wait_s=PATIENCE_S)
        node = called(registry, "tn-node")
        service, inner = called(registry, "web.service"), called(registry, "inner")
        assert service.parent == inner.parent == node.key
        assert (service.kind, inner.kind) == (Kind.SERVICE, Kind.CONTAINER)
        assert inner.image == "redis"
        assert {t.path for t in registry.tenants if t.path.startswith(outer)} == {
            node.path, service.path, inner.path}  # fmt: skip
        order = list(registry.tenants)
        assert order.index(node) < order.index(service)
    finally:
        for path in reversed(made):
            for tree in hierarchies.trees:
                tree.directory(path).rmdir()


def test_config_renames_a_container(
    registry: Registry, run: Callable[..., str], hierarchies: cgroupfs.Hierarchies
) -> None:
    id = run("tn-own")
    pid = int(docker("inspect", "-f", "{{.State.Pid}}", id))
    registry.configure(Settings(tenants=(NamedTenant("mine", pid=pid),)))
    registry.scan(wait_s=PATIENCE_S)
    tenant = called(registry, "mine")
    assert (tenant.id, tenant.kind, tenant.image) == (id, Kind.CONTAINER, "cotenant-test")


@pytest.mark.parametrize("manners", ["hangs", "lies", "floods", "hangs up", "drips"])
def test_a_bad_socket_costs_no_more_than_the_wait(
    hierarchies: cgroupfs.Hierarchies, run: Callable[..., str], tmp_path: Path, manners: str
) -> None:
    """The names come from Docker's files then, and the reader is told."""
    id = run("tn-badsocket")
    with bad_docker(tmp_path / "docker.sock", manners):
        registry = Registry(hierarchies, NOBODY, listen=False)
        docker_source = registry._desk._sources[0]
        docker_source._sockets = [tmp_path / "docker.sock"]  # type: ignore[attr-defined]
        try:
            registry.scan(wait_s=0.5)
            tenant = next(t for t in registry.tenants if t.id == id)
            assert tenant.name == "tn-badsocket"
            assert len(registry.complaints) == 1, registry.complaints
        finally:
            registry.close()


class bad_docker:
    """A socket that takes connections and then misbehaves."""

    def __init__(self, path: Path, manners: str) -> None:
        self.manners = manners
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen()

    def __enter__(self) -> None:
        threading.Thread(target=self.serve, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def serve(self) -> None:
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.misbehave, args=(peer,), daemon=True).start()

    def misbehave(self, peer: socket.socket) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
        try:
            peer.recv(4096)
            if self.manners == "hangs":
                peer.recv(1)
            elif self.manners == "lies":
                peer.sendall(head + b'{"Id": 7, "Names": {"a": [')
            elif self.manners == "floods":
                peer.sendall(head)
                while True:
                    peer.sendall(b"[" * 65536)
            elif self.manners == "drips":
                peer.sendall(head)
                while not threading.Event().wait(0.1):
                    peer.sendall(b" ")
        except OSError:
            pass
        finally:
            peer.close()
