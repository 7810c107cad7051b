"""The roll of live tenants: who they are, what was said of them, what changed since last asked."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

from msgspec import Struct
from msgspec.structs import astuple

from cotenant.kernel.cgroupfs import GONE
from cotenant.model import Tenant
from cotenant.tenants import build
from cotenant.tenants.claim import Claim
from cotenant.tenants.facts import Facts
from cotenant.tenants.names import Names, wanted


class Changes(Struct, frozen=True):
    """What came of one call. A tenant that was born and died in it is in both lists.

    `changed` are replacements: same key, better known than before.
    """

    born: list[Tenant]
    died: list[Tenant]
    changed: list[Tenant]

    def __bool__(self) -> bool:
        """Whether there is any news."""
        return bool(self.born or self.died or self.changed)


class Entry:
    """One live tenant and what it was made from."""

    __slots__ = (
        "asked_at",
        "claim",
        "judged",
        "key",
        "look",
        "said",
        "since",
        "tenant",
        "tries",
    )

    def __init__(self, key: int, claim: Claim, since: float) -> None:
        self.key = key
        self.claim = claim
        self.since = since
        self.asked_at = since
        self.tries = 0
        self.judged: int | None = None
        self.said: dict[str, Facts] = {}
        self.look = build.NOTHING
        self.tenant: Tenant

    def facts(self, rank: Iterable[str]) -> Facts:
        """All that was said of it; where sources differ, the first in `rank` is believed."""
        if not self.said:
            return _NOTHING
        told = None
        for source in rank:
            said = self.said.get(source)
            if said is not None:
                told = said if told is None else told.over(said)
        return told or _NOTHING


_NOTHING = Facts()


class Roll:
    """Live tenants by path, key and container id. `take()` hands out what changed meanwhile."""

    def __init__(self, rank: tuple[str, ...]) -> None:
        """`rank`: names of the sources, the one to believe first first."""
        self.entries: dict[str, Entry] = {}
        self.by_key: dict[int, Entry] = {}
        self.unnamed: dict[int, Entry] = {}
        self._rank = rank
        self._by_id: dict[str, dict[int, Entry]] = {}
        self._children: dict[int, set[int]] = {}
        self._names = Names()
        self._keys = count(1)
        self._order: tuple[Tenant, ...] | None = None
        self._born: dict[int, Tenant] = {}
        self._died: dict[int, Tenant] = {}
        self._changed: dict[int, Tenant] = {}

    @property
    def tenants(self) -> tuple[Tenant, ...]:
        """Live tenants, parents before children."""
        if self._order is None:
            every = [entry.tenant for entry in self.entries.values()]
            nested = sorted((t for t in every if t.parent is not None), key=lambda t: len(t.path))
            self._order = (*(t for t in every if t.parent is None), *nested)
        return self._order

    def next_key(self) -> int:
        """A number no tenant has had."""
        return next(self._keys)

    def with_id(self, id: str) -> list[Entry]:
        """Live tenants of that container id, nested ones included."""
        return list(self._by_id.get(id, {}).values())

    def bear(self, entry: Entry, cgroups: dict[int, int]) -> None:
        """Put a new tenant on the roll; who lives below it already is to be built anew."""
        self.entries[entry.claim.path] = entry
        self.by_key[entry.key] = entry
        if entry.claim.id:
            self._by_id.setdefault(entry.claim.id, {})[entry.key] = entry
        entry.tenant = self._build(entry, cgroups)
        self._born[entry.key] = entry.tenant
        self._order = None

    def bury(self, path: str) -> Entry | None:
        """Take the tenant at `path` off the roll; None when there is none."""
        entry = self.entries.pop(path, None)
        if entry is None:
            return None
        del self.by_key[entry.key]
        self.unnamed.pop(entry.key, None)
        same = self._by_id.get(entry.claim.id or "")
        if same and same.pop(entry.key, None) and not same:
            del self._by_id[entry.claim.id or ""]
        siblings = self._children.get(entry.tenant.parent or 0)
        if siblings is not None:
            siblings.discard(entry.key)
            if not siblings:
                del self._children[entry.tenant.parent or 0]
        self._names.free(entry.key)
        self._changed.pop(entry.key, None)
        self._died[entry.key] = entry.tenant
        self._order = None
        # The kernel removes children first, but an event may be lost, or only the tenant may end.
        for child in tuple(self._children.pop(entry.key, ())):
            if child in self.by_key:
                self.rebuild(self.by_key[child])
        return entry

    def rebuild(self, entry: Entry, cgroups: dict[int, int] | None = None) -> None:
        """Make the tenant anew from what is known now; a change, if it differs."""
        new = self._build(entry, entry.tenant.cgroups if cgroups is None else cgroups)
        if astuple(new) == astuple(entry.tenant):
            return
        entry.tenant = new
        self._order = None
        (self._born if entry.key in self._born else self._changed)[entry.key] = new

    def take(self) -> Changes:
        """What changed since the last call."""
        changes = Changes(
            list(self._born.values()), list(self._died.values()), list(self._changed.values())
        )
        self._born, self._died, self._changed = {}, {}, {}
        return changes

    def _build(self, entry: Entry, cgroups: dict[int, int]) -> Tenant:
        if GONE in cgroups.values():
            cgroups = {tree: id for tree, id in cgroups.items() if id != GONE}
        facts = entry.facts(self._rank)
        name = wanted(entry.claim, facts)
        if name is None:
            self.unnamed[entry.key] = entry
        else:
            self.unnamed.pop(entry.key, None)
        unique = self._names.give(entry.key, name, build.short_id(entry.claim, cgroups))
        parent = self._parent(entry.claim.path)
        if parent is not None:
            self._children.setdefault(parent, set()).add(entry.key)
        return build.tenant(entry.key, unique, entry.claim, cgroups, facts, entry.look, parent)

    def _parent(self, path: str) -> int | None:
        while path := path.rpartition("/")[0]:
            around = self.entries.get(path)
            if around is not None:
                return around.key
        return None
