"""What a path says about a cgroup, as a record."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from cotenant.model import Kind


class Role(Enum):
    """What a directory is to us."""

    GROUP = "group"
    """Structure: a slice, a pod, `/docker`. Holds tenants."""
    TENANT = "tenant"
    """The outermost directory of a container, a VM or a unit."""
    INSIDE = "inside"
    """Part of the tenant at `boundary`."""
    PLAIN = "plain"
    """Claimed by no one: a tenant once it holds a process itself, unless it is in one by then."""
    ASIDE = "aside"
    """A runtime's helper (conmon, lxc.monitor): no tenant, counted with the host."""


class Claim(Struct, frozen=True):
    """What the path says about one cgroup.

    `kind` and `boundary` are those of the tenant it belongs to (None: to none); a plain cgroup is
    its own. `name` is set where the path alone names it. `groups` are the directories between the
    enclosing tenant and this one, outermost first. `uid` is the user whose systemd runs it
    (rootless runtimes).
    """

    path: str
    role: Role
    kind: Kind | None = None
    boundary: str | None = None
    runtime: str | None = None
    id: str | None = None
    name: str | None = None
    groups: tuple[str, ...] = ()
    pod_uid: str | None = None
    uid: int | None = None
    outer: str | None = None
    """Boundary of the container around this cgroup; None on the host's own floor."""
    needs_processes: bool = False
    """True where the directory alone does not make a tenant: it must hold a process."""
    pinned: bool = False
    """True where the user's configuration names it: no source renames it."""

    @property
    def segment(self) -> str:
        """The last directory name of the path."""
        return self.path.rpartition("/")[2]


ROOT = Claim("", Role.GROUP)
