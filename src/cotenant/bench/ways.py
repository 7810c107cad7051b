"""The product's own ways to meter tenants: the bare walk, and a whole collection."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cotenant.bench.turns import Own
from cotenant.config import Settings
from cotenant.errors import CotenantError
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.meter.read import Meter
from cotenant.model import Snapshot, Tenant
from cotenant.tenants.registry import Registry

NAMES_SECONDS = 10.0


class Product:
    """A meter that knows the tenants it is to measure; `close` it.

    `wanted` picks them by their cgroup's path out of all that live here; `number` is how many there
    must be. Raises CotenantError when that is not what is found.
    """

    def __init__(
        self, hierarchies: Hierarchies, wanted: Callable[[str], bool], number: int
    ) -> None:
        self.tenants = find_tenants(hierarchies, wanted, number)
        self._meter = Meter(hierarchies)
        self.tier = self._meter.tier
        self.why_files = self._meter.why_files
        """What keeps eBPF from working where the tier is files; else None."""

    def collect(self) -> Snapshot:
        """Every tenant's values, up to named, frozen records."""
        return self._meter.collect(self.tenants)

    def walk(self) -> None:
        """Have the kernel fill its tables, and look at nothing."""
        self._meter.walk()

    def ways(self) -> list[Own]:
        """`bare` (nothing is decoded; not there on the file tier) and `cotenant`."""
        bare = [] if self.tier == "files" else [Own("bare", self.walk)]
        self.collect()  # places every tenant in the kernel's table, so that `bare` fills it too
        return [*bare, Own("cotenant", self.collect)]

    def close(self) -> None:
        """Detach every program."""
        self._meter.close()


def find_tenants(
    hierarchies: Hierarchies, wanted: Callable[[str], bool], number: int
) -> Sequence[Tenant]:
    """The `number` tenants whose cgroup's path is `wanted`, with their names."""
    registry = Registry(hierarchies, Settings(), listen=False)
    try:
        registry.scan(NAMES_SECONDS)
        found = tuple(tenant for tenant in registry.tenants if wanted(tenant.path))
    finally:
        registry.close()
    if len(found) != number:
        raise CotenantError(f"Of {number} tenants made for this, {len(found)} were found.")
    return found
