"""The kernel side of the meter: loaded, attached, walked; its table of slots kept."""

from __future__ import annotations

import os
import struct
from mmap import mmap
from pathlib import Path
from typing import NamedTuple

from cotenant.errors import CotenantError, KernelRefused, NoBpf
from cotenant.kernel import records
from cotenant.kernel.btf import TYPEDEF, Btf
from cotenant.kernel.cgroupfs import CgroupEvent, Hierarchies, Hierarchy
from cotenant.kernel.cost import Cost
from cotenant.kernel.libbpf import Object, possible_cpus
from cotenant.kernel.ringbuf import Ring
from cotenant.meter import states
from cotenant.meter.host import booked_every_ns
from cotenant.model import Lost

OBJECTS = Path(__file__).parent.parent / "bpf"
RECORD = records.METER_RECORD_LAYOUT
_CONFIG = struct.Struct(records.METER_CONFIG_LAYOUT.format)
_DISK = struct.Struct(records.METER_DISK_LAYOUT.format)
_SHARED = struct.Struct(records.METER_SHARED_LAYOUT.format)
_LIFE = struct.Struct(records.METER_LIFE_LAYOUT.format)
_KEY = struct.Struct(records.METER_KEY_LAYOUT.format)
_COST = struct.Struct(records.METER_COST_LAYOUT.format)
_WORD = struct.Struct("=I")
_LONG = struct.Struct("=Q")
READ_CONTROLLERS = ("cpu", "memory", "pids", "blkio", "io")
_LIFE_FIELDS = records.METER_LIFE_LAYOUT.fields
_LAST = records.METER_LIFE_LAYOUT.slice("last.run", "last.running_ns")
_LAST_DISKS = range(
    _LIFE_FIELDS.index("disks.disk[0].slot"), len(_LIFE_FIELDS) - 1, len(_DISK.format) - 1
)


class Facts(NamedTuple):
    """What this kernel offers the programs; probed, never guessed from its version.

    `object` is the compiled source that names just the kernel functions this kernel has.
    """

    object: str
    places: states.Places
    births: bool
    block: bool
    pressure: bool


def read_trees(hierarchies: Hierarchies) -> list[Hierarchy]:
    """Trees whose values are read, and whose births and deaths are told; the v2 tree first."""
    found = [hierarchies.unified, *(hierarchies.of(name) for name in READ_CONTROLLERS)]
    numbers = {tree.number for tree in found if tree}
    return [tree for tree in hierarchies.trees if tree.number in numbers and tree.number < 32]


class Death(NamedTuple):
    """What a cgroup of one hierarchy left behind: a record as the walk fills it, and its disks."""

    event: CgroupEvent
    at_ns: int
    record: tuple[int, ...]
    disks: tuple[tuple[int, ...], ...]


def probe(hierarchies: Hierarchies, present: frozenset[str], *, kfuncs: bool) -> Facts:
    """Facts of this kernel. NoBpf where it has no type information or no cgroup iterator."""
    with Btf.of_kernel() as btf:
        if not btf.has_function("bpf_iter_cgroup"):
            raise NoBpf("This kernel has no cgroup iterator (Linux 6.1).", "cotenant check")
        by_functions = kfuncs and states.has_functions(btf)
        return Facts(
            object=_object(btf, by_functions=by_functions),
            places=states.find(btf, present, by_functions=by_functions),
            births=btf.find("btf_trace_cgroup_mkdir", TYPEDEF) is not None,
            block=btf.find("btf_trace_block_rq_issue", TYPEDEF) is not None,
            pressure=_pressure_is_on(hierarchies),
        )


TREE, EACH, MEMCG = "meter_tree.bpf.o", "meter.bpf.o", "meter_memcg.bpf.o"


def _object(btf: Btf, *, by_functions: bool) -> str:
    if by_functions:
        return MEMCG
    if btf.has_function("css_rstat_flush"):
        return EACH
    if btf.has_function("cgroup_rstat_flush"):
        return TREE
    raise NoBpf("This kernel lets no program flush the cgroups' books (6.1).", "cotenant check")


def _pressure_is_on(hierarchies: Hierarchies) -> bool:
    """The kernel may hold PSI but have it switched off: then reading the file fails."""
    if not hierarchies.unified:
        return False
    try:
        (hierarchies.unified.mount / "cpu.pressure").read_bytes()
    except OSError:
        return False
    return True


