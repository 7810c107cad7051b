"""The families that cAdvisor has too: its names, types, units and labels, our own sentences.

Names and meanings were read in cAdvisor's lib/metrics/prometheus.go and prometheus_machine.go
(0.60) and in a real page of it. Left out on purpose: what it copies from the whole device to every
container (sectors, merges, seconds of /proc/diskstats), what is always 0 there, and three names
that promtool refuses (`container_fs_inodes_total`, `container_cpu_load_d_average_10s`,
`cadvisor_version_info`).
"""

from __future__ import annotations

from cotenant.export.family import Form, Series, family

_US = Form.MICROSECONDS
_QUOTA = "; only where there is a CPU quota"

CONTAINER = (
    family("container_last_seen", "seen_ms", form=Form.MILLISECONDS,
           help="When the tenant was last sampled, as Unix time; of a dead one: when it died"),
    family("container_start_time_seconds", "start_ms", form=Form.MILLISECONDS,
           help="When the tenant started, as Unix time"),
    family("container_cpu_usage_seconds_total", "cpu.usage_ns", labels=("cpu",),
           series=(Series("cpu.usage_ns", Form.NANOSECONDS, (("cpu", "total"),)),)),
    family("container_cpu_user_seconds_total", "cpu.user_ns"),
    family("container_cpu_system_seconds_total", "cpu.system_ns"),
    family("container_cpu_cfs_periods_total", "throttle.periods",
           help="Quota periods that passed while it wanted to run" + _QUOTA),
    family("container_cpu_cfs_throttled_periods_total", "throttle.throttled_periods",
           help="Quota periods in which it was held back" + _QUOTA),
    family("container_cpu_cfs_throttled_seconds_total", "throttle.throttled_ns",
           help="Time it was held back by its own quota" + _QUOTA),
    family("container_spec_cpu_period", "throttle.period_us", form=Form.PLAIN),
    family("container_spec_cpu_quota", "throttle.quota_us", form=Form.PLAIN,
           help="CPU time allowed per period; no line: no limit"),
    family("container_spec_cpu_shares", "throttle.shares"),
    family("container_spec_memory_limit_bytes", "memory.limit",
           help="Most memory it may use; no line: no limit; of the host: its memory"),
    family("container_memory_usage_bytes", "memory.usage"),
    family("container_memory_working_set_bytes", "memory.working_set",
           help="Memory that cannot be given up at once: usage less the inactive page cache"),
    family("container_memory_max_usage_bytes", "memory.max_usage"),
    family("container_memory_failcnt", "memory.failures"),
    family("container_memory_cache", "memory.cache"),
    family("container_memory_rss", "memory.rss"),
    family("container_memory_mapped_file", "memory.mapped_file"),
    family("container_memory_swap", "memory.swap"),
    family("container_memory_kernel_usage", "memory.kernel"),
    family("container_memory_file_dirty_bytes", "memory.dirty"),
    family("container_memory_file_writeback_bytes", "memory.writeback"),
    family("container_memory_total_inactive_file_bytes", "memory.inactive_file"),
    family("container_memory_total_active_file_bytes", "memory.active_file"),
    family("container_memory_failures_total", "memory.pgfault", labels=("failure_type", "scope"),
           help="Page faults, and those that waited for the disk (pgmajfault), nested tenants' too",
           series=(
               Series("memory.pgfault",
                      labels=(("failure_type", "pgfault"), ("scope", "hierarchy"))),
               Series("memory.pgmajfault",
                      labels=(("failure_type", "pgmajfault"), ("scope", "hierarchy"))),
           )),
    family("container_memory_events_high_total", "memory.high_events"),
    family("container_memory_events_max_total", "memory.max_events"),
    family("container_oom_events_total", "memory.oom_kills"),
    family("container_threads", "pids.current"),
    family("container_threads_max", "pids.limit", help="Most tasks it may have; no line: no limit"),
    family("container_pressure_cpu_waiting_seconds_total", "pressure.cpu_some_us", form=_US),
    family("container_pressure_cpu_stalled_seconds_total", "pressure.cpu_full_us", form=_US),
    family("container_pressure_memory_waiting_seconds_total", "pressure.memory_some_us", form=_US),
    family("container_pressure_memory_stalled_seconds_total", "pressure.memory_full_us", form=_US),
    family("container_pressure_io_waiting_seconds_total", "pressure.io_some_us", form=_US),
    family("container_pressure_io_stalled_seconds_total", "pressure.io_full_us", form=_US),
    family("container_fs_usage_bytes", "sample.space_bytes"),
)  # fmt: skip
"""A row for the whole host (`id="/"`) and for each tenant."""

_IF = ("interface",)

INTERFACES = (
    family("container_network_receive_bytes_total", "interface.received_bytes", labels=_IF),
    family("container_network_receive_packets_total", "interface.received_packets", labels=_IF),
    family("container_network_receive_errors_total", "interface.received_errors", labels=_IF),
    family("container_network_receive_packets_dropped_total", "interface.received_dropped",
           labels=_IF),
    family("container_network_transmit_bytes_total", "interface.sent_bytes", labels=_IF),
    family("container_network_transmit_packets_total", "interface.sent_packets", labels=_IF),
    family("container_network_transmit_errors_total", "interface.sent_errors", labels=_IF),
    family("container_network_transmit_packets_dropped_total", "interface.sent_dropped",
           labels=_IF),
)  # fmt: skip
"""A row for each interface of each network namespace; a namespace that is shared has one row."""

_DEV = ("device",)

DISKS = (
    family("container_fs_reads_bytes_total", "disk.read_bytes", labels=_DEV),
    family("container_fs_writes_bytes_total", "disk.written_bytes", labels=_DEV),
    family("container_fs_reads_total", "disk.reads", labels=_DEV),
    family("container_fs_writes_total", "disk.writes", labels=_DEV),
)
"""A row for each block device of each tenant."""

DISK_OPERATIONS = (
    family("container_blkio_device_usage_total", "disk.read_bytes",
           labels=("device", "major", "minor", "operation"),
           help="Bytes read from and written to the device, by operation",
           series=(
               Series("disk.read_bytes", labels=(("operation", "Read"),)),
               Series("disk.written_bytes", labels=(("operation", "Write"),)),
           )),
)  # fmt: skip
"""As DISKS, with the device's number among the labels."""

_MACHINE = ("boot_id", "machine_id", "system_uuid")

MACHINE = (
    family("machine_cpu_cores", "machine.cores", labels=_MACHINE),
    family("machine_cpu_physical_cores", "machine.physical_cores", labels=_MACHINE),
    family("machine_cpu_sockets", "machine.sockets", labels=_MACHINE),
    family("machine_memory_bytes", "machine.memory_bytes", labels=_MACHINE),
    family("machine_swap_bytes", "machine.swap_bytes", labels=_MACHINE),
)
"""One row each, about the host."""

SCRAPE = (
    family("container_scrape_error", "zero", help="Always 0: a page is only made from a collection "
           "that worked; what it misses is in cotenant_lost_*"),
    family("machine_scrape_error", "zero", help="Always 0, as container_scrape_error"),
)  # fmt: skip
"""cAdvisor's own two; alerts ask for them."""
