"""podman's and containerd's containers as tenants, against the real ones."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.conftest import rootfs_tar, within

from cotenant.config import Settings
from cotenant.kernel import cgroupfs
from cotenant.model import Kind, Tenant
from cotenant.tenants.registry import Registry

pytestmark = [pytest.mark.kernel, pytest.mark.docker]
LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
SOCKETS = ("/run/docker/containerd/containerd.sock", "/run/containerd/containerd.sock")
"""Docker's own containerd, and the one Docker uses where it finds it running."""


def run(*command: str, input: bytes | None = None) -> str:
    done = subprocess.run(command, capture_output=True, input=input, timeout=180)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.decode()}"
    return done.stdout.decode().strip()


def podman(*words: str, input: bytes | None = None) -> str:
    return run("podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs", *words, input=input)


@pytest.fixture
def registry(hierarchies: cgroupfs.Hierarchies) -> Iterator[Registry]:
    made = Registry(hierarchies, Settings(), listen=False)
    yield made
    made.close()


def scanned(registry: Registry, name: str) -> Tenant:
    registry.scan(wait_s=60.0)
    found = [tenant for tenant in registry.tenants if tenant.name == name]
    assert len(found) == 1, f"{name} is not among {[t.name for t in registry.tenants]}"
    return found[0]


@pytest.mark.one_vm
@pytest.mark.claim
def test_podman(registry: Registry) -> None:
    assert shutil.which("podman"), "podman must be there: apt-get install podman"
    name = f"tn-podman-{os.getpid()}"
    podman("import", "-", "tn-podman", input=rootfs_tar())
    try:
        id = podman("run", "-d", "--name", name, *LIMITS, "--network", "none", "tn-podman",
                    "/bin/sleep", "1000")  # fmt: skip
        tenant = scanned(registry, name)
        assert (tenant.kind, tenant.runtime, tenant.id) == (Kind.CONTAINER, "podman", id)
        assert tenant.image == "localhost/tn-podman:latest"
        assert tenant.main_pid == int(podman("inspect", "-f", "{{.State.Pid}}", name))
        upper = podman("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", name)
        assert tenant.rootfs == upper or upper == "<no value>"
        assert not [t for t in registry.tenants if "conmon" in t.path]
    finally:
        podman("rm", "-f", "-t", "0", name)
        podman("rmi", "tn-podman")


class Ctr:
    """containerd's own command, on the containerd that Docker runs."""

    def __init__(self, rootfs: Path) -> None:
        socket = next((path for path in SOCKETS if Path(path).exists()), None)
        assert socket, "containerd must run for this test: it comes with Docker"
        self.command = ["ctr", "--address", socket, "--namespace", "k8s.io"]
        self.rootfs = str(rootfs)
        self.started: list[str] = []
        self.places: set[str] = set()

    def start(self, id: str, cgroup: str | None, words: dict[str, str]) -> None:
        self.started.append(id)
        self.places.add(cgroup or f"/k8s.io/{id}")
        where = ["--cgroup", cgroup] if cgroup else []
        notes = [part for pair in words.items() for part in ("--annotation", "=".join(pair))]
        run(*self.command, "run", "-d", "--null-io", *where, *notes, "--rootfs", self.rootfs, id,
            "/bin/sleep", "1000")  # fmt: skip

    def close(self, hierarchies: cgroupfs.Hierarchies) -> None:
        for id in self.started:
            words = (["task", "kill", "-s", "9"], ["task", "delete", "-f"], ["container", "rm"])
            for word in words:
                subprocess.run([*self.command, *word, id], capture_output=True, timeout=30)
        for directory in [tree.directory(p) for p in self.places for tree in hierarchies.trees]:
            with contextlib.suppress(OSError):  # runc leaves the directories above its own
                directory.parent.rmdir()
                directory.parent.parent.rmdir()
                directory.parent.parent.parent.rmdir()


@pytest.fixture
def ctr(tmp_path: Path, hierarchies: cgroupfs.Hierarchies) -> Iterator[Ctr]:
    rootfs = tmp_path / "rootfs"
    rootfs.mkdir()
    run("tar", "-x", "-C", str(rootfs), input=rootfs_tar())
    made = Ctr(rootfs)
    yield made
    made.close(hierarchies)


@pytest.mark.one_vm
@pytest.mark.claim
def test_containerd_names_pods_by_their_annotations(registry: Registry, ctr: Ctr) -> None:
    uid = "0d1c2b3a-0000-4000-8000-0123456789ab"
    sandbox, id = os.urandom(32).hex(), os.urandom(32).hex()
    cri = "io.kubernetes.cri"
    pod = {f"{cri}.sandbox-namespace": "prod", f"{cri}.sandbox-name": "web-0"}
    at = f"/kubepods/burstable/pod{uid}"
    image = {f"{cri}.image-name": "registry/nginx:1.27"}
    ctr.start(sandbox, f"{at}/{sandbox}", pod | {f"{cri}.container-type": "sandbox"})
    ctr.start(id, f"{at}/{id}", pod | image | {
        f"{cri}.container-type": "container", f"{cri}.container-name": "nginx"})  # fmt: skip
    tenant = scanned(registry, "prod/web-0/nginx")
    assert (tenant.namespace, tenant.pod, tenant.container) == ("prod", "web-0", "nginx")
    assert (tenant.runtime, tenant.image) == ("containerd", "registry/nginx:1.27")
    assert tenant.groups == ("kubepods", "burstable", "prod/web-0")
    assert scanned(registry, "prod/web-0/POD").id == sandbox


def test_containerd_names_containers_of_ctr(registry: Registry, ctr: Ctr) -> None:
    """Its path `/<namespace>/<id>` looks plain: only the bundle tells."""
    id = f"tn-ctr-{os.getpid()}"
    ctr.start(id, None, {})
    tenant = scanned(registry, id)
    assert (tenant.kind, tenant.runtime, tenant.path) == (
        Kind.CONTAINER, "containerd", f"/k8s.io/{id}")  # fmt: skip
    assert within(60, lambda: scanned(registry, id).main_pid)
