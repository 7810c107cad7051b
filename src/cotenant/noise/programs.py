"""The kernel side of the noise sense: loaded, attached, collected; its seats filled and freed."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple

from cotenant.errors import CotenantError, KernelRefused, NoBpf
from cotenant.kernel import records
from cotenant.kernel.btf import Btf
from cotenant.kernel.cost import Cost
from cotenant.kernel.libbpf import Object, possible_cpus
from cotenant.kernel.ringbuf import Ring
from cotenant.model import NoiseLost

OBJECT = Path(__file__).parent.parent / "bpf" / "noise.bpf.o"
BOOK = struct.Struct(records.NOISE_BOOK_LAYOUT.format)
EVENT = struct.Struct(records.NOISE_EVENT_LAYOUT.format)
_CONFIG = struct.Struct(records.NOISE_CONFIG_LAYOUT.format)
_HOLDER = struct.Struct(records.NOISE_HOLDER_LAYOUT.format)
_PAIR = struct.Struct(records.NOISE_PAIR_LAYOUT.format)
_SHARED = struct.Struct(records.NOISE_SHARED_LAYOUT.format)
_FIELDS = records.NOISE_SHARED_LAYOUT.fields
_WORD = struct.Struct("=I")
_LONG = struct.Struct("=Q")
IDLE: Final = records.NOISE_IDLE & 0xFFFFFFFF
EVENTS_GAP_NS = 10_000_000
"""A group tells at most one long wait per CPU in so long."""
MEMORY_BYTES = 32 << 20
"""What all CPUs' books may take together; at least MIN_SEATS fit in any case."""
MIN_SEATS, MAX_SEATS = 1024, 4096


class Level(IntEnum):
    """How much the programs do; each does what the one before does, and more."""

    COUNT = records.NOISE_COUNT
    HISTOGRAM = records.NOISE_HISTOGRAM
    BLAME = records.NOISE_BLAME


class Holder(NamedTuple):
    """Who holds a seat: ids of its cgroup and of those around it, nearest first."""

    cgroup: int
    dead: bool
    above: tuple[int, ...]


class Pair(NamedTuple):
    """What the group on one seat did to another since the last collection."""

    victim: int
    culprit: int
    ns: int
    preempted: int


class Facts(NamedTuple):
    """What this kernel keeps: whether its clocks tell interrupts and stolen time apart."""

    irq: bool
    steal: bool


def probe() -> Facts:
    """Facts of this kernel. NoBpf where it has no type information or stamps no task."""
    with Btf.of_kernel() as btf:
        if not btf.field("task_struct", "sched_info"):
            raise NoBpf(
                "This kernel does not stamp tasks that wait (CONFIG_SCHED_INFO), so their waits "
                "cannot be measured.",
                "cotenant check",
            )
        return Facts(
            irq=btf.field("rq", "prev_irq_time") is not None,
            steal=btf.field("rq", "prev_steal_time") is not None,
        )


def seats_for(cpus: int) -> int:
    """How many groups get books of their own: as many as the memory for them allows."""
    fit = MEMORY_BYTES // (BOOK.size * 2 * cpus)
    return max(MIN_SEATS, min(MAX_SEATS, fit))


