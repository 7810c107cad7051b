"""Whose profile it is, as profile servers want to be told: service name and labels of a tenant.

The conventions are those of Alloy's `pyroscope.ebpf`: a service name that the tenant asks for in a
label or annotation, else `namespace/container`, else the name; labels `namespace`, `pod`,
`container` and `node`. Names come from tenants: what is no UTF-8 is spelt out, what is too long is
cut.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter

from cotenant.export.visible import visible
from cotenant.model import Kind, Tenant

ASKED = (
    "pyroscope.io/service_name",
    "annotation.pyroscope.io/service_name",
    "io.kubernetes.annotation.pyroscope.io/service_name",
)
"""Labels in which a tenant may ask for a service name; cri-dockerd has a pod's annotations so."""
UNSPECIFIED = "unspecified"
LONGEST_NAME = 1024
LONGEST_VALUE = 2048
"""Bytes of a label's name and value that Pyroscope takes (its pkg/validation)."""
MOST_LABELS = 30

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def service_name(tenant: Tenant, node: str, template: str | None = None) -> str:
    """Name of the service that a tenant is.

    `template` (`ebpf/{namespace}/{container}`) is for those who have all that it names, and stands
    over what they ask for; for the others it is as without one.
    """
    if template is not None:
        words = _fields(tenant, node)
        named = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
        if all(words[name] for name in named):
            return value(template.format_map(words))
    asked = next((tenant.labels[key] for key in ASKED if tenant.labels.get(key)), None)
    if asked:
        return value(asked)
    if tenant.namespace and tenant.container:
        return value(f"{tenant.namespace}/{tenant.container}")
    return UNSPECIFIED if tenant.kind is Kind.UNKNOWN else value(tenant.name) or UNSPECIFIED


def labels(tenant: Tenant, node: str, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Labels of a tenant's series, without its service name; those in `more` stand over them."""
    words = _fields(tenant, node)
    found = {name: words[name] for name in ("namespace", "pod", "container", "node")}
    found["tenant"] = tenant.name
    found |= more or {}
    clean = {
        name: value(text)
        for name, text in found.items()
        if text and _LABEL.fullmatch(name) and len(name) <= LONGEST_NAME
    }
    return dict(list(clean.items())[: MOST_LABELS - 4])  # room for __name__, service_name and two


def value(text: str) -> str:
    """A label's value that every server takes: UTF-8, of at most 2,048 bytes."""
    raw = visible(text).encode()
    return raw[:LONGEST_VALUE].decode(errors="ignore")


def _fields(tenant: Tenant, node: str) -> dict[str, str]:
    return {
        "namespace": tenant.namespace or "",
        "pod": tenant.pod or "",
        "container": tenant.container or "",
        "node": node,
        "tenant": tenant.name,
        "kind": tenant.kind.value,
        "runtime": tenant.runtime or "",
        "image": tenant.image or "",
    }
