"""What tenants use: samples as read, usages as derived."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from cotenant.model.field import Bytes, Nanoseconds, field
from cotenant.model.tenant import Tenant


class Cpu(Struct, frozen=True, gc=False):
    """CPU time since the cgroup was made, the slice that runs right now included."""

    usage_ns: Annotated[Nanoseconds, field("ns", "CPU time used")]
    user_ns: Annotated[Nanoseconds | None, field("ns", "CPU time used in user mode")]
    system_ns: Annotated[Nanoseconds | None, field("ns", "CPU time used in the kernel")]


class Throttle(Struct, frozen=True, gc=False):
    """What the tenant's own CPU quota allows and how often it was held back by it."""

    periods: Annotated[int, field("", "Quota periods that passed while it wanted to run")]
    throttled_periods: Annotated[int, field("", "Of these, the ones in which it was held back")]
    throttled_ns: Annotated[Nanoseconds, field("ns", "Time it was held back by its own quota")]
    quota_us: Annotated[int | None, field("us", "CPU time allowed per period; none: no limit")]
    period_us: Annotated[int, field("us", "Length of a quota period")]
    shares: Annotated[int | None, field("", "CPU weight as v1 shares (1024 is normal)")]


class Memory(Struct, frozen=True, gc=False):
    """Memory of the tenant and all below it, in bytes; counters since the cgroup was made."""

    usage: Annotated[Bytes, field("bytes", "Memory charged to it, page cache included")]
    limit: Annotated[Bytes | None, field("bytes", "Most it may use; none: no limit")]
    max_usage: Annotated[Bytes | None, field("bytes", "Most it ever used")]
    failures: Annotated[int | None, field("", "Times it ran into its limit")]
    cache: Annotated[Bytes | None, field("bytes", "Page cache, shared memory included")]
    rss: Annotated[Bytes | None, field("bytes", "Anonymous memory")]
    rss_huge: Annotated[Bytes | None, field("bytes", "Anonymous memory in huge pages")]
    shmem: Annotated[Bytes | None, field("bytes", "Shared memory and tmpfs")]
    mapped_file: Annotated[Bytes | None, field("bytes", "Files mapped into memory")]
    dirty: Annotated[Bytes | None, field("bytes", "Page cache waiting to be written")]
    writeback: Annotated[Bytes | None, field("bytes", "Page cache being written")]
    swap: Annotated[Bytes | None, field("bytes", "Memory swapped out")]
    inactive_file: Annotated[Bytes | None, field("bytes", "Page cache that is given up first")]
    active_file: Annotated[Bytes | None, field("bytes", "Page cache in use")]
    pgpgin: Annotated[int | None, field("", "Pages charged to it (v1 only)")]
    pgpgout: Annotated[int | None, field("", "Pages uncharged from it (v1 only)")]
    pgfault: Annotated[int | None, field("", "Page faults")]
    pgmajfault: Annotated[int | None, field("", "Page faults that waited for the disk")]
    low_events: Annotated[int | None, field("", "Reclaims below its low protection (v2 only)")]
    high_events: Annotated[int | None, field("", "Times it was slowed above its high mark (v2)")]
    max_events: Annotated[int | None, field("", "Times usage was about to pass the limit (v2)")]
    oom_events: Annotated[int | None, field("", "Times it ran out of memory (v2 only)")]
    oom_kills: Annotated[int | None, field("", "Processes killed for want of memory")]
    kernel: Annotated[Bytes | None, field("bytes", "Memory the kernel holds for it")] = None

    @property
    def working_set(self) -> Bytes | None:
        """Bytes not given up at once: usage less the inactive page cache, as cAdvisor has it."""
        return None if self.inactive_file is None else max(self.usage - self.inactive_file, 0)


class Pids(Struct, frozen=True, gc=False):
    """Tasks of the tenant and all below it."""

    current: Annotated[int, field("", "Processes and threads")]
    limit: Annotated[int | None, field("", "Most it may have; none: no limit")]


