"""Plain cgroups: those no runtime claims. The top-most that holds processes itself is a tenant.

One without processes of its own is structure, as a slice is: those below it are tenants each.
Should it get a process later, it becomes the tenant and those below it end: they die, it is born.
One that held a process once stays a tenant until it is removed: nothing flaps when it runs empty.
"""

from __future__ import annotations

from cotenant.model import Kind
from cotenant.tenants.book import Book
from cotenant.tenants.claim import Claim, Role


def plain_name(path: str) -> str:
    """Name of the cgroup at `path`: `/batch/nightly` is `batch/nightly`."""
    return path.lstrip("/")


def is_open(claim: Claim) -> bool:
    """Whether it belongs to no tenant by its path alone, so that a plain one may take it in."""
    return claim.role in (Role.PLAIN, Role.GROUP) and claim.kind in (None, Kind.CGROUP)


class Plains:
    """Which cgroups lie inside a plain tenant, and which had a tenant below them."""

    def __init__(self, book: Book) -> None:
        self.inside: set[str] = set()
        self._structure: set[str] = set()
        self._book = book

    def place(self, path: str, above_is_tenant: bool) -> bool:
        """Whether a cgroup lies inside a plain tenant; its parent must have been placed before."""
        above = path.rpartition("/")[0]
        claim = self._book.claim(path)
        around = above_is_tenant and self._book.claim(above).kind is Kind.CGROUP
        if is_open(claim) and (around or above in self.inside):
            self.inside.add(path)
        else:
            self.inside.discard(path)
        return path in self.inside

    def hold(self, path: str) -> None:
        """A tenant was born at `path`: what is above it is structure."""
        while (path := path.rpartition("/")[0]) and path not in self._structure:
            if not is_open(self._book.claim(path)):
                return
            self._structure.add(path)

    def may_have_run(self, path: str) -> bool:
        """Whether one that is gone, and was never seen to hold a process, may have held some.

        Not where a tenant was below it: its figures would count that one's a second time.
        """
        return self._book.claim(path).role is Role.PLAIN and path not in self._structure

    def drop(self, path: str) -> None:
        """The cgroup is gone."""
        self.inside.discard(path)
        self._structure.discard(path)