class Programs:
    """The loaded programs. `unified`: groups are cgroups of the v2 tree, else of v1's cpu tree.

    `tree` is the number of that tree.
    """

    def __init__(self, unified: bool, tree: int, level: Level, seats: int | None = None) -> None:
        self.facts = probe()
        self.cpus = possible_cpus()
        self.seats = seats or seats_for(self.cpus)
        self._object = Object(OBJECT)
        self._ring: Ring | None = None
        try:
            self._load(unified, tree, level)
        except CotenantError:
            self._object.close()
            raise

    def _load(self, unified: bool, tree: int, level: Level) -> None:
        per_cpu = {"noise_cpus": self.cpus, "noise_desks": self.cpus * self.seats}
        per_seat = ("noise_seats", "noise_holders", "noise_free", "noise_books", "noise_changed")
        config = _CONFIG.pack(self.cpus, self.seats, int(unified), tree, EVENTS_GAP_NS)
        self._object.set_section(".rodata.config", 0, config)
        for name, entries in (*per_cpu.items(), *((name, self.seats) for name in per_seat)):
            self._object.resize(name, entries)
        self._object.load()
        self._check_sizes()
        self._shared = self._object.map(".data.shared").view(writable=True)
        self._holders = self._object.map("noise_holders").view(writable=True)
        self._free = self._object.map("noise_free").view(writable=True)
        self._books = self._object.map("noise_books").view()
        self._changed = self._object.map("noise_changed").view()
        self._pairs = self._object.map("noise_pairs").view()
        self.set_level(level)
        self._put("round", 2)  # two back is 0, the round of a book that nobody ever touched
        for seat in range(records.NOISE_FIRST_SEAT, self.seats):
            self._offer(seat)
        self.names = ("removed", "moved", "switched")
        for program in self.names:
            self._object.attach(program)

    def _check_sizes(self) -> None:
        for name, layout in (
            ("noise_books", records.NOISE_BOOK_LAYOUT),
            ("noise_holders", records.NOISE_HOLDER_LAYOUT),
            ("noise_pairs", records.NOISE_PAIR_LAYOUT),
        ):
            size = self._object.map(name).value_size
            if size != layout.size:
                raise KernelRefused(
                    f"{name} has entries of {size} bytes, expected {layout.size}.", "make build"
                )

    def _put(self, field: str, value: int) -> None:
        _LONG.pack_into(self._shared, _FIELDS.index(field) * _LONG.size, value)

    def _get(self, field: str) -> int:
        return int(_LONG.unpack_from(self._shared, _FIELDS.index(field) * _LONG.size)[0])

    # --- one collection

    def collect(self) -> None:
        """Lets the kernel sum what its CPUs keep into what the next calls read."""
        self._object.run("collect")

    def changed(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Seats that were touched since, and their books (fields of NOISE_BOOK_LAYOUT)."""
        count = self._get("changed")
        for (seat,) in _LONG.iter_unpack(self._changed[: count * _LONG.size]):
            yield seat, BOOK.unpack_from(self._books, seat * BOOK.size)

    def pairs(self) -> Iterator[Pair]:
        """Who ran while whom waited, since the last collection."""
        for pair in _PAIR.iter_unpack(self._pairs[: self._get("pairs") * _PAIR.size]):
            yield Pair(*pair)

    def holder(self, seat: int) -> Holder:
        """Who holds that seat now; cgroup 0: nobody."""
        cgroup, dead, depth, *above = _HOLDER.unpack_from(self._holders, seat * _HOLDER.size)
        return Holder(cgroup, bool(dead), tuple(above[:depth]))

    def taken(self) -> Iterator[int]:
        """Seats that somebody holds."""
        for seat in range(records.NOISE_FIRST_SEAT, self.seats):
            if _LONG.unpack_from(self._holders, seat * _HOLDER.size)[0]:
                yield seat

    # --- seats

    def release(self, seat: int) -> None:
        """Wipes the books of a seat whose holder is gone, and offers it to the next."""
        self._object.run("wipe", _WORD.pack(seat))
        _HOLDER.pack_into(self._holders, seat * _HOLDER.size, *([0] * (3 + records.NOISE_DEPTH)))
        self._offer(seat)

    def _offer(self, seat: int) -> None:
        end = self._get("free_end")
        _LONG.pack_into(self._free, end % self.seats * _LONG.size, seat)
        self._put("free_end", end + 1)

    # --- how much is done, what it cost

    def set_level(self, level: Level) -> None:
        """From the next switch on, so much is done."""
        self.level = level
        self._put("level", level)

    def tell_events(self, least_ns: int, told: Callable[[bytes], None]) -> None:
        """From now on, `drain_events` hands single waits of at least `least_ns` to `told`."""
        self._ring = self._ring or Ring(self._object.map("noise_events"), told)
        self._put("events_ns", least_ns)

    def drain_events(self) -> int:
        """Hands over what was told since; how many."""
        return self._ring.drain() if self._ring else 0

    def fileno(self) -> int | None:
        """Readable when single waits are there to be read; None where none are told."""
        return self._ring.fileno() if self._ring else None

    def costs(self) -> list[Cost]:
        """Runs and timed nanoseconds of each program, as of the last collection."""
        values = _SHARED.unpack_from(self._shared)
        first = _FIELDS.index("cost[0].runs")
        names = ("switched", "moved")
        return [Cost(n, *values[first + 3 * i : first + 3 * i + 3]) for i, n in enumerate(names)]

    def lost(self) -> NoiseLost:
        """What the books miss."""
        values = _SHARED.unpack_from(self._shared)
        return NoiseLost(*values[_FIELDS.index("loss.unseated") :])

    @property
    def fds(self) -> tuple[tuple[str, int], ...]:
        """Names and descriptors of the attached programs."""
        return tuple((name, self._object.program_fd(name)) for name in self.names)

    @property
    def memory_bytes(self) -> int:
        """Kernel memory of the maps, as the kernel tells it."""
        return sum(self._object.map(name).memory_bytes for name in _MAPS)

    def close(self) -> None:
        """Detaches everything."""
        if self._ring:
            self._ring.close()
        for view in (self._shared, self._holders, self._free, self._books, self._changed):
            view.close()
        self._pairs.close()
        self._object.close()


_MAPS = (
    ".data.shared",
    "noise_cpus",
    "noise_desks",
    "noise_tasks",
    "noise_seats",
    "noise_holders",
    "noise_free",
    "noise_spilled",
    "noise_events",
    "noise_books",
    "noise_changed",
    "noise_pairs",
)
