"""The kernel side of the profile sense: loaded, attached, drained; its maps written."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from cotenant.errors import CotenantError, KernelRefused
from cotenant.kernel import records
from cotenant.kernel.cost import Cost
from cotenant.kernel.libbpf import Object, possible_cpus
from cotenant.kernel.ringbuf import Ring
from cotenant.model import ProfileType

OBJECT = Path(__file__).parent.parent / "bpf" / "profile.bpf.o"
SAMPLE = struct.Struct(records.PROFILE_SAMPLE_LAYOUT.format)
MAPPING = struct.Struct(records.PROFILE_MAPPING_LAYOUT.format)
PROCESS = struct.Struct(records.PROFILE_PROCESS_LAYOUT.format)
FILE = struct.Struct(records.PROFILE_FILE_LAYOUT.format)
PYTHON = struct.Struct(records.PROFILE_PYTHON_LAYOUT.format)
_CONFIG = struct.Struct(records.PROFILE_CONFIG_LAYOUT.format)
_COUNTS = struct.Struct(records.PROFILE_COUNTS_LAYOUT.format)
_COUNT_FIELDS = records.PROFILE_COUNTS_LAYOUT.fields
_TALLY = struct.Struct(records.PROFILE_TALLY_LAYOUT.format)
_WORD = struct.Struct("=I")
_LONG = struct.Struct("=Q")
TYPES: Final = {
    ProfileType.CPU: records.PROFILE_CPU,
    ProfileType.OFF_CPU: records.PROFILE_OFF_CPU,
    ProfileType.ALLOC: records.PROFILE_ALLOC,
    ProfileType.FAULTS: records.PROFILE_FAULTS,
}
MAPPINGS = 1 << 16
"""Mappings of code that all processes together may have: 2 MB."""
TABLE_WORDS = 1 << 22
"""Room for unwind tables, in words of 4 bytes: 16 MB, about 4 million rows."""
TALLIES = 1 << 15
BLOCKED = 1 << 14
RING_BYTES_PER_CPU = 1 << 17
RING_BYTES_PER_HZ = 1 << 10
"""Samples of two seconds: user space may wait for a CPU of its own, or for a file's symbols."""
LEAST_RING_BYTES = 1 << 19
SNAPSHOTS, LEAST_SNAPSHOTS = 400, 20
"""Stacks told as they are in a second, to be walked by us: of all CPUs, but so many of each."""
MOST_SNAPSHOT_BYTES = 8 << 20
"""Room for them, 16 KiB each: user space may be busy with a large binary for half a second."""
ALLOC_EVERY = 512 << 10
"""One allocation is sampled for so many bytes allocated; what Go and tcmalloc do."""
FAULTS_EVERY = 16
UPROBES = (
    "allocated_first",
    "allocated_second",
    "allocated_third",
    "allocated_product",
    "reallocated",
    "allocated_python_second",
    "reallocated_python",
    "allocated_python_product",
)


class Counts(NamedTuple):
    """What all CPUs counted since the programs were loaded; see struct profile_counts."""

    samples: int
    dropped: int
    idle: int
    filtered: int
    busy: int
    untallied: int


class Tally(NamedTuple):
    """Blocked time at the stack of that number, since the programs were loaded."""

    stack: int
    times: int
    ns: int


