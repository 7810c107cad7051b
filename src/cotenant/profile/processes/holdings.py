"""Tables of mappings, shared by processes that are forks of one another, and bounded in number."""

from __future__ import annotations

from cotenant.profile.processes import mappings as spans
from cotenant.profile.processes.mappings import Mapping


class Table:
    """Mappings of one process, or of several: changed only through `Holdings`."""

    __slots__ = ("holders", "mappings")

    def __init__(self, mappings: list[Mapping]) -> None:
        self.mappings = mappings
        self.holders = 1


class Holdings:
    """All tables: at most `most` mappings in each, and `most_in_all`.

    held      mappings in all tables, each table counted once
    left_out  mappings that found no room
    """

    def __init__(self, most: int, most_in_all: int) -> None:
        self.held = 0
        self.left_out = 0
        self._most, self._most_in_all = most, most_in_all

    def make(self, mappings: list[Mapping]) -> Table:
        """A table of these, or of the first of them."""
        room = self._room(0)
        self.left_out += max(0, len(mappings) - room)
        table = Table(mappings[:room])
        self.held += len(table.mappings)
        return table

    def share(self, table: Table) -> Table:
        """The same for one process more."""
        table.holders += 1
        return table

    def leave(self, table: Table) -> None:
        """One process has no use for it any more."""
        table.holders -= 1
        if not table.holders:
            self.held -= len(table.mappings)

    def own(self, table: Table) -> Table:
        """The same for its holder alone: a copy, where others have it too."""
        if table.holders == 1:
            return table
        self.leave(table)
        return self.make(table.mappings)

    def put(self, table: Table, new: Mapping) -> bool:
        """Maps `new` in a table that has one holder; whether that changed anything."""
        before = len(table.mappings)
        changed, left_out = spans.put(table.mappings, new, self._room(before))
        self.held += len(table.mappings) - before
        self.left_out += left_out
        return changed

    def _room(self, now: int) -> int:
        """How many mappings a table may have that has so many now."""
        return min(self._most, now + max(0, self._most_in_all - self.held))