class Pressure(Struct, frozen=True, gc=False):
    """PSI: time in which some, or all, of the tenant's tasks were held up. v2 trees only."""

    cpu_some_us: Annotated[int | None, field("us", "Some task waited for a CPU")]
    cpu_full_us: Annotated[int | None, field("us", "Every task waited for a CPU")]
    memory_some_us: Annotated[int | None, field("us", "Some task waited for memory")]
    memory_full_us: Annotated[int | None, field("us", "Every task waited for memory")]
    io_some_us: Annotated[int | None, field("us", "Some task waited for a disk")]
    io_full_us: Annotated[int | None, field("us", "Every task waited for a disk")]


class Traffic(Struct, frozen=True, gc=False):
    """Network at the cgroup (layer 3, headers included), since the agent began to count."""

    received_bytes: Annotated[Bytes, field("bytes", "Bytes received by its sockets")]
    received_packets: Annotated[int, field("", "Packets received by its sockets")]
    sent_bytes: Annotated[Bytes, field("bytes", "Bytes sent by its sockets")]
    sent_packets: Annotated[int, field("", "Packets sent by its sockets")]


class Interface(Struct, frozen=True, gc=False):
    """One network interface of the tenant's own namespace, as the tenant sees it."""

    name: Annotated[str, field("", "Name inside the tenant")]
    received_bytes: Annotated[Bytes, field("bytes", "Bytes received")]
    received_packets: Annotated[int, field("", "Packets received")]
    received_errors: Annotated[int, field("", "Packets received with an error")]
    received_dropped: Annotated[int, field("", "Packets dropped on receipt")]
    sent_bytes: Annotated[Bytes, field("bytes", "Bytes sent")]
    sent_packets: Annotated[int, field("", "Packets sent")]
    sent_errors: Annotated[int, field("", "Packets that could not be sent")]
    sent_dropped: Annotated[int, field("", "Packets dropped before they were sent")]


class Disk(Struct, frozen=True, gc=False):
    """One block device the tenant read or wrote."""

    major: Annotated[int, field("", "Major number of the device")]
    minor: Annotated[int, field("", "Minor number of the device")]
    device: Annotated[str, field("", "Its name, /dev/vda; `major:minor` where it has none")]
    read_bytes: Annotated[Bytes, field("bytes", "Bytes read from the device")]
    written_bytes: Annotated[Bytes, field("bytes", "Bytes written to the device")]
    reads: Annotated[int, field("", "Read requests")]
    writes: Annotated[int, field("", "Write requests")]


class Sample(Struct, frozen=True):
    """All that was read of one tenant at one moment. A part that could not be read is None."""

    tenant: Annotated[Tenant, field("", "Whose sample this is")]
    at_ns: Annotated[Nanoseconds, field("ns", "When, on the monotonic clock")]
    cpu: Annotated[Cpu | None, field("", "CPU time")] = None
    throttle: Annotated[Throttle | None, field("", "CPU quota and throttling")] = None
    memory: Annotated[Memory | None, field("", "Memory")] = None
    pids: Annotated[Pids | None, field("", "Tasks")] = None
    pressure: Annotated[Pressure | None, field("", "Pressure stall times")] = None
    traffic: Annotated[Traffic | None, field("", "Network at the cgroup")] = None
    interfaces: Annotated[tuple[Interface, ...] | None, field("", "Network interfaces")] = None
    disks: Annotated[tuple[Disk, ...] | None, field("", "Block devices")] = None
    vm_bytes: Annotated[Bytes | None, field("bytes", "Virtual size of its first process")] = None
    space_bytes: Annotated[Bytes | None, field("bytes", "Disk space of its writable layer")] = None
    final: Annotated[
        bool, field("", "True for the last sample: at its death, or the last before")
    ] = False


