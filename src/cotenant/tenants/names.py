"""Names that are unique at any one time: who comes later gets `~` and eight digits of its id."""

from __future__ import annotations

from cotenant.model import RESERVED, Kind
from cotenant.tenants.claim import Claim
from cotenant.tenants.facts import Facts, text
from cotenant.tenants.plain import plain_name

UNKNOWN = "unknown"


def wanted(claim: Claim, facts: Facts | None) -> str | None:
    """The name a tenant should have; None when nothing names it."""
    if claim.pinned:
        return claim.name
    if facts is not None and facts.name:
        if claim.runtime == "kata" and facts.pod:  # the VM is the pod, not its pause container
            overhead = ".overhead" if (claim.name or "").endswith(".overhead") else ""
            return f"{facts.namespace}/{facts.pod}{overhead}"
        return facts.name
    if claim.name:
        return text(claim.name)
    return text(plain_name(claim.path)) if claim.kind is Kind.CGROUP else None


class Names:
    """Who has which name. The first to come keeps it; it is free again when its owner dies."""

    def __init__(self) -> None:
        self._owner: dict[str, int] = {one.name: 0 for one in RESERVED}
        self._held: dict[int, tuple[str | None, str]] = {}

    def give(self, key: int, name: str | None, id: str) -> str:
        """The tenant's unique name, as near to `name` as can be; its old one is freed.

        The same wish gets the same answer, so that a name once given stays.
        """
        wish, now = self._held.get(key, (None, ""))
        if now and wish == name:
            return now
        self.free(key)
        new = self._unique(key, name, id)
        self._owner[new] = key
        self._held[key] = (name, new)
        return new

    def free(self, key: int) -> None:
        """Nobody has that tenant's name any more."""
        _, name = self._held.pop(key, (None, ""))
        self._owner.pop(name, None)

    def _unique(self, key: int, name: str | None, id: str) -> str:
        base = name or UNKNOWN
        tries = [f"{base}~{id[:8]}", f"{base}~{id}", f"{base}~{id}~{key}"]
        if name:
            tries.insert(0, name)
        return next(new for new in tries if new not in self._owner)
