"""Who lives here, kept current: from walks and kernel events to tenants with names.

`scan` walks, `apply` takes births and deaths from the kernel, `settle` takes in what slow sources
said meanwhile. None of them waits for a runtime, unless `scan` is told how long it may.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from cotenant.config import NamedTenant, Settings
from cotenant.kernel.cgroupfs import CgroupEvent, Hierarchies
from cotenant.model import Kind, Tenant
from cotenant.tenants import build, select
from cotenant.tenants.book import Book
from cotenant.tenants.claim import Role
from cotenant.tenants.containerd import Containerd
from cotenant.tenants.desk import Answer
from cotenant.tenants.facts import Facts, Question
from cotenant.tenants.looks import Looker
from cotenant.tenants.named import pinned
from cotenant.tenants.plain import Plains, is_open
from cotenant.tenants.procs import Processes
from cotenant.tenants.roll import Changes, Entry, Roll
from cotenant.tenants.sources import complaints, open_desk

__all__ = ["Changes", "Registry"]

RETRY_SECONDS = (1.0, 5.0, 15.0, 60.0)
"""When a tenant that nobody could name is asked about again, counted from the last time."""
PARTING_SECONDS = 10.0
"""So long a cgroup that left one tree is looked for in the others: not all trees tell deaths."""
DETAILED = "docker"
"""The source whose first answer leaves something out."""
DETAILS_SECONDS = 0.5
"""So old a tenant must be for its runtime to be asked for details, one container at a time: verbs
that look once, and tenants that live shorter, do without."""


class Registry:
    """The tenants of this host.

    `settings.tenants` are those the user names himself, `settings.docker_sockets` where Docker is
    asked, as seen from the host's root. `listen`: follow Docker's events in a
    thread (for who stays; one look at the host does without). `watched`: hierarchies whose births
    and deaths `apply` is told; None: all.
    """

    def __init__(
        self,
        hierarchies: Hierarchies,
        settings: Settings,
        host_root: Path = Path("/"),
        *,
        listen: bool = True,
        watched: frozenset[int] | None = None,
    ) -> None:
        self.hierarchies = hierarchies
        self._settings = settings
        self._processes = Processes(host_root)
        self._containerd = Containerd(host_root)
        self._desk, rank = open_desk(
            host_root, self._processes, self._containerd, settings.docker_sockets, listen
        )
        self._book = Book(watched)
        self._plains = Plains(self._book)
        self._roll = Roll(rank)
        self._looker = Looker(hierarchies, self._processes)
        self._own: dict[NamedTenant, str] = {}
        self._own_complaints: list[str] = []
        self._stale_own = True
        self._unasked: list[Entry] = []
        self._undetailed: deque[Entry] = deque()
        self._parting: dict[str, float] = {}

    @property
    def tenants(self) -> tuple[Tenant, ...]:
        """Live tenants, parents before children."""
        return self._roll.tenants

    @property
    def unknown(self) -> int:
        """How many live tenants no source could name (yet)."""
        return len(self._roll.unnamed)

    @property
    def complaints(self) -> list[str]:
        """What went wrong in finding names, as plain sentences; [] when all is well."""
        entries = self._roll.entries.values()
        docker = any(entry.claim.runtime == "docker" for entry in entries)
        unnamed = [self._question(entry) for entry in self._roll.unnamed.values()]
        return [*self._own_complaints, *complaints(self._desk, unnamed, docker)]

    def configure(self, settings: Settings) -> None:
        """Take over new names of the user's own; they tell with the next `scan` or `settle`."""
        self._settings = settings
        self._own.clear()
        self._stale_own = True

    def scan(self, wait_s: float = 0.0) -> Changes:
        """Walk all cgroups: at the start, every minute, and where no events come.

        Waits up to `wait_s` seconds for sources of names; who did not answer is in `complaints`.
        """
        walked = {directory.path: directory.ids for directory in self.hierarchies.walk()}
        self._name_own()
        for path, known in reversed(list(self._book.ids.items())):  # children before parents
            if not _same(known, walked.get(path)):
                self._leave(path)
        self._looker.take_census(self._book.claim)
        for path, ids in walked.items():
            self._meet(path, ids)
        for entry in self._roll.entries.values():
            if self._looker.look(entry):
                self._roll.rebuild(entry)
            self._ask_monitor(entry)
        self._looker.end_census()
        self._ask_new()
        self._ask_again(at_once=True)
        if wait_s > 0:
            self._desk.wait(wait_s)
            self._desk.hurry()
        self._hear()
        return self._roll.take()

    def apply(self, events: Iterable[CgroupEvent]) -> Changes:
        """Take in births and deaths as the kernel told them, oldest first. Never blocks."""
        more = set()
        for event in events:
            if not event.made:
                if self._book.removed(event):
                    self._leave(event.path, told=True)
                elif event.path in self._book.ids:
                    self._parting[event.path] = time.monotonic()
                continue
            if self._book.replaced(event):
                self._leave(event.path, told=True)
            news = self._book.made(event)
            if news:
                self._arrive(event.path)
            elif news is False:
                more.add(event.path)
        for path in more:
            entry = self._roll.entries.get(path)
            if entry is not None:
                self._roll.rebuild(entry, self._book.ids[path])
        self._see_off()
        self._ask_new()
        return self._roll.take()

    def settle(self) -> Changes:
        """Take in what sources answered meanwhile, and look again at a few of the young and idle.

        Never waits for a runtime; costs at most some 2 ms.
        """
        if self._stale_own:
            self._name_own()
        self._see_off()
        self._hear()
        for path in sorted(self._looker.filled(self._roll.entries), key=len):  # parents first
            self._bear(path)
        for entry in self._looker.due(self._roll.entries):
            if self._looker.look(entry):
                self._roll.rebuild(entry)
            self._ask_monitor(entry)
        self._ask_new()
        self._ask_again()
        self._ask_details()
        return self._roll.take()

    def find(self, word: str) -> list[Tenant]:
        """Tenants that `word` means (see `select.find`); raises UnknownTenant."""
        mounts = [tree.mount for tree in self.hierarchies.trees]
        return select.find(word, self.tenants, self._processes.cgroup_of, mounts)

    def close(self) -> None:
        """Stop the threads that talk to sources."""
        self._desk.close()

    def _meet(self, path: str, ids: dict[int, int]) -> None:
        """A cgroup seen on a walk."""
        known = self._book.ids.get(path)
        if known is None and self._book.is_buried(ids):
            return
        if known != ids:
            self._book.note(path, ids)
        if known is None:
            self._arrive(path)
        elif known != ids and path in self._roll.entries:
            self._roll.rebuild(self._roll.entries[path], ids)
        if path not in self._roll.entries and self._looker.holds(path):
            self._bear(path)

    def _arrive(self, path: str) -> None:
        """A new cgroup: a tenant at once, or perhaps one later, or none."""
        claim = self._book.claim(path)
        id = self._containerd.claims(path) if claim.role is Role.PLAIN else None
        if id:
            self._book.adopt(path, id, self._containerd.name)
        if id or (claim.role is Role.TENANT and not claim.needs_processes):
            self._bear(path)
        elif not self._is_inside(path) and claim.needs_processes:
            self._looker.wait(path)

    def _leave(self, path: str, told: bool = False) -> None:
        """A cgroup is gone, and its tenant with it.

        `told` by an event: a plain one that nobody found filled may have run something in between
        and has figures of its own: it was a tenant.
        """
        had = self._book.had(path)
        if self._looker.leave(path) and told and self._plains.may_have_run(path):
            self._bear(path, had)
        entry = self._roll.entries.get(path)
        if entry is not None and told:  # its ids, if its whole life was told at once
            self._roll.rebuild(entry, {**had, **entry.tenant.cgroups})
        self._end(path)
        self._book.drop(path)
        self._plains.drop(path)
        for lower in tuple(
            self._book.below(path)
        ):  # an event was lost, or they live in other trees
            self._reconsider(lower)

    def _see_off(self) -> None:
        """Those that left one tree are gone when no other has them: these may not tell."""
        for path, since in reversed(list(self._parting.items())):
            known = self._book.ids.get(path)
            if known is not None and not known.items() & self.hierarchies.ids(path).items():
                self._leave(path, told=True)
                known = None
            if known is None or time.monotonic() - since > PARTING_SECONDS:
                del self._parting[path]

    def _end(self, path: str) -> None:
        entry = self._roll.bury(path)
        if entry is not None:
            self._desk.forget(entry.key)

    def _is_inside(self, path: str) -> bool:
        return self._plains.place(path, path.rpartition("/")[0] in self._roll.entries)

    def _bear(self, path: str, cgroups: dict[int, int] | None = None) -> None:
        """A tenant is born, with the cgroups it has in the book unless told which it had."""
        cgroups = cgroups or self._book.ids.get(path)
        if cgroups is None or path in self._roll.entries or path in self._plains.inside:
            return
        claim = self._book.claim(path)
        entry = Entry(self._roll.next_key(), claim, time.monotonic())
        if claim.id and not claim.pinned:
            recalled = self._desk.recall(self._question(entry))
            if recalled:
                entry.said[recalled[0]] = recalled[1]
        self._roll.bear(entry, cgroups)
        self._plains.hold(path)
        self._take_in(path, claim.kind is Kind.CGROUP)
        if claim.id:
            self._unasked.append(entry)

    def _take_in(self, path: str, plain: bool) -> None:
        """A newborn becomes the parent of tenants below it; a plain one ends plain ones there.

        Of two plain cgroups with processes, one inside the other, the top-most is the tenant.
        """
        pending = list(self._book.children(path))
        while pending:
            lower = pending.pop()
            claim, entry = self._book.claim(lower), self._roll.entries.get(lower)
            if entry is not None and claim.role is Role.TENANT:
                self._roll.rebuild(entry)
                continue
            if plain and is_open(claim):
                self._plains.inside.add(lower)
                self._looker.leave(lower)
                self._end(lower)
            pending.extend(self._book.children(lower))

    def _ask_new(self) -> None:
        """Ask about the newborn, once the processes of those around them are known."""
        for entry in self._unasked:
            if entry.key in self._roll.by_key:
                self._desk.ask(self._question(entry))
        self._unasked.clear()

    def _question(self, entry: Entry) -> Question:
        outer = self._roll.entries.get(entry.claim.outer or "")
        root_pid = outer.look.pid if outer else None
        return build.question(entry.key, entry.claim, None, root_pid)

    def _ask_monitor(self, entry: Entry) -> None:
        """A service or plain cgroup whose first process is a VM monitor is a VM: ask its name."""
        pid = self._looker.new_monitor(entry)
        if pid:
            self._desk.ask(build.question(entry.key, entry.claim, pid))

    def _ask_again(self, at_once: bool = False) -> None:
        """Ask once more about those without a name, later and later; all of them on a walk."""
        now = time.monotonic()
        for entry in self._roll.unnamed.values():
            if self._desk.waits_for(entry.key):
                continue
            pause = RETRY_SECONDS[min(entry.tries, len(RETRY_SECONDS) - 1)]
            if now - entry.asked_at >= pause or (at_once and entry.tries):
                entry.tries += 1
                entry.asked_at = now
                self._desk.ask(self._question(entry))

    def _hear(self) -> None:
        for answer in self._desk.answers():
            if answer.facts is not None:
                for entry in self._meant(answer):
                    self._learn(entry, answer, answer.facts)

    def _meant(self, answer: Answer) -> list[Entry]:
        if answer.key is not None:
            entry = self._roll.by_key.get(answer.key)
            return [entry] if entry else []
        return [e for e in self._roll.with_id(answer.id or "") if e.claim.outer is None]

    def _learn(self, entry: Entry, answer: Answer, facts: Facts) -> None:
        source = answer.source
        entry.said[source] = facts.over(entry.said.get(source))
        if facts.main_pid and entry.look.pid != facts.main_pid:
            self._looker.look(entry, facts.main_pid)
        self._roll.rebuild(entry)
        if source == DETAILED and not answer.details and not answer.error:
            self._undetailed.append(entry)

    def _ask_details(self) -> None:
        old = time.monotonic() - DETAILS_SECONDS
        while self._undetailed and self._undetailed[0].since <= old:
            entry = self._undetailed.popleft()
            if entry.key in self._roll.by_key:
                self._desk.details(self._question(entry), DETAILED)

    def _name_own(self) -> None:
        """Let the user's own names stand over what the paths say."""
        self._stale_own = False
        claims, self._own_complaints = pinned(
            self._settings.tenants, self._processes, self._own, self._book.plainly
        )
        for path in sorted(self._book.force(claims), key=len):
            for known in (path, *self._book.below(path)):
                self._reconsider(known)

    def _reconsider(self, path: str) -> None:
        """What a known cgroup is, or what is around it, changed; its parent comes before it."""
        if path not in self._book.ids:
            return
        claim, entry = self._book.claim(path), self._roll.entries.get(path)
        self._looker.leave(path)
        inside = self._is_inside(path)
        plain = claim.role is Role.PLAIN and not inside and self._looker.occupied(path)
        if entry is not None and (claim.role is Role.TENANT or plain):
            entry.claim = claim
            self._roll.rebuild(entry)
        else:
            self._end(path)
            self._arrive(path)


def _same(known: dict[int, int], seen: dict[int, int] | None) -> bool:
    """Whether what was seen at a path is the cgroup known there: no tree tells otherwise."""
    return seen is not None and all(seen.get(tree, id) == id for tree, id in known.items())
