"""Docker by its files: names of containers when its socket is silent, or lies in another container.

`/var/lib/docker/containers/<id>/config.v2.json` holds what `inspect` says (moby,
container/container.go). Inside docker in docker it is reached through `/proc/PID/root`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from cotenant.model import Kind
from cotenant.tenants import kubernetes
from cotenant.tenants.clock import unix_time
from cotenant.tenants.facts import POD_SANDBOX, Facts, Files, Question, labels, text
from cotenant.tenants.files import json_below, mapping, read_below

_COMPOSE = "com.docker.compose.project"


class DockerFiles(Files):
    """Docker's own directory below `host_root`, or below the root of the tenant around."""

    name = "docker's files"

    def __init__(self, host_root: Path = Path("/")) -> None:
        self._root = host_root

    def knows(self, question: Question) -> bool:
        """Docker's containers inside another container: their socket is not ours to talk to."""
        return question.nested and question.id is not None and question.runtime in ("docker", None)

    def ask(self, question: Question) -> Facts | None:
        """Its name, image, labels, start and writable layer; None when there is no such file."""
        base = inner_root(self._root, question)
        id = question.id or ""
        if base is None:
            return None
        where = ("var", "lib", "docker")
        config = json_below(base, *where, "containers", id, "config.v2.json")
        if not config:
            return None
        found = inspected(config)
        layer = read_below(
            base, *where, "image", "overlay2", "layerdb", "mounts", id, "mount-id", limit=256
        )
        if question.nested:
            # Its process number is that of the container around it.
            return msgspec.structs.replace(found, main_pid=None)
        if layer and layer.isalnum():
            upper = f"/var/lib/docker/overlay2/{layer.decode()}/diff"
            found = Facts(rootfs=upper).over(found)
        return found


def inner_root(host_root: Path, question: Question) -> Path | None:
    """Where the files of the question's runtime are seen; None when that cannot be told."""
    if not question.nested:
        return host_root
    return host_root / f"proc/{question.root_pid}/root" if question.root_pid else None


def facts(name: object, image: object, words: object) -> Facts:
    """Facts out of a container's name, image and labels as Docker sends them, checked."""
    kept = labels(words)
    pod = kubernetes.pod_facts(
        kept, kubernetes.KUBELET, kept.get("io.kubernetes.container.name") == POD_SANDBOX
    )
    plain = text(name.lstrip("/")) if isinstance(name, str) else None
    project = text(kept.get(_COMPOSE))
    return Facts(
        name=pod.name or plain,
        kind=Kind.CONTAINER,
        runtime="docker",
        image=text(image),
        labels=kept,
        namespace=pod.namespace,
        pod=pod.pod,
        container=pod.container,
        groups=pod.groups or ((project,) if project else ()),
    )


def inspected(answer: dict[str, Any]) -> Facts:
    """Facts out of `/containers/ID/json`, or of the config file Docker keeps of it."""
    config, state = mapping(answer.get("Config")), mapping(answer.get("State"))
    layers = mapping(mapping(answer.get("GraphDriver")).get("Data"))
    pid = state.get("Pid")
    more = Facts(
        main_pid=pid if isinstance(pid, int) and pid > 0 else None,
        started_at=unix_time(state.get("StartedAt")),
        rootfs=text(layers.get("UpperDir"), 4096),
    )
    return more.over(facts(answer.get("Name"), config.get("Image"), config.get("Labels")))
