"""containerd: names from the OCI bundle each running task has, no gRPC.

`/run/containerd/io.containerd.runtime.v2.task/<namespace>/<id>/config.json` carries Kubernetes'
names as annotations (containerd, pkg/cri/annotations) and nerdctl's (pkg/labels). Labels and, for
plain `ctr`, the image are in containerd's database only: not told. Tried with containerd 1.6 and
`ctr`; untried on the real thing: Kubernetes, k3s, MicroK8s and nerdctl (recorded bundles).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cotenant.model import Kind
from cotenant.tenants import kubernetes
from cotenant.tenants.docker_files import inner_root
from cotenant.tenants.facts import Facts, Files, Question, text
from cotenant.tenants.files import json_below, mapping, names_below

_TASKS = "io.containerd.runtime.v2.task"
STATES = (
    ("run", "containerd"),
    ("run", "k3s", "containerd"),
    ("run", "docker", "containerd", "daemon"),
    ("run", "docker", "containerd"),
    ("var", "snap", "microk8s", "common", "run", "containerd"),
)
"""State directories: its own, k3s and RKE2, Docker's private one, MicroK8s."""
_KIND = "io.kubernetes.cri.container-type"
_IMAGE = "io.kubernetes.cri.image-name"


class Containerd(Files):
    """Bundles below `host_root`, or below the root of the tenant around."""

    name = "containerd"

    def __init__(self, host_root: Path = Path("/")) -> None:
        self._root = host_root
        self._directories = [(state, str(host_root.joinpath(*state, _TASKS))) for state in STATES]

    def knows(self, question: Question) -> bool:
        """containerd's containers, and those with nothing but an id."""
        return question.id is not None and question.runtime in ("containerd", "kata", None)

    def ask(self, question: Question) -> Facts | None:
        """Names, image and writable layer of a running task; None when there is no bundle."""
        base = inner_root(self._root, question)
        id = question.id or ""
        if base is None or id in (".", "..") or "/" in id:
            return None
        for state in STATES:
            for namespace in sorted(names_below(base, *state, _TASKS)):
                config = json_below(base, *state, _TASKS, namespace, id, "config.json")
                if config and namespace != "moby":  # Docker's own: Docker knows them better
                    return bundle_facts(config, id)
        return None

    def claims(self, path: str) -> str | None:
        """Id of the task whose cgroup is `path`, by the form `/<namespace>/<id>`; None if none's.

        Costs 6 us where there is no such task: asked at the birth of every plain cgroup.
        """
        namespace, _, id = path[1:].partition("/")
        if not id or "/" in id or namespace in (".", "..") or id in (".", ".."):
            return None
        for state, directory in self._directories:
            if os.path.lexists(f"{directory}/{namespace}/{id}"):
                config = json_below(self._root, *state, _TASKS, namespace, id, "config.json")
                if mapping(config.get("linux")).get("cgroupsPath") == path:
                    return id
        return None


def bundle_facts(config: dict[str, Any], id: str) -> Facts:
    """Facts out of an OCI bundle's config.json. Raises nothing, whatever it holds."""
    words = mapping(config.get("annotations"))
    pod = kubernetes.pod_facts(words, kubernetes.CONTAINERD, words.get(_KIND) == "sandbox")
    plain = text(words.get("nerdctl/name")) or text(id)
    project = text(words.get("com.docker.compose.project"))
    return Facts(
        name=pod.name or plain,
        kind=Kind.CONTAINER,
        runtime="containerd",
        image=text(words.get(_IMAGE)) or text(words.get("nerdctl/image-ref")),
        namespace=pod.namespace,
        pod=pod.pod,
        container=pod.container,
        groups=pod.groups or ((project,) if project else ()),
    )
