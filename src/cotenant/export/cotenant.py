"""The families that cAdvisor has not: `cotenant_*`."""

from __future__ import annotations

from cotenant.export.family import Form, family

TENANT = (
    family("cotenant_tenant_info", "one", labels=("id", "runtime"),
           help="Always 1: who the tenant is; `id` joins it to container_*"),
    family("cotenant_memory_rss_huge_bytes", "memory.rss_huge"),
    family("cotenant_memory_shmem_bytes", "memory.shmem"),
    family("cotenant_memory_pgpgin_total", "memory.pgpgin"),
    family("cotenant_memory_pgpgout_total", "memory.pgpgout"),
    family("cotenant_memory_events_low_total", "memory.low_events"),
    family("cotenant_memory_events_oom_total", "memory.oom_events"),
    family("cotenant_process_virtual_bytes", "sample.vm_bytes"),
    family("cotenant_network_receive_bytes_total", "traffic.received_bytes"),
    family("cotenant_network_receive_packets_total", "traffic.received_packets"),
    family("cotenant_network_transmit_bytes_total", "traffic.sent_bytes"),
    family("cotenant_network_transmit_packets_total", "traffic.sent_packets"),
)  # fmt: skip
"""A row for each tenant."""

SNAPSHOT = (
    family("cotenant_meter_info", "one", labels=("tier", "kernel", "node"),
           help="Always 1: how the host is read (kfunc, iterator or files) and its kernel"),
    family("cotenant_sample_timestamp_seconds", "at_ms", form=Form.MILLISECONDS,
           help="When these values were collected, as Unix time"),
    family("cotenant_tenants", "tenants", labels=("kind",), help="Live tenants of each kind"),
    family("cotenant_departed_tenants_total", "departed", labels=("kind",),
           help="Tenants that died since the agent started"),
    family("cotenant_departed_cpu_seconds_total", "departed_cpu_ns", labels=("kind",),
           form=Form.NANOSECONDS,
           help="CPU time that these had used when they died, so that none is lost to a bill"),
    family("cotenant_finals_evicted_total", "evicted",
           help="Final records that left this page before their time, for want of room"),
    family("cotenant_duplicate_rows", "duplicates",
           help="Rows left off this page because another has the same labels: mostly the final "
           "record of a tenant that was started again"),
    family("cotenant_unattributed_written_bytes_total", "unattributed_bytes", labels=("device",),
           help="Bytes of buffered writes that cgroup v1 charges to nobody; part of the host's "
           "container_fs_writes_bytes_total"),
    family("cotenant_unattributed_writes_total", "unattributed_writes", labels=("device",),
           help="Write requests of these; part of the host's container_fs_writes_total"),
    family("cotenant_lost_births_total", "lost.births"),
    family("cotenant_unwatched_directories", "lost.unwatched"),
    family("cotenant_lost_slots_total", "lost.slots"),
    family("cotenant_lost_traffic_total", "lost.traffic"),
    family("cotenant_vanished_total", "lost.vanished"),
    family("cotenant_held_total", "lost.held"),
    family("cotenant_late_samples_total", "lost.late"),
    family("cotenant_unknown_tenants", "lost.unknown"),
)  # fmt: skip
"""About the collection itself."""
