"""The file tier: the same values as the programs', from cgroup files.

Used whole where the kernel has no cgroup iterator (before 6.1, or eBPF forbidden), and for the
parts that the programs cannot see on some hosts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.meter.books import (
    Books,
    Descriptors,
    read_cpu,
    read_disks,
    read_memory,
    read_pressure,
    read_states,
    read_throttle,
)
from cotenant.meter.states import FIELDS
from cotenant.model import Cpu, Disk, Interface, Memory, Pids, Pressure, Sample, Tenant, Throttle


class FileReader:
    """Reads any part of any tenant from its files. `reads` counts files read."""

    def __init__(self, hierarchies: Hierarchies, proc: Path = Path("/proc")) -> None:
        self._hierarchies = hierarchies
        self._proc = proc
        self._descriptors = Descriptors()
        self._books: dict[int, tuple[dict[int, int], Books]] = {}
        memory, cpu = hierarchies.of("memory"), hierarchies.of("cpu")
        self._memory_v1 = memory is not None and memory.version == 1
        self._cpu_v1 = cpu is not None and cpu.version == 1
        self._cpuacct_v1 = (tree := hierarchies.of("cpuacct")) is not None and tree.version == 1

    def keep(self, tenants: Iterable[Tenant]) -> None:
        """Closes the files of everyone else, and of those who are in other trees than before.

        A container is made tree by tree: a file that was missing may be there by now.
        """
        cgroups = {tenant.key: tenant.cgroups for tenant in tenants}
        for key, (known, books) in list(self._books.items()):
            if cgroups.get(key) != known:
                books.close()
                del self._books[key]

    def books(self, tenant: Tenant) -> Books:
        """The open files of a tenant."""
        held = self._books.get(tenant.key)
        if held is None:
            books = Books(self._hierarchies, tenant.path, self._descriptors)
            held = self._books[tenant.key] = tenant.cgroups, books
        return held[1]

    def close(self) -> None:
        """Closes every file."""
        self.keep(())

    def sample(
        self,
        tenant: Tenant,
        at_ns: int,
        cpu: Cpu | None,
        interfaces: tuple[Interface, ...] | None,
        space_bytes: int | None,
    ) -> Sample:
        """All that files tell of a tenant, with what the caller knows from elsewhere."""
        return Sample(
            tenant,
            at_ns,
            cpu=cpu,
            throttle=self.throttle(tenant),
            memory=self.memory(tenant),
            pids=self.pids(tenant),
            pressure=self.pressure(tenant),
            interfaces=interfaces,
            disks=self.disks(tenant),
            vm_bytes=self.vm_bytes(tenant),
            space_bytes=space_bytes,
        )

    def with_states(self, tenant: Tenant, memory: Memory) -> Memory:
        """The memory record completed by memory.stat, where the programs cannot tell its values."""
        found = self.states(tenant)
        fields = {name: getattr(memory, name) for name in Memory.__struct_fields__}
        return Memory(**fields | {name: found.get(name) for name in FIELDS})

    def cpu(self, tenant: Tenant) -> tuple[int, int, int] | None:
        """Usage, user and system in ns, as the kernel keeps them; see `cputime.split`."""
        return read_cpu(self.books(tenant), v1=self._cpuacct_v1)

    def throttle(self, tenant: Tenant) -> Throttle | None:
        """Quota and how often it bit."""
        return read_throttle(self.books(tenant), v1=self._cpu_v1)

    def memory(self, tenant: Tenant) -> Memory | None:
        """All memory values this host has."""
        return read_memory(self.books(tenant), v1=self._memory_v1)

    def states(self, tenant: Tenant) -> dict[str, int]:
        """The part of `memory` that memory.stat holds, by Memory's field names."""
        return read_states(self.books(tenant), v1=self._memory_v1)

    def pids(self, tenant: Tenant) -> Pids | None:
        """Tasks; None where the tree has no pids controller."""
        books = self.books(tenant)
        current = books.number("pids", "pids.current")
        return None if current is None else Pids(current, books.number("pids", "pids.max"))

    def pressure(self, tenant: Tenant) -> Pressure | None:
        """PSI totals; None where the kernel keeps none per cgroup."""
        return read_pressure(self.books(tenant))

    def disks(self, tenant: Tenant) -> tuple[Disk, ...] | None:
        """Block devices on v2. None on v1: its files read 0 until a throttle rule exists."""
        return read_disks(self.books(tenant).text("io", "io.stat"))

    def vm_bytes(self, tenant: Tenant) -> int | None:
        """Virtual size of the tenant's first process."""
        if tenant.main_pid is None:
            return None
        try:
            pages = (self._proc / str(tenant.main_pid) / "statm").read_text().split()[0]
        except (OSError, IndexError):
            return None
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
