"""LXC, LXD and Incus: the container's name is in the path; no state file is needed.

Untried on the real thing: tested on recorded layouts (LXC 2 to 6, LXD, Proxmox).
"""

from __future__ import annotations

import re

MONITOR = re.compile(r"lxc\.(?:monitor|pivot)(?:\..*)?")
"""The helper beside a container: liblxc's `lxc.monitor.NAME`, and where it moves on its way out."""
PAYLOAD = re.compile(r"lxc\.payload\.(.+)")
PARENTS = frozenset({"lxc", "lxc.payload"})
"""Directories whose children are containers: LXC before 4, and Proxmox."""


def payload(parent: str, directory: str) -> str | None:
    """Name of the container whose cgroup is `directory` below `parent`; None if it is none."""
    found = PAYLOAD.fullmatch(directory)
    if found:
        return found[1]
    return directory if parent in PARENTS else None