class Usage(Struct, frozen=True):
    """What one tenant uses: its newest sample and, where there are two, the rates between them."""

    sample: Annotated[Sample, field("", "The newest sample")]
    seconds: Annotated[float | None, field("s", "Time between the two samples")] = None
    cpu_cores: Annotated[float | None, field("cores", "CPUs kept busy")] = None
    cpu_user_cores: Annotated[float | None, field("cores", "CPUs kept busy in user mode")] = None
    cpu_system_cores: Annotated[float | None, field("cores", "CPUs kept busy in the kernel")] = None
    throttled_share: Annotated[
        float | None, field("", "Share of quota periods in which it was held back, 0 to 1")
    ] = None
    read_bytes_rate: Annotated[float | None, field("bytes/s", "Read from disks")] = None
    written_bytes_rate: Annotated[float | None, field("bytes/s", "Written to disks")] = None
    received_bytes_rate: Annotated[float | None, field("bytes/s", "Received")] = None
    sent_bytes_rate: Annotated[float | None, field("bytes/s", "Sent")] = None
    major_faults_rate: Annotated[float | None, field("1/s", "Faults that waited for disk")] = None

    @property
    def tenant(self) -> Tenant:
        """Whose usage this is."""
        return self.sample.tenant


class Lost(Struct, frozen=True):
    """What is known to be missing, late or unknown since the sense was opened: never hidden."""

    births: Annotated[int, field("", "Births and deaths that found their queue full")] = 0
    unwatched: Annotated[
        int, field("", "Directories without a watch, now: births there are found by walks")
    ] = 0
    slots: Annotated[int, field("", "Tenants for which the kernel table had no room")] = 0
    traffic: Annotated[int, field("", "Packets and requests that found their table full")] = 0
    vanished: Annotated[
        int, field("", "Cgroups that went away before they were read to the end")
    ] = 0
    held: Annotated[int, field("", "Counters held so as not to go backwards")] = 0
    late: Annotated[int, field("", "Samples taken more than half a period late")] = 0
    unknown: Annotated[int, field("", "Tenants whose name no source could tell")] = 0


class Machine(Struct, frozen=True):
    """The host itself: what does not change between two samples."""

    cores: Annotated[int, field("", "CPUs that are online")]
    physical_cores: Annotated[int, field("", "Physical cores")]
    sockets: Annotated[int, field("", "CPU sockets")]
    memory_bytes: Annotated[Bytes, field("bytes", "Memory of the host")]
    swap_bytes: Annotated[Bytes, field("bytes", "Swap of the host")]
    kernel: Annotated[str, field("", "Kernel release")]
    boot_id: Annotated[str, field("", "Number of this boot")]
    machine_id: Annotated[str, field("", "Number of this machine")]
    system_uuid: Annotated[str, field("", "UUID the firmware gives, empty where hidden")]
    node: Annotated[str, field("", "Host name")]


class Snapshot(Struct, frozen=True):
    """One collection: every tenant at one moment, and what is known to be missing.

    `samples` never holds a tenant twice; nested tenants (`tenant.parent`) are contained in their
    parent's figures. `root` is the whole host. `finals` are the last samples of tenants that
    died since the collection before. `unattributed` is None where requests are not counted, and
    on v2, where the kernel knows whose a page is.
    """

    at_ns: Annotated[Nanoseconds, field("ns", "When, on the monotonic clock")]
    unix_s: Annotated[float, field("s", "When, as Unix time")]
    tier: Annotated[str, field("", "How it was read: kfunc, iterator or files")]
    machine: Annotated[Machine, field("", "The host")]
    root: Annotated[Sample, field("", "The whole host, as one sample")]
    samples: Annotated[tuple[Sample, ...], field("", "Every live tenant")]
    finals: Annotated[tuple[Sample, ...], field("", "Tenants that died since the last one")] = ()
    unattributed: Annotated[
        tuple[Disk, ...] | None,
        field("", "Buffered writes that v1 charges to nobody, by device; part of `root` too"),
    ] = None
    lost: Annotated[Lost, field("", "What is missing, late or unknown")] = Lost()
