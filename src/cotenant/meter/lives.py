"""Births and deaths where no tracepoint tells them: every directory of the read trees is watched.

One that was born and is gone before it could be looked at is told with the id 0. What came and went
in a newborn before its own watch was set is not seen: inotify tells of one directory's entries.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from cotenant.errors import KernelRefused
from cotenant.kernel.cgroupfs import GONE, CgroupEvent, Hierarchy, children, walk_tree
from cotenant.kernel.inotify import (
    CREATE,
    DELETE,
    IGNORED,
    IS_DIRECTORY,
    MOVED_FROM,
    MOVED_TO,
    OVERFLOW,
    Inotify,
    Seen,
)

_Place = tuple[int, str]
"""Number of the tree, and path of the cgroup."""


class Lives:
    """Watches `trees`. Those who live when it is made are not told.

    `unwatched`: places for which no watch was left; what happens in them is not told.
    `missed` counts how often events were dropped or a cgroup was moved: all trees were walked then,
    and what differed was told. `vanished` counts those whose birth nobody saw.
    """

    def __init__(self, trees: Iterable[Hierarchy], inotify: Inotify) -> None:
        self._trees = {tree.number: tree for tree in trees}
        self._inotify = inotify
        self._places: dict[int, _Place] = {}
        self._watches: dict[_Place, int] = {}
        self._ids: dict[_Place, int] = {}
        self._told: list[CgroupEvent] = []
        self.unwatched: set[_Place] = set()
        self.missed = self.vanished = 0
        for number in self._trees:
            self._look((number, ""))
        self._told.clear()

    def events(self) -> list[CgroupEvent]:
        """Births and deaths since the last call, oldest first; never waits."""
        stale = False
        for seen in self._inotify.read():
            if seen.mask & (OVERFLOW | MOVED_FROM | MOVED_TO):
                stale = True
            elif seen.mask & IGNORED:
                self._let_go(seen.watch)
            elif seen.mask & IS_DIRECTORY and not stale:
                self._take(seen)
        if stale:
            self.missed += 1
            self._compare()
        for place in tuple(self.unwatched):
            if not self._watch(place):
                break
            self._look(place)
        told, self._told = self._told, []
        return told

    def fileno(self) -> int:
        """Readable when births or deaths wait."""
        return self._inotify.fileno()

    def close(self) -> None:
        """Ends every watch."""
        self._inotify.close()

    # --- one event

    def _take(self, seen: Seen) -> None:
        at = self._places.get(seen.watch)
        if at is None:
            return  # its directory is gone, or was never more than a neighbour's
        place = (at[0], f"{at[1]}/{seen.name}")
        if seen.mask & CREATE:
            self._made(place)
        elif seen.mask & DELETE:
            self._removed(place)

    def _made(self, place: _Place) -> None:
        number = self._number(place)
        self._born(place, number)
        if number != GONE:
            self._look(place)

    def _removed(self, place: _Place) -> None:
        known = self._ids.get(place)
        if known is None or (known != GONE and self._number(place) == known):
            self.vanished += 1  # one that came and went before; who lives there now is younger
            return
        self._forget(place)
        self._tell(place, known, made=False)

    def _born(self, place: _Place, number: int) -> None:
        """Told unless known; an older one at that place has gone, with all that was in it."""
        known = self._ids.get(place)
        if known is not None and known == number != GONE:
            return
        if known is not None:
            self._forget_all(place)
        self._ids[place] = number
        self._tell(place, number, made=True)

    def _tell(self, place: _Place, number: int, *, made: bool) -> None:
        self._told.append(CgroupEvent(made, place[0], number, place[1]))

    # --- watches

    def _look(self, place: _Place) -> None:
        """Watches the cgroup and all below it; tells who is not known yet."""
        pending = [place]
        while pending:
            tree, path = place = pending.pop()
            if not self._watch(place):
                continue
            for child in children(self._directory(place)):  # after the watch: none slips through
                below = (tree, f"{path}/{child.name}")
                self._born(below, child.inode())
                pending.append(below)

    def _watch(self, place: _Place) -> bool:
        try:
            watch = self._inotify.add(self._directory(place))
        except OSError:  # gone: its parent will tell; or not for this user to see
            self.unwatched.discard(place)
            return True
        if watch is None:
            self.unwatched.add(place)
            return False
        self.unwatched.discard(place)
        self._watches[place] = watch
        self._places[watch] = place
        return True

    def _forget(self, place: _Place) -> None:
        self._ids.pop(place, None)
        self.unwatched.discard(place)
        watch = self._watches.pop(place, None)
        if watch is not None:
            self._places.pop(watch, None)
            self._inotify.remove(watch)

    def _forget_all(self, top: _Place) -> None:
        tree, path = top
        for place in [p for p in self._ids if p[0] == tree and p[1].startswith(f"{path}/")]:
            self._forget(place)
        self._forget(top)

    def _let_go(self, watch: int) -> None:
        """The kernel ended a watch by itself."""
        place = self._places.pop(watch, None)
        if place is not None and self._watches.get(place) == watch:
            del self._watches[place]

    # --- looking at it all

    def _compare(self) -> None:
        """Walks all trees, tells what differs from what is known, and watches what is there."""
        for number, tree in self._trees.items():
            there = dict(walk_tree(tree.mount))
            mine = [place for place in self._ids if place[0] == number]
            for place in sorted(mine, key=lambda place: -place[1].count("/")):
                known = self._ids[place]
                if there.get(place[1]) != known:
                    self._forget(place)
                    self._tell(place, known, made=False)
            self._look((number, ""))

    def _number(self, place: _Place) -> int:
        try:
            return os.stat(self._directory(place)).st_ino
        except OSError:
            return GONE

    def _directory(self, place: _Place) -> str:
        return f"{self._trees[place[0]].mount}{place[1]}"


def open_lives(trees: Iterable[Hierarchy]) -> Lives | None:
    """Lives of these trees; None where no inotify is to be had."""
    try:
        return Lives(trees, Inotify())
    except KernelRefused:
        return None
