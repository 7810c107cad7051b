"""The table of every metric family: the exposition and `docs/metrics.md` are made from it."""

from __future__ import annotations

from msgspec import Struct

from cotenant.export import cadvisor, cotenant, noise_families, own, profile_families
from cotenant.export.family import Family


class Group(Struct, frozen=True):
    """Families that share their rows: one chapter of the docs page."""

    title: str
    rows: str
    labels: tuple[str, ...]
    families: tuple[Family, ...]


_CONTAINER = ("id", "name", "image", "namespace", "pod", "container")
_COTENANT = ("tenant", "kind", "namespace", "pod", "container", "image", "node", "parent")
_WAITING = ("tenant", "kind", "namespace", "pod", "container")

GROUPS = (
    Group("Tenants, as cAdvisor names it", 'the whole host (`id="/"`) and each tenant',
          _CONTAINER, cadvisor.CONTAINER),
    Group("Network interfaces", "each interface of the host and of each network namespace",
          ("id", "name", "image", "namespace", "pod"), cadvisor.INTERFACES),
    Group("Block devices", "each device that the host or a tenant read or wrote",
          _CONTAINER, cadvisor.DISKS + cadvisor.DISK_OPERATIONS),
    Group("The machine", "the host", (), cadvisor.MACHINE + cadvisor.SCRAPE),
    Group("Tenants, what cAdvisor has not", "each tenant", _COTENANT, cotenant.TENANT),
    Group("The collection", "the agent", (), cotenant.SNAPSHOT),
    Group("The agent's own cost", "the agent", (), own.AGENT + own.BPF),
    Group("Who makes whom wait", "each tenant whose tasks ever waited for a CPU, the host's own "
          "(`kind=\"host\"`) and the kernel's among them", _WAITING,
          noise_families.TENANT + noise_families.HISTOGRAM),
    Group("Whom it waited for", "each victim and culprit", (*_WAITING, "culprit", "culprit_kind"),
          noise_families.BLAME + noise_families.FINDING),
    Group("The noise sense", "the agent", (), noise_families.SENSE + noise_families.PROGRAM),
    Group("Profiles kept and pulled", "the agent", (),
          profile_families.KEPT + profile_families.PULL),
    Group("Profiles pushed", "each server they are sent to", (), profile_families.PUSH),
)  # fmt: skip
"""Every family that cotenant can put on a page, in the order of the page."""

ALL: tuple[Family, ...] = tuple(one for group in GROUPS for one in group.families)
