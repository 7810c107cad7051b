"""Tenants a user names himself: `[[tenant]]` in the configuration, or `--pid N --as NAME` once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from cotenant.config import NamedTenant
from cotenant.model import Kind
from cotenant.tenants.claim import Claim, Role
from cotenant.tenants.procs import Processes


def pinned(
    named: Sequence[NamedTenant],
    processes: Processes,
    found: dict[NamedTenant, str],
    plainly: Callable[[str], Claim],
) -> tuple[dict[str, Claim], list[str]]:
    """Claims that put the user's names in place, by path, and what could not be done, in sentences.

    `found` keeps the path of each process that was found once: the name stays with the cgroup
    when the process ends. `plainly` tells what a path is without the user's names.
    """
    claims: dict[str, Claim] = {}
    complaints = []
    for own in named:
        path = "/" + own.cgroup.strip("/") if own.cgroup is not None else found.get(own)
        if path is None and own.pid is not None:
            path = processes.cgroup_of(own.pid)
            if path is None:
                complaints.append(f"Tenant {own.name!r}: there is no process {own.pid}.")
                continue
        if path in (None, "/"):
            where = f"process {own.pid} is in" if own.pid is not None else "it names"
            complaints.append(
                f"Tenant {own.name!r}: {where} the root cgroup, which is the host's own."
            )
            continue
        assert path is not None
        found[own] = path
        claims[path] = _claim(own.name, plainly(path))
    return claims, complaints


def _claim(name: str, claim: Claim) -> Claim:
    """The user's name on a tenant there already is, or on a cgroup that becomes one by it."""
    if claim.role is Role.TENANT:
        return replace(claim, name=name, pinned=True)
    groups = claim.groups if claim.boundary == claim.path else ()
    return Claim(
        claim.path,
        Role.TENANT,
        Kind.CGROUP,
        claim.path,
        name=name,
        groups=groups[:-1],
        uid=claim.uid,
        outer=claim.outer,
        pinned=True,
    )
