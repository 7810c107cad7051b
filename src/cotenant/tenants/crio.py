"""CRI-O: Kubernetes names from the annotations of the OCI config it writes for each container.

`/run/containers/storage/overlay-containers/<id>/userdata/config.json`, annotations
`io.kubernetes.*` and `io.kubernetes.cri-o.*` (cri-o, pkg/annotations). Its helper
`crio-conmon-<id>` is no tenant.
Untried on the real thing: tested on recorded configs.
"""

from __future__ import annotations

from pathlib import Path

from cotenant.model import Kind
from cotenant.tenants import kubernetes
from cotenant.tenants.docker_files import inner_root
from cotenant.tenants.facts import Facts, Files, Question, labels, text
from cotenant.tenants.files import mapping
from cotenant.tenants.oci_store import RUN, config_of, embedded, upper_of

_TYPE = "io.kubernetes.cri-o.ContainerType"
_IMAGES = ("io.kubernetes.cri-o.ImageName", "io.kubernetes.cri-o.Image")


class Crio(Files):
    """Configs below `host_root`, or below the root of the tenant around."""

    name = "cri-o"

    def __init__(self, host_root: Path = Path("/")) -> None:
        self._root = host_root

    def knows(self, question: Question) -> bool:
        """CRI-O's containers, and those with nothing but an id."""
        return question.id is not None and question.runtime in ("crio", "kata", None)

    def ask(self, question: Question) -> Facts | None:
        """Names, image and labels; None when CRI-O did not write its config."""
        base = inner_root(self._root, question)
        id = question.id or ""
        config = (config_of(base, id, RUN) or config_of(base, id)) if base else {}
        words = mapping(config.get("annotations"))
        if _TYPE not in words:
            return None
        pod = kubernetes.pod_facts(words, kubernetes.KUBELET, words.get(_TYPE) == "sandbox")
        return Facts(
            name=pod.name or text(words.get("io.kubernetes.cri-o.Name")),
            kind=Kind.CONTAINER,
            runtime="crio",
            image=next((found for key in _IMAGES if (found := text(words.get(key)))), None),
            labels=labels(embedded(words.get("io.kubernetes.cri-o.Labels"))),
            namespace=pod.namespace,
            pod=pod.pod,
            container=pod.container,
            groups=pod.groups,
            rootfs=None if question.nested else upper_of(config),
        )