class Programs:
    """The loaded programs, sampling nothing yet: see `attach`.

    `unified`: groups are cgroups of the v2 tree, else of v1's cpu tree. `chosen`: only groups that
    `set_rate` names are sampled. `hz`: ticks a second and CPU that there is to be room for.
    """

    def __init__(
        self, types: Sequence[ProfileType], unified: bool, chosen: bool, hz: int = 99
    ) -> None:
        self.cpus = possible_cpus()
        self.types = tuple(types)
        self._object = Object(OBJECT)
        self._epoch = 0
        self._ring: Ring | None = None
        self._snapshots: Ring | None = None
        try:
            self._load(unified, chosen, hz)
        except CotenantError:
            self._object.close()
            raise

    def _load(self, unified: bool, chosen: bool, hz: int) -> None:
        blocked = ProfileType.OFF_CPU in self.types
        tallies = TALLIES if blocked else 1
        snapshots = max(LEAST_SNAPSHOTS, SNAPSHOTS // self.cpus)
        config = _CONFIG.pack(
            int(unified), int(chosen), tallies, snapshots, ALLOC_EVERY, FAULTS_EVERY
        )
        self._object.set_section(".rodata.config", 0, config)
        ring = LEAST_RING_BYTES
        while ring < self.cpus * max(RING_BYTES_PER_CPU, hz * RING_BYTES_PER_HZ):
            ring *= 2
        for name, entries in (
            ("profile_tables", TABLE_WORDS // records.PROFILE_CHUNK),
            ("profile_mappings", MAPPINGS),
            ("profile_tallies", tallies),
            ("profile_blocked", BLOCKED if blocked else 1),
            ("profile_samples", ring),
            ("profile_snapshots", min(ring * 4, MOST_SNAPSHOT_BYTES)),
        ):
            self._object.resize(name, entries)
        self._leave_out()
        self._object.load()
        self._check_sizes()
        self._tables = self._object.map("profile_tables")
        self._mappings = self._object.map("profile_mappings")
        self._files = self._object.map("profile_files")
        self._pythons = self._object.map("profile_pythons")
        self._processes = self._object.map("profile_processes")
        self._threads = self._object.map("profile_threads")
        self._rates = self._object.map("profile_rates")
        self._epochs = self._object.map("profile_epoch")
        self._counts = self._object.map("profile_counts")
        self._tallies = self._object.map("profile_tallies").view()

    def _leave_out(self) -> None:
        """Programs of types that nobody asked for are not even loaded."""
        if ProfileType.CPU not in self.types:
            self._object.leave_out("ticked")
        if ProfileType.OFF_CPU not in self.types:
            self._object.leave_out("switched")
        if ProfileType.FAULTS not in self.types:
            self._object.leave_out("faulted")
        if ProfileType.ALLOC not in self.types:
            for program in UPROBES:
                self._object.leave_out(program)

    def _check_sizes(self) -> None:
        for name, layout in (
            ("profile_mappings", records.PROFILE_MAPPING_LAYOUT),
            ("profile_processes", records.PROFILE_PROCESS_LAYOUT),
            ("profile_files", records.PROFILE_FILE_LAYOUT),
            ("profile_pythons", records.PROFILE_PYTHON_LAYOUT),
            ("profile_tallies", records.PROFILE_TALLY_LAYOUT),
        ):
            size = self._object.map(name).value_size
            if size != layout.size:
                raise KernelRefused(
                    f"{name} has entries of {size} bytes, expected {layout.size}.", "make build"
                )

    # --- what the programs know

    def write_words(self, chunk: int, words: bytes) -> None:
        """Puts words into the tables, from the beginning of a chunk on; the last is filled up."""
        size = records.PROFILE_CHUNK * _WORD.size
        for number, at in enumerate(range(0, len(words), size), chunk):
            self._tables.put(_WORD.pack(number), words[at : at + size].ljust(size, b"\0"))

    def write_file(self, number: int, entry: bytes) -> None:
        """Tells of a file's table; `entry` is a packed profile_file."""
        self._files.put(_WORD.pack(number), entry)
        self.forget_places()

    def write_python(self, number: int, entry: bytes) -> None:
        """Tells of an interpreter; `entry` is a packed profile_python."""
        self._pythons.put(_WORD.pack(number), entry)

    def write_mapping(self, index: int, entry: bytes) -> None:
        """Tells of a mapping; `entry` is a packed profile_mapping."""
        self._mappings.put(_WORD.pack(index), entry)

    def forget_places(self) -> None:
        """What was found by mappings and tables is looked up anew: some are to be others'."""
        self._epoch = (self._epoch + 1) & 0xFFFFFFFF
        self._epochs.put(_WORD.pack(0), _WORD.pack(self._epoch))

    def write_process(self, tgid: int, entry: bytes) -> bool:
        """Tells of a process; `entry` is a packed profile_process. False: no room."""
        return self._processes.put(_WORD.pack(tgid), entry)

    def drop_process(self, tgid: int) -> None:
        """Forgets a process."""
        self._processes.drop(_WORD.pack(tgid))

    def write_thread(self, key: int, state: int) -> bool:
        """Tells where a thread's interpreter keeps its state. False: no room."""
        return self._threads.put(_LONG.pack(key), _LONG.pack(state))

    def drop_thread(self, key: int) -> None:
        """Forgets a thread."""
        self._threads.drop(_LONG.pack(key))

    def set_rate(self, cgroup: int, every: int) -> None:
        """Of this cgroup and all below it, one sample of `every` is taken; 0: none."""
        self._rates.put(_LONG.pack(cgroup), _WORD.pack(every))

    def drop_rate(self, cgroup: int) -> None:
        """Back to what holds for all."""
        self._rates.drop(_LONG.pack(cgroup))

    # --- what they tell

    def attach(self) -> None:
        """Follows forks and execs, and starts what needs no place of its own to be attached to."""
        for program in ("forked", "executed"):
            self._object.attach(program)
        for kind, program in ((ProfileType.OFF_CPU, "switched"), (ProfileType.FAULTS, "faulted")):
            if kind in self.types:
                self._object.attach(program)

    def attach_clock(self, event: int) -> None:
        """Samples at each tick of a perf event."""
        self._object.attach_perf("ticked", event)

    def attach_uprobe(self, program: str, pid: int, path: str, offset: int) -> Callable[[], None]:
        """Samples calls of the function at `offset` of the file, by that process."""
        return self._object.attach_uprobe(program, pid, path, offset)

    def listen(self, told: Callable[[bytes], None], kept: Callable[[bytes], None]) -> None:
        """From now on `drain` hands each sample (a packed profile_sample, words) to `told`.

        `drain_snapshots` hands samples that are to be walked yet, with their stack, to `kept`.
        """
        self._ring = Ring(self._object.map("profile_samples"), told)
        self._snapshots = Ring(self._object.map("profile_snapshots"), kept)

    def drain(self) -> int:
        """Hands over the samples told since; how many."""
        return self._ring.drain() if self._ring else 0

    def drain_snapshots(self) -> int:
        """Hands over the snapshots told since; how many."""
        return self._snapshots.drain() if self._snapshots else 0

    def tallies(self) -> Iterator[Tally]:
        """Blocked time of every stack that was told."""
        for tally in _TALLY.iter_unpack(self._tallies[: self._tally_bytes]):
            if tally[0]:
                yield Tally(*tally)

    @property
    def _tally_bytes(self) -> int:
        return _TALLY.size * (TALLIES if ProfileType.OFF_CPU in self.types else 1)

    def _counted(self) -> list[int]:
        raw = self._counts.get(_WORD.pack(0), self.cpus) or b""
        return [sum(column) for column in zip(*_COUNTS.iter_unpack(raw), strict=True)]

    def counts(self) -> Counts:
        """What the CPUs counted."""
        return Counts(*self._counted()[: len(Counts._fields)])

    def costs(self) -> list[Cost]:
        """Runs and nanoseconds by type of sample; every run is timed."""
        values = self._counted()
        runs, ns = _COUNT_FIELDS.index("runs[0]"), _COUNT_FIELDS.index("ns[0]")
        return [
            Cost(kind.value, values[runs + i], values[runs + i], values[ns + i])
            for kind, i in TYPES.items()
        ]

    @property
    def memory_bytes(self) -> int:
        """Kernel memory of the maps, as the kernel tells it."""
        return sum(self._object.map(name).memory_bytes for name in _MAPS)

    def close(self) -> None:
        """Detaches everything."""
        for ring in (self._ring, self._snapshots):
            if ring:
                ring.close()
        self._tallies.close()
        self._object.close()


_MAPS = (
    "profile_tables",
    "profile_files",
    "profile_pythons",
    "profile_mappings",
    "profile_processes",
    "profile_threads",
    "profile_rates",
    "profile_epoch",
    "profile_samples",
    "profile_snapshots",
    "profile_counts",
    "profile_tallies",
    "profile_blocked",
    "profile_walks",
    "profile_snapshot",
)
