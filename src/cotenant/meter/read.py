"""Drains the kernel into Samples: one for every tenant, and one for the whole host.

What the programs filled comes from the kernel's table (`programs.py`, decoded by `decode.py`); a
part they cannot see on this host comes from kept-open files (`files.py`). Without eBPF all of it
does.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from mmap import mmap
from pathlib import Path
from typing import NamedTuple

from cotenant.errors import CotenantError, KernelRefused, NoBpf
from cotenant.kernel.cgroupfs import CgroupEvent, Hierarchies
from cotenant.kernel.cost import Cost
from cotenant.kernel.records import METER_NOBODY
from cotenant.meter.coverage import Coverage, coverage_of
from cotenant.meter.cputime import Rising
from cotenant.meter.decode import NOTHING, Parts, decode, disks_of
from cotenant.meter.files import FileReader
from cotenant.meter.host import ROOT, HostReader, machine
from cotenant.meter.links import open_links
from cotenant.meter.programs import RECORD, Programs
from cotenant.meter.slots import Slots
from cotenant.meter.space import Space
from cotenant.meter.tidings import Tidings
from cotenant.meter.tiers import open_programs, tier_of
from cotenant.model import Cpu, Disk, Interface, Lost, Sample, Snapshot, Tenant

_RUN = struct.Struct("=Q")
_Interfaces = dict[int, tuple[Interface, ...]]
_BOOKS_END = RECORD.size - struct.calcsize("=QQ")  # running_run and running_ns come last


class _Seen(NamedTuple):
    """What was decoded of a tenant last time, and from which bytes."""

    books: bytes
    parts: Parts
    cpu: Cpu | None


_UNSEEN = _Seen(b"", NOTHING, None)


class Meter:
    """Meters every tenant. `tier` tells how: "kfunc", "iterator" or "files".

    `wanted` asks for one tier instead of the best; where this host lacks it, NoBpf. Without
    `wanted`, what keeps eBPF from working is kept in `why_files`, and files are read. Without
    `counting` nothing is counted between looks (packets, v1's requests, births and deaths): opens
    in half the time, for who looks once. `tidings` of births and deaths come from the programs, or
    from watched directories.
    """

    def __init__(
        self,
        hierarchies: Hierarchies,
        wanted: str | None = None,
        *,
        host_root: Path = Path("/"),
        space_period_s: float = 60.0,
        counting: bool = True,
    ) -> None:
        self._hierarchies = hierarchies
        self._machine = machine(host_root)
        self._host = HostReader(hierarchies, host_root)
        self._files = FileReader(hierarchies, host_root / "proc")
        self._space = Space(space_period_s)
        self._rising = Rising()
        self._tenants: Sequence[Tenant] = ()
        self._seen: dict[int, _Seen] = {}
        self._missed = 0
        self.why_files: CotenantError | None = None
        self._programs = self._open(wanted, counting)
        self.tidings = Tidings(hierarchies, self._programs, counting=counting)
        self._finals = self.tidings.finals
        self._slots = Slots(self._programs, hierarchies.ids("/")) if self._programs else None
        self._counts_traffic = self._programs is not None and self._programs.counts_traffic
        self._links = open_links()

    def _open(self, wanted: str | None, counting: bool) -> Programs | None:
        if wanted == "files":
            return None
        try:
            return open_programs(self._hierarchies, self._files, wanted, counting=counting)
        except (NoBpf, KernelRefused) as error:
            if wanted:
                raise
            self.why_files = error
            return None

    @property
    def tier(self) -> str:
        """How the values are read: "kfunc", "iterator" or "files"."""
        return tier_of(self._programs)

    # --- one collection

    def collect(self, tenants: Sequence[Tenant]) -> Snapshot:
        """Samples of all tenants and of the host, and the last samples of those that died."""
        if tenants is not self._tenants:
            self._follow(tenants)
        at_ns = time.monotonic_ns()
        interfaces, host_interfaces = self._links.read(tenants) if self._links else ({}, ())
        root = self._host.sample(at_ns)  # first: reading the root's memory.stat flushes all memory
        if self._programs and self._slots is not None:
            samples, counted, nobodys = self._from_programs(
                self._programs, self._slots, at_ns, interfaces
            )
        else:
            samples = [self._from_file(t, at_ns, interfaces.get(t.key)) for t in self._tenants]
            counted, nobodys = Sample(ROOT, at_ns), None
        self._finals.remember(samples)
        return Snapshot(
            at_ns=at_ns,
            unix_s=time.time(),
            tier=self.tier,
            machine=self._machine,
            root=self._host.whole(root, counted, host_interfaces, self._rising),
            samples=tuple(samples),
            finals=tuple(self._finals.take(at_ns)),
            unattributed=nobodys,
            lost=self._lost(),
        )

    def walk(self) -> None:
        """Only lets the kernel fill its table; nothing is decoded. For measuring."""
        if self._programs:
            self._programs.walk()

    def _from_programs(
        self, programs: Programs, slots: Slots, at_ns: int, interfaces: _Interfaces
    ) -> tuple[list[Sample], Sample, tuple[Disk, ...] | None]:
        """From one walk: samples of the tenants, what was counted for the host and for nobody."""
        fresh = _RUN.pack(programs.walk())
        root = (slots.root or 0) * RECORD.size
        table = programs.table
        disks = programs.disks()
        samples = []
        for tenant in self._tenants:
            key = tenant.key
            slot = slots.of(key)
            if slot is None:
                samples.append(self._from_file(tenant, at_ns, interfaces.get(key)))
                continue
            seen = self._look(key, table, slot * RECORD.size, fresh)
            entries = disks.get(slot) if disks else None
            samples.append(self._sample(tenant, at_ns, seen, entries, interfaces.get(key)))
        host = decode(table[root : root + RECORD.size])
        blocks = programs.counts_blocks
        counted = Sample(
            ROOT,
            at_ns,
            traffic=host.traffic if self._counts_traffic else None,
            disks=disks_of(disks.get(slots.root or 0, ())) if blocks else None,
        )
        return samples, counted, disks_of(disks.get(METER_NOBODY, ())) if blocks else None

    def _look(self, key: int, table: mmap, at: int, fresh: bytes) -> _Seen:
        """The tenant's record, decoded anew only where a byte of its books changed."""
        if table[at : at + 8] != fresh:
            return _UNSEEN
        books = table[at + 8 : at + _BOOKS_END]
        seen = self._seen.get(key)
        if seen and seen.books == books:
            return seen
        parts = decode(table[at : at + RECORD.size])
        cpu = Cpu(*self._rising.rise(key, *parts.cpu)) if parts.cpu else None
        seen = self._seen[key] = _Seen(books, parts, cpu)
        return seen

    def _sample(
        self,
        tenant: Tenant,
        at_ns: int,
        seen: _Seen,
        entries: Sequence[tuple[int, ...]] | None,
        interfaces: tuple[Interface, ...] | None,
    ) -> Sample:
        """One tenant's sample; what the kernel's table lacks comes from files."""
        _, throttle, memory, states, pids, pressure, traffic, vm_bytes = seen.parts
        if memory is not None and not states:
            memory = self._files.with_states(tenant, memory)
        if vm_bytes is None:
            vm_bytes = self._vm_bytes(tenant)
        return Sample(
            tenant,
            at_ns,
            seen.cpu or self._cpu(tenant),
            throttle,
            memory,
            pids,
            pressure,
            traffic if self._counts_traffic else None,
            interfaces,
            self._disks(tenant, entries),
            vm_bytes,
            self._space.of(tenant.key),
        )

    def _cpu(self, tenant: Tenant) -> Cpu | None:
        """From the files: all there is on v1 for a cgroup that is not in the v2 tree."""
        cpu = self._files.cpu(tenant)
        if cpu is None:
            self._count_if_gone(tenant)
            return None
        return Cpu(*self._rising.rise(tenant.key, *cpu))

    def _disks(
        self, tenant: Tenant, entries: Sequence[tuple[int, ...]] | None
    ) -> tuple[Disk, ...] | None:
        """From the kernel's table where a program counts or lists devices, else from io.stat."""
        programs = self._programs
        if programs and (programs.counts_blocks or programs.lists_devices):
            return disks_of(entries) if entries else ()
        return self._files.disks(tenant)

    def _vm_bytes(self, tenant: Tenant) -> int | None:
        """From /proc only where the kernel function is missing."""
        if self._programs and self._programs.reads_vm:
            return None
        return self._files.vm_bytes(tenant)

    def _from_file(
        self, tenant: Tenant, at_ns: int, interfaces: tuple[Interface, ...] | None
    ) -> Sample:
        """One tenant's sample from files alone: without eBPF, or where the table has no room."""
        space_bytes = self._space.of(tenant.key)
        return self._files.sample(tenant, at_ns, self._cpu(tenant), interfaces, space_bytes)

    def _count_if_gone(self, tenant: Tenant) -> None:
        if not self._hierarchies.ids(tenant.path):
            self._missed += 1

    # --- who is metered

    def _follow(self, tenants: Sequence[Tenant]) -> None:
        """Slots, files and walks for exactly these tenants."""
        if self._slots is not None:
            self._slots.follow(tenants)
        for key in {before.key for before in self._tenants} - {one.key for one in tenants}:
            self._rising.forget(key)
            self._seen.pop(key, None)
        self._files.keep(tenants)
        self._finals.expect(tenants)
        self._space.want({t.key: t.rootfs for t in tenants if t.rootfs})
        self._tenants = tenants

    # --- births, deaths, costs

    def expect(self, tenants: Sequence[Tenant]) -> None:
        """Tenants that were born, or are known better, since the last collection.

        One that dies before the next collection is still given a final sample.
        """
        self._finals.meet(tenants)

    def fileno(self) -> int | None:
        """Readable when births or deaths wait; None where they must be looked for."""
        return self.tidings.fileno()

    def events(self) -> list[CgroupEvent]:
        """Births and deaths since the last call. The dead's last books are kept for `collect`."""
        return self.tidings.events()

    def coverage(self) -> Coverage:
        """Which parts come from the kernel's table on this host."""
        return coverage_of(self._programs, self._files)

    def costs(self) -> list[Cost]:
        """What each program cost so far."""
        return self._programs.costs() if self._programs else []

    def _lost(self) -> Lost:
        lost = self._programs.loss() if self._programs else Lost()
        tidings, links = self.tidings, self._links
        return Lost(
            births=lost.births + tidings.missed,
            unwatched=tidings.unwatched,
            slots=len(self._slots.without) if self._slots is not None else 0,
            traffic=lost.traffic,
            vanished=self._missed + tidings.vanished + (links.missed if links else 0),
            held=self._rising.held,
        )

    def close(self) -> None:
        """Detaches every program and closes every file."""
        if self._programs:
            self._programs.close()
        if self._links:
            self._links.close()
        self.tidings.close()
        self._space.close()
        self._files.close()
        self._host.close()
