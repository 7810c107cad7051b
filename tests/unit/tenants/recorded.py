"""A host made of files: cgroup trees, /proc and runtimes' state, as recorded from real ones."""

from __future__ import annotations

import json
from pathlib import Path

from cotenant.config import NamedTenant, Settings
from cotenant.kernel.cgroupfs import Hierarchies, Hierarchy
from cotenant.tenants.registry import Registry

ID = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4
UID = "0d1c2b3a-1111-4222-8333-0123456789ab"
TASKS = "run/containerd/io.containerd.runtime.v2.task"
STORE = "var/lib/containers/storage/overlay-containers"


class Host:
    """The host below `root`, with one v2 tree and, for a hybrid one, a v1 tree beside it."""

    def __init__(self, root: Path, hybrid: bool = False) -> None:
        self.root = root
        trees = [Hierarchy(0, 2, root / "cgroup/unified", frozenset({"memory"}))]
        if hybrid:
            trees.append(Hierarchy(4, 1, root / "cgroup/memory", frozenset({"memory"})))
        for tree in trees:
            tree.mount.mkdir(parents=True)
        self.hierarchies = Hierarchies(trees)
        self.process(1, "/")

    def cgroup(self, path: str, pid: int | None = None, comm: str = "sleep") -> None:
        """A cgroup in every tree, and a process in it."""
        for tree in self.hierarchies.trees:
            tree.directory(path).mkdir(parents=True, exist_ok=True)
            (tree.directory(path) / "cgroup.procs").write_text(f"{pid}\n" if pid else "")
        if pid:
            self.process(pid, path, comm)

    def remove(self, path: str) -> None:
        """Take the cgroup away again."""
        for tree in self.hierarchies.trees:
            (tree.directory(path) / "cgroup.procs").unlink()
            tree.directory(path).rmdir()

    def process(self, pid: int, path: str, comm: str = "sleep", command: str = "") -> None:
        """A process in /proc."""
        lines = "".join(f"{t.number}:x:{path}\n" for t in self.hierarchies.trees)
        self.file(f"proc/{pid}/cgroup", lines)
        self.file(f"proc/{pid}/comm", f"{comm}\n")
        self.file(f"proc/{pid}/cmdline", command.replace(" ", "\0") + "\0")
        self.file(f"proc/{pid}/stat", f"{pid} (odd ) name) S {'0 ' * 18}4200 0\n")
        link = self.root / f"proc/{pid}/ns/net"
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(f"net:[{4026531840 if path == '/' else 4026532000 + pid}]")

    def file(self, path: str, content: object) -> None:
        """A file with text, or with JSON."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content if isinstance(content, str) else json.dumps(content))

    def registry(self, *own: NamedTenant) -> Registry:
        """Who lives on it."""
        settings = Settings(tenants=own)
        return Registry(self.hierarchies, settings, self.root, listen=False)


def cri(kind: str, container: str | None = None, image: str | None = None) -> dict[str, object]:
    """An OCI config as containerd's CRI plugin writes it."""
    words = {"container-type": kind, "sandbox-id": OTHER, "sandbox-name": "web-0",
             "sandbox-namespace": "prod", "sandbox-uid": UID, "container-name": container,
             "image-name": image}  # fmt: skip
    return {"annotations": {f"io.kubernetes.cri.{k}": v for k, v in words.items() if v}}


def crio(kind: str, container: str) -> dict[str, object]:
    """An OCI config as CRI-O writes it."""
    return {
        "annotations": {
            "io.kubernetes.cri-o.ContainerType": kind,
            "io.kubernetes.container.name": container,
            "io.kubernetes.pod.name": "web-0",
            "io.kubernetes.pod.namespace": "prod",
            "io.kubernetes.pod.uid": UID,
            "io.kubernetes.cri-o.ImageName": "registry/nginx:1.27",
            "io.kubernetes.cri-o.Labels": json.dumps({"app": "web"}),
            "io.kubernetes.cri-o.Name": f"k8s_{container}_web-0_prod_{UID}_0",
        },
        "root": {"path": "/var/lib/containers/storage/overlay/aa/merged"},
    }


def podman(id: str, name: str) -> list[dict[str, object]]:
    """containers.json as podman keeps it."""
    metadata = {"image-name": "docker.io/library/redis:7", "name": name, "created-at": 1795307942}
    return [{"id": "ab" * 32}, {"id": id, "names": [name], "metadata": json.dumps(metadata)}]


def docker(name: str, pid: int = 42, **words: str) -> dict[str, object]:
    """config.v2.json as Docker keeps it."""
    return {
        "Driver": "overlay2",
        "Name": f"/{name}",
        "ID": ID,
        "Config": {"Image": "nginx:1.27", "Labels": words},
        "State": {"Pid": pid, "StartedAt": "2026-11-22T00:04:19.667811691Z"},
    }
