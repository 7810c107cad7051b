"""What Kubernetes' annotations and labels say, whichever runtime wrote them down."""

from __future__ import annotations

from collections.abc import Mapping

from cotenant.tenants.facts import POD_SANDBOX, Facts, text

KUBELET = ("io.kubernetes.pod.namespace", "io.kubernetes.pod.name", "io.kubernetes.container.name")
"""Labels the kubelet gives every container it makes (pkg/kubelet/types/labels.go)."""
CONTAINERD = (
    "io.kubernetes.cri.sandbox-namespace",
    "io.kubernetes.cri.sandbox-name",
    "io.kubernetes.cri.container-name",
)
"""Annotations of containerd's CRI plugin (pkg/cri/annotations/annotations.go)."""


def pod_facts(words: Mapping[str, object], keys: tuple[str, str, str], sandbox: bool) -> Facts:
    """Namespace, pod and container out of `words`; all None where there is no pod.

    The pause container of a pod is named POD, as cAdvisor has it.
    """
    namespace, pod, container = (text(words.get(key)) for key in keys)
    if sandbox:
        container = POD_SANDBOX
    if not namespace or not pod:
        return Facts()
    group = f"{namespace}/{pod}"
    name = f"{group}/{container}" if container else None
    return Facts(name=name, namespace=namespace, pod=pod, container=container, groups=(group,))
