"""From a claim and what is known beside it to a Tenant: pure."""

from __future__ import annotations

from msgspec import Struct

from cotenant.model import Kind, Tenant
from cotenant.tenants.claim import Claim, Role
from cotenant.tenants.facts import Facts, Question


class Look(Struct, frozen=True):
    """What /proc shows of a tenant: its first process, that one's network and start."""

    pid: int | None = None
    netns: int | None = None
    started_at: float | None = None


NOTHING = Look()


def tenant(
    key: int,
    name: str,
    claim: Claim,
    cgroups: dict[int, int],
    facts: Facts,
    look: Look,
    parent: int | None,
) -> Tenant:
    """The tenant at `claim`, with all that is known of it now. The path outranks the sources."""
    return Tenant(
        key=key,
        name=name,
        kind=kind_of(claim, facts),
        path=claim.path,
        cgroups=cgroups,
        groups=_groups(claim, facts),
        parent=parent,
        runtime=facts.runtime or claim.runtime,
        id=claim.id or facts.id,
        image=facts.image,
        namespace=facts.namespace,
        pod=facts.pod,
        container=facts.container,
        labels=facts.labels or {},
        started_at=facts.started_at or look.started_at,
        main_pid=look.pid,
        netns=look.netns,
        rootfs=facts.rootfs,
    )


def kind_of(claim: Claim, facts: Facts) -> Kind:
    """Its kind: a service or plain cgroup may turn out to be a VM; 64 digits alone are unknown."""
    kind = claim.kind or Kind.CGROUP
    if kind in (Kind.SERVICE, Kind.CGROUP):
        return facts.kind or kind
    if kind is Kind.CONTAINER and claim.runtime is None and facts.name is None:
        return Kind.UNKNOWN
    return kind


def short_id(claim: Claim, cgroups: dict[int, int]) -> str:
    """What tells two tenants of one name apart: the runtime's id, else the cgroup's in hex."""
    if claim.id:
        return claim.id
    return f"{cgroups[min(cgroups)]:08x}" if cgroups else "gone"


def question(
    key: int, claim: Claim, pid: int | None = None, root_pid: int | None = None
) -> Question:
    """What the sources are asked about it."""
    return Question(
        key,
        claim.id,
        claim.path,
        claim.runtime,
        claim.uid,
        pid,
        claim.outer is not None,
        root_pid,
    )


def _groups(claim: Claim, facts: Facts) -> tuple[str, ...]:
    """Groups of the path, then those of the runtime; a pod's name takes its directory's place."""
    # A plain cgroup's claim ends with its own name, for those below it.
    around = claim.groups[:-1] if claim.role is Role.PLAIN else claim.groups
    if not facts.groups:
        return around
    if facts.pod and around and claim.pod_uid:
        around = around[:-1]
    return (*around, *(group for group in facts.groups if group not in around))
