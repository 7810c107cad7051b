"""Which rows a table shows and in which order: filter, sort, group, tree. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any

from msgspec import Struct

from cotenant.cli.columns import BY_KEY, Column
from cotenant.cli.figures import Figures, figures, total
from cotenant.model import Delay, Kind, Tenant, Usage

Key = int | str
"""What stays the same for a row from one sample to the next: a tenant's key, a group's name."""


class Grouping(Enum):
    """What rows are gathered under."""

    NONE = "none"
    GROUP = "group"
    KIND = "kind"


class View(Struct, frozen=True):
    """What the reader asked for.

    `toggled` are the rows that are not as all are: open while `all_open` is False, closed while it
    is True. Groups are open unless toggled.
    """

    sort: str = "cpu"
    reverse: bool = False
    words: tuple[str, ...] = ()
    grouping: Grouping = Grouping.NONE
    all_open: bool = False
    toggled: frozenset[Key] = frozenset()

    def opens(self, key: int) -> bool:
        """True where the reader wants to see what is nested in the tenant."""
        return self.all_open != (key in self.toggled)


class Row(Struct, frozen=True):
    """One line: a tenant (`usage` is set) or a group of them (it is None)."""

    key: Key
    title: str
    figures: Figures
    usage: Usage | None = None
    kind: Kind | None = None
    depth: int = 0
    inside: int = 0
    """How many rows it has inside, shown or not."""
    open: bool = False


Delays = Mapping[int, Delay]
"""What tenants waited, by their keys."""
_NONE: Delays = {}


def arrange(usages: Sequence[Usage], view: View, delays: Delays = _NONE) -> list[Row]:
    """The rows of the table from top to bottom; `unattributed` and then `host` always last."""
    forest = _Forest(usages, view, delays)
    if view.grouping is Grouping.NONE:
        return forest.rows(forest.roots) + forest.rows(forest.hosts)
    members: dict[str, list[Usage]] = {}
    for usage in forest.roots:
        members.setdefault(_group_of(usage.tenant, view.grouping), []).append(usage)
    groups = []
    for title, inside in members.items():
        key = f"group:{title}"
        sums = total(figures(usage) for usage in inside)
        row = Row(key, title, sums, inside=len(inside), open=key not in view.toggled)
        groups.append((row, inside))
    by = _order(view)
    groups.sort(key=lambda group: by(group[0].title, group[0].figures))
    rows: list[Row] = []
    for row, inside in groups:
        rows.append(row)
        if row.open:
            rows.extend(forest.rows(inside, 1))
    return rows + forest.rows(forest.hosts)


def matches(tenant: Tenant, word: str) -> bool:
    """True where the word is in its name, kind, image, groups, path or id, or globs its name."""
    word = word.lower()
    if any(sign in word for sign in "*?["):
        return fnmatchcase(tenant.name.lower(), word)
    texts = (tenant.name, tenant.kind.value, tenant.image, tenant.path, tenant.id, *tenant.groups)
    return any(word in text.lower() for text in texts if text)


class _Forest:
    """The tenants as trees, thinned to what the filter lets through."""

    def __init__(self, usages: Sequence[Usage], view: View, delays: Delays) -> None:
        self._view = view
        self._delays = delays
        self._order = _placed(view)
        known = {usage.tenant.key for usage in usages}
        self._children: dict[int, list[Usage]] = {}
        roots: list[Usage] = []
        for usage in usages:
            parent = usage.tenant.parent
            if parent is None or parent not in known:
                roots.append(usage)
            else:
                self._children.setdefault(parent, []).append(usage)
        self._kept = self._filtered(usages) if view.words else None
        kept = [usage for usage in roots if self._shown(usage)]
        self.roots = [usage for usage in kept if usage.tenant.kind is not Kind.HOST]
        self.hosts = [usage for usage in kept if usage.tenant.kind is Kind.HOST]

    def _filtered(self, usages: Iterable[Usage]) -> set[int]:
        """Keys of the tenants that match every word, and of all that stand around them."""
        by_key = {usage.tenant.key: usage.tenant for usage in usages}
        kept: set[int] = set()
        for tenant in by_key.values():
            if all(matches(tenant, word) for word in self._view.words):
                around: Tenant | None = tenant
                while around is not None and around.key not in kept:
                    kept.add(around.key)
                    around = by_key.get(around.parent) if around.parent is not None else None
        return kept

    def _shown(self, usage: Usage) -> bool:
        return self._kept is None or usage.tenant.key in self._kept

    def rows(self, siblings: Iterable[Usage], depth: int = 0) -> list[Row]:
        """The siblings in order, each followed by what is inside it where it is open.

        A filter opens what it found something in.
        """
        made = [(usage, figures(usage, self._delays.get(usage.tenant.key))) for usage in siblings]
        made.sort(key=lambda pair: self._order(*pair))
        rows: list[Row] = []
        for usage, figure in made:
            tenant = usage.tenant
            inside = [child for child in self._children.get(tenant.key, ()) if self._shown(child)]
            shown = bool(inside) and (self._kept is not None or self._view.opens(tenant.key))
            rows.append(
                Row(tenant.key, tenant.name, figure, usage, tenant.kind, depth, len(inside), shown)
            )
            if shown:
                rows.extend(self.rows(inside, depth + 1))
        return rows


def order(view: View, delays: Delays = _NONE) -> Callable[[Usage], Any]:
    """A sort key for usages in the view's order, the host's row last."""
    by = _placed(view)
    return lambda usage: by(usage, figures(usage, delays.get(usage.tenant.key)))


def _placed(view: View) -> Callable[[Usage, Figures], Any]:
    """A sort key: tenants in the view's order, then `unattributed`, then the rest."""
    by = _order(view)

    def place(usage: Usage, row: Figures) -> tuple[bool, Any]:
        tenant = usage.tenant
        last = tenant.kind is Kind.HOST
        return (last, tenant.key if last else by(tenant.name, row))

    return place


def _order(view: View) -> Callable[[str, Figures], Any]:
    """A sort key: the largest first, names from A; `reverse` the other way; None always last."""
    column: Column = BY_KEY[view.sort]
    sign = 1 if view.reverse else -1
    if column.value is None:
        if view.reverse:
            return lambda title, _: (*(-ord(letter) for letter in title.lower()), 1)
        return lambda title, _: title.lower()
    value = column.value

    def by(title: str, row: Figures) -> tuple[bool, float, str]:
        figure = value(row)
        return (figure is None, sign * (figure or 0.0), title.lower())

    return by


def _group_of(tenant: Tenant, grouping: Grouping) -> str:
    """The title a tenant is gathered under: its kind, or its pod, project or slice."""
    if grouping is Grouping.KIND:
        return tenant.kind.value
    if tenant.namespace and tenant.pod:
        return f"{tenant.namespace}/{tenant.pod}"
    return tenant.groups[-1] if tenant.groups else "in no group"