class Programs:
    """The loaded programs. `places` of the facts may be refuted after the first walk.

    Without `counting` only the walk is loaded: for one look, in which nothing could be counted.
    """

    def __init__(self, hierarchies: Hierarchies, facts: Facts, *, counting: bool = True) -> None:
        self.facts = facts
        self._counting = counting
        self._hierarchies = hierarchies
        self._free = list(range(records.METER_SLOTS - 1, -1, -1))
        self._deaths: list[Death] = []
        self._births: list[CgroupEvent] = []
        self._run = self._changes = 0
        self.unattached: list[str] = []
        self._object = Object(OBJECTS / facts.object)
        try:
            self._load()
        except CotenantError:
            self._object.close()
            raise

    def _load(self) -> None:
        self._object.set_section(".rodata.config", 0, self._config())
        lives = self._counting and self.facts.births
        counts_blocks = self._counting and self.facts.block and self._blkio() is not None
        for program, wanted in (
            ("cgroup_made", lives),
            ("cgroup_removed", lives),
            ("block_issued", counts_blocks),
            ("block_requeued", counts_blocks),
            ("received", self._counting),
            ("sent", self._counting),
        ):
            if not wanted:
                self._object.leave_out(program)
        self._object.load()
        self._check_sizes()
        self._slots = self._object.map("meter_slots")
        self._records = self._object.map("meter_records").view(writable=True)
        self._pids = self._object.map("meter_main_pids").view(writable=True)
        self._disks = self._object.map("meter_disk_list").view()
        self._shared = self._object.map(".data.shared").view(writable=True)
        self._costs = self._object.map("meter_costs")
        self._iterators = [self._object.iterator("meter", m) for m in self._walked()]
        self.counts_blocks = counts_blocks
        self.lists_devices = self.facts.object == TREE and self._blkio() is None
        self.counts_traffic = self._attach_sockets()
        self._ring: Ring | None = None
        if counts_blocks:
            self._object.attach("block_issued")
            self._object.attach("block_requeued")
        if lives:
            self._ring = Ring(self._object.map("meter_lives"), self._take)
            self._object.attach("cgroup_made")
            self._object.attach("cgroup_removed")

    def _config(self) -> bytes:
        memory = self._hierarchies.of("memory")
        watched = sum(1 << number for number in self.watched)
        return _CONFIG.pack(
            possible_cpus(),
            os.sysconf("SC_PAGE_SIZE"),
            int(self.facts.places.known),
            int(memory is None or memory.version == 2),
            int(self._counting),
            int(self.facts.pressure),
            watched,
            booked_every_ns(),
            *self.facts.places.states,
            *self.facts.places.events,
        )

    @property
    def watched(self) -> frozenset[int]:
        """Hierarchies that are walked, and whose births and deaths are told."""
        return frozenset(tree.number for tree in read_trees(self._hierarchies))

    def _walked(self) -> list[Path]:
        """Directories of the trees to walk; the v2 tree first, since it starts a collection."""
        return [tree.mount for tree in read_trees(self._hierarchies)]

    def _blkio(self) -> int | None:
        tree = self._hierarchies.of("blkio")
        return tree.number if tree and tree.version == 1 else None

    def _attach_sockets(self) -> bool:
        if not self._counting or not self._hierarchies.unified:
            return False
        try:
            self._object.attach_cgroup("received", self._hierarchies.unified.mount)
            self._object.attach_cgroup("sent", self._hierarchies.unified.mount)
        except CotenantError as error:
            self.unattached.append(str(error))
            return False
        return True

    def _check_sizes(self) -> None:
        for name, layout in (
            ("meter_records", RECORD),
            ("meter_disk_list", records.METER_DISK_LAYOUT),
            ("meter_costs", records.METER_COST_LAYOUT),
        ):
            size = self._object.map(name).value_size
            if size != layout.size:
                raise KernelRefused(
                    f"{name} holds values of {size} bytes, records.py says {layout.size}.",
                    "make build generate",
                )

    @property
    def reads_vm(self) -> bool:
        """True where the programs read the virtual size of a tenant's first process."""
        return self.facts.object != TREE

    @property
    def trees(self) -> int:
        """How many cgroup trees are walked."""
        return len(self._iterators)

    # --- slots

    def place(self, ids: dict[int, int], main_pid: int | None) -> int | None:
        """Gives a tenant a slot in the kernel's table; None where the kernel has no room for it."""
        if not self._free:
            return None
        slot = self._free.pop()
        self._records[slot * RECORD.size : (slot + 1) * RECORD.size] = bytes(RECORD.size)
        self.set_main_pid(slot, main_pid)
        self._change()
        for hierarchy, number in ids.items():
            if not self._slots.put(_KEY.pack(number, hierarchy, 0), _WORD.pack(slot)):
                self.remove(slot, ids)  # half a slot would read as a tenant without those figures
                return None
        return slot

    def set_main_pid(self, slot: int, pid: int | None) -> None:
        """Whose virtual size is read for that slot."""
        _LONG.pack_into(self._pids, slot * _LONG.size, pid or 0)

    def remove(self, slot: int, ids: dict[int, int]) -> None:
        """Takes a tenant's slot back."""
        self._change()
        for hierarchy, number in ids.items():
            self._slots.drop(_KEY.pack(number, hierarchy, 0))
        self._free.append(slot)

    def _change(self) -> None:
        """The slots that the last walk met are looked up again."""
        self._changes = (self._changes + 1) & 0xFFFFFFFF
        _WORD.pack_into(self._shared, _CHANGES_AT, self._changes)

    # --- one collection

    def walk(self) -> int:
        """Walks every tree once; the number of this collection, which fresh records carry."""
        self._run += 1
        _LONG.pack_into(self._shared, 0, self._run)
        _WORD.pack_into(self._shared, _DISKS_AT, 0)
        for number, iterator in enumerate(self._iterators):
            _WORD.pack_into(self._shared, _TREE_AT, number)
            iterator.run()
        return self._run

    @property
    def table(self) -> mmap:
        """The kernel's table itself: the record of slot n begins at n times a record's size."""
        return self._records

    def disks(self) -> dict[int, list[tuple[int, ...]]]:
        """(device, bytes read, bytes written, reads, writes) of this collection, by slot."""
        used = min(_WORD.unpack_from(self._shared, _DISKS_AT)[0], records.METER_DISK_LIST)
        found: dict[int, list[tuple[int, ...]]] = {}
        for slot, *disk in _DISK.iter_unpack(self._disks[: used * _DISK.size]):
            found.setdefault(slot, []).append(tuple(disk))
        return found

    # --- births and deaths

    def fileno(self) -> int | None:
        """Readable when births or deaths wait; None where the kernel does not tell."""
        return self._ring.fileno() if self._ring else None

    def lives(self) -> tuple[list[CgroupEvent], list[Death]]:
        """Births and deaths since the last call, in order, and what the dead left behind."""
        if self._ring:
            self._ring.drain()
        births, deaths = self._births, self._deaths
        self._births, self._deaths = [], []
        return births, deaths

    def _take(self, data: bytes) -> None:
        values = _LIFE.unpack_from(data)
        cgroup, hierarchy, _, made, cut, at_ns = values[:6]
        if cut:
            return  # found by the next scan: no tenant's path is that long
        path = values[-1].partition(b"\0")[0].decode(errors="surrogateescape")
        event = CgroupEvent(bool(made), hierarchy, cgroup, path)
        self._births.append(event)
        if not made:
            disks = tuple(values[i + 1 : i + 6] for i in _LAST_DISKS)
            self._deaths.append(Death(event, at_ns, values[_LAST], disks))

    # --- what it cost and lost

    def costs(self) -> list[Cost]:
        """Runs and timed nanoseconds of each program since it was loaded."""
        found = []
        for name, at in _PROGRAMS:
            data = self._costs.get(_WORD.pack(at), possible_cpus())
            if data:
                copies = _COST.iter_unpack(data)
                runs, timed, ns = (sum(column) for column in zip(*copies, strict=True))
                found.append(Cost(name, runs, timed, ns))
        return found

    def loss(self) -> Lost:
        """What the programs could not keep."""
        *_, life, traffic, disks = _SHARED.unpack_from(self._shared)
        return Lost(births=life, traffic=traffic + disks)

    def close(self) -> None:
        """Detaches everything."""
        if self._ring:
            self._ring.close()
        for view in (self._records, self._pids, self._disks, self._shared):
            view.close()
        self._object.close()


_DISKS_AT = struct.calcsize("=Qqq")
_CHANGES_AT = struct.calcsize("=QqqI")
_TREE_AT = struct.calcsize("=QqqII")
_PROGRAMS = (
    ("received", records.METER_RUN_RECEIVED),
    ("sent", records.METER_RUN_SENT),
    ("block_issued", records.METER_RUN_BLOCK),
    ("cgroup_life", records.METER_RUN_LIFE),
)
