"""The book of cgroups: which there are, their ids in every hierarchy, what each is by its path."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping

from cotenant.kernel.cgroupfs import GONE, CgroupEvent
from cotenant.model import Kind
from cotenant.tenants.claim import ROOT, Claim, Role
from cotenant.tenants.classify import below as classify_below

BURIED = 65_536
"""So many ids of removed cgroups are remembered, to know a late event when it comes."""


class Book:
    """Every cgroup known, by path. Ids are never reused by the kernel, paths are.

    `watched`: hierarchies whose births and deaths are told; None: all.
    """

    def __init__(self, watched: frozenset[int] | None = None) -> None:
        self._watched = watched
        self.ids: dict[str, dict[int, int]] = {}
        self._claims: dict[str, Claim] = {"": ROOT}
        self._own: dict[str, Claim] = {}
        self._adopted: dict[str, Claim] = {}
        self._buried: OrderedDict[tuple[int, int], None] = OrderedDict()
        self._removed: dict[str, dict[int, int]] = {}
        self._children: dict[str, set[str]] = {}

    def note(self, path: str, ids: dict[int, int]) -> None:
        """The cgroup at `path` is there, with these ids."""
        if path not in self.ids:
            self._children.setdefault(path.rpartition("/")[0], set()).add(path)
        self.ids[path] = ids

    def children(self, path: str) -> Iterable[str]:
        """Known cgroups straight below it."""
        return self._children.get(path, ())

    def below(self, path: str) -> Iterator[str]:
        """Known cgroups below it, parents before children."""
        pending = deque(self.children(path))
        while pending:
            path = pending.popleft()
            pending.extend(self.children(path))
            yield path

    def made(self, event: CgroupEvent) -> bool | None:
        """Note a birth: True for a new path, False for one more hierarchy, None for no news."""
        number = (event.hierarchy, event.id)
        if number in self._buried:
            return None
        known = self.ids.get(event.path)
        if known is None:
            self.note(event.path, {event.hierarchy: event.id})
            return True
        if known.get(event.hierarchy, -1) >= event.id:  # ids only grow: the same one, or an older
            return None
        self.ids[event.path] = {**known, event.hierarchy: event.id}
        return False

    def removed(self, event: CgroupEvent) -> bool:
        """Note a removal: True when the path is gone from the last hierarchy that tells of it."""
        self._bury(event.hierarchy, event.id)
        known = self.ids.get(event.path)
        if known is None or known.get(event.hierarchy) != event.id:
            return False
        left = {tree: id for tree, id in known.items() if tree != event.hierarchy}
        self.ids[event.path] = left
        self._removed.setdefault(event.path, {})[event.hierarchy] = event.id
        return not (left if self._watched is None else left.keys() & self._watched)

    def is_buried(self, ids: Mapping[int, int]) -> bool:
        """Whether a cgroup with these ids is gone, and only not yet in every hierarchy."""
        return all(number in self._buried for number in ids.items())

    def had(self, path: str) -> dict[int, int]:
        """Its ids in every hierarchy, those that it was removed from included; until `drop`."""
        return {**self._removed.get(path, {}), **self.ids.get(path, {})}

    def replaced(self, event: CgroupEvent) -> bool:
        """Whether that birth means that an older cgroup of the same path and tree has gone."""
        known = self.ids.get(event.path, {}).get(event.hierarchy)
        return (
            known is not None
            and known < event.id
            and (event.hierarchy, event.id) not in self._buried
        )

    def drop(self, path: str) -> None:
        """The cgroup is gone."""
        for tree, id in self.ids.pop(path, {}).items():
            self._bury(tree, id)
        self._removed.pop(path, None)
        above = path.rpartition("/")[0]
        siblings = self._children.get(above)
        if siblings is not None:
            siblings.discard(path)
            if not siblings:
                del self._children[above]
        self._adopted.pop(path, None)
        self._claims.pop(path, None)

    def claim(self, path: str) -> Claim:
        """What the cgroup at `path` is; remembered for as long as it lives."""
        if path == "/":
            return ROOT
        known = self._claims.get(path)
        if known is not None:
            return known
        unknown = []
        while path not in self._claims:  # no recursion: a tenant may nest its cgroups 2,000 deep
            unknown.append(path)
            path = path.rpartition("/")[0]
        for deeper in reversed(unknown):
            self._claims[deeper] = self._own.get(deeper) or self.plainly(deeper)
        return self._claims[unknown[0]]

    def plainly(self, path: str) -> Claim:
        """What it is without the user's names."""
        above, _, segment = path.rpartition("/")
        return self._adopted.get(path) or classify_below(self.claim(above or "/"), segment)

    def adopt(self, path: str, id: str, runtime: str) -> None:
        """A runtime says that the plain cgroup `path` is its container `id`."""
        plain = self.plainly(path)
        groups = plain.groups[:-1]
        self._adopted[path] = Claim(
            path, Role.TENANT, Kind.CONTAINER, path, runtime, id, groups=groups, uid=plain.uid
        )
        self._forget(path)

    def force(self, own: Mapping[str, Claim]) -> list[str]:
        """Let the user's claims stand over all others; returns the paths where that is news."""
        turned = [p for p in {**own, **self._own} if own.get(p) != self._own.get(p)]
        self._own = dict(own)
        for path in turned:
            self._forget(path)
        return turned

    def _forget(self, top: str) -> None:
        for path in [p for p in self._claims if p == top or p.startswith(top + "/")]:
            del self._claims[path]

    def _bury(self, tree: int, id: int) -> None:
        if id == GONE:  # stands for many
            return
        self._buried[tree, id] = None
        if len(self._buried) > BURIED:
            self._buried.popitem(last=False)
