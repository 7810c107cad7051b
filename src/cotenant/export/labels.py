"""Label sets of a row, as text between the braces. A label with an empty value is left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from cotenant.model import Kind, Tenant

_NAMED = (Kind.CONTAINER, Kind.VM)
_SANDBOX = "POD"
_ODD = re.compile(r"[^a-zA-Z0-9_]")


def escape(value: str) -> str:
    """The value of a label as the exposition format wants it: backslash, quote, newline escaped.

    Bytes that are no UTF-8 (surrogates, from a file name) become U+FFFD, as Prometheus refuses a
    page that holds them.
    """
    if not value.isascii():
        value = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def text(pairs: Iterable[tuple[str, str | None]]) -> str:
    """`a="1",b="2"` of the pairs that have a value."""
    return ",".join([f'{name}="{escape(value)}"' for name, value in pairs if value])


def distinct(texts: list[str]) -> list[int]:
    """Which rows to show so that no two have the same labels: the first of each."""
    first: dict[str, int] = {}
    for index, text in enumerate(texts):
        first.setdefault(text, index)
    return list(first.values())


def path(tenant: Tenant) -> str:
    """The `id` label: the cgroup's path with its leading slash, as cAdvisor writes it."""
    return "/" + tenant.path.strip("/")


class Container:
    """cAdvisor's labels: `id`, and `name` and `image` of containers, and Kubernetes' three.

    `name` is for containers and VMs that stand in no other one, so that `sum(...{name!=""})`
    counts nothing twice: cAdvisor too knows what runs inside a container by its `id` only.
    Nested Kubernetes containers keep `image`, which the kubelet's queries ask for. A pod's pause
    container has no `container` label, as in kubelets since Docker left them.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        """`allowed`: runtime labels to show as `container_label_<name>`."""
        self.allowed = tuple(allowed)

    def pairs(self, tenant: Tenant, above: tuple[Tenant, ...]) -> list[tuple[str, str | None]]:
        """Labels of the tenant's own row; `above` are the tenants around it, nearest first."""
        if tenant.kind is Kind.HOST:
            return [("id", "/")]
        inside = any(one.kind in _NAMED for one in above)
        named = tenant.kind in _NAMED and not inside
        pairs = [
            ("id", path(tenant)),
            ("name", tenant.name if named else None),
            ("image", tenant.image if named or tenant.pod else None),
            ("namespace", tenant.namespace),
            ("pod", tenant.pod),
            ("container", None if tenant.container == _SANDBOX else tenant.container),
        ]
        return pairs + self.extra(tenant.labels)

    def network(self, tenant: Tenant, above: tuple[Tenant, ...]) -> list[tuple[str, str | None]]:
        """Labels of an interface's row. A pod's network is the pod's: no `container`."""
        if not tenant.pod:
            return self.pairs(tenant, above)
        pod_path = path(tenant).rsplit("/", 1)[0] or "/"
        return [
            ("id", pod_path),
            ("image", tenant.image),
            ("namespace", tenant.namespace),
            ("pod", tenant.pod),
        ]

    def extra(self, labels: Mapping[str, str]) -> list[tuple[str, str | None]]:
        """The allowed runtime labels; of two names that look alike once sanitised, the first."""
        found: dict[str, str | None] = {}
        for name in self.allowed:
            if name in labels:
                found.setdefault("container_label_" + _ODD.sub("_", name), labels[name])
        return list(found.items())


def cotenant(tenant: Tenant, above: tuple[Tenant, ...], node: str) -> list[tuple[str, str | None]]:
    """Labels of `cotenant_*` rows. `parent` names the tenant around it: sum those without one."""
    return [
        ("tenant", tenant.name),
        ("kind", tenant.kind.value),
        ("namespace", tenant.namespace),
        ("pod", tenant.pod),
        ("container", tenant.container),
        ("image", tenant.image),
        ("node", node),
        ("parent", above[0].name if above else None),
    ]


def waiting(tenant: Tenant) -> list[tuple[str, str | None]]:
    """Labels of a victim's rows; `cotenant_tenant_info` has the others."""
    return [
        ("tenant", tenant.name),
        ("kind", tenant.kind.value),
        ("namespace", tenant.namespace),
        ("pod", tenant.pod),
        ("container", tenant.container),
    ]


def blamed(victim: Tenant, culprit: Tenant | None) -> list[tuple[str, str | None]]:
    """Labels of what a victim waited for one culprit; None: for all others."""
    if culprit is None:
        return [*waiting(victim), ("culprit", "other")]
    kind = culprit.kind.value
    return [*waiting(victim), ("culprit", culprit.name), ("culprit_kind", kind)]
