#!/usr/bin/env python3
"""Writes docs/metrics.md from the table of families in src/cotenant/export.

gen_metrics_page.py            write it
gen_metrics_page.py --check    fail where it differs from what would be written
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from cotenant.export import text
from cotenant.export.families import GROUPS
from cotenant.export.family import Family, described
from cotenant.export.records import names
from cotenant.model import Memory

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"
COMMAND = "make generate"

MEMORY = {
    "usage": ("memory.usage_in_bytes", "memory.current"),
    "limit": ("memory.limit_in_bytes", "memory.max"),
    "max_usage": ("memory.max_usage_in_bytes", "memory.peak"),
    "failures": ("memory.failcnt", "-"),
    "cache": ("total_cache", "file"),
    "rss": ("total_rss", "anon"),
    "rss_huge": ("total_rss_huge", "anon_thp"),
    "shmem": ("total_shmem", "shmem"),
    "mapped_file": ("total_mapped_file", "file_mapped"),
    "dirty": ("total_dirty", "file_dirty"),
    "writeback": ("total_writeback", "file_writeback"),
    "swap": ("total_swap", "memory.swap.current"),
    "inactive_file": ("total_inactive_file", "inactive_file"),
    "active_file": ("total_active_file", "active_file"),
    "pgpgin": ("total_pgpgin", "-"),
    "pgpgout": ("total_pgpgout", "-"),
    "pgfault": ("total_pgfault", "pgfault"),
    "pgmajfault": ("total_pgmajfault", "pgmajfault"),
    "low_events": ("-", "memory.events low"),
    "high_events": ("-", "memory.events high"),
    "max_events": ("-", "memory.events max"),
    "oom_events": ("-", "memory.events oom"),
    "oom_kills": ("memory.oom_control oom_kill", "memory.events oom_kill"),
    "kernel": ("memory.kmem.usage_in_bytes", "kernel"),
}
"""Where the kernel keeps each memory value, v1 and v2; a word without a dot is in memory.stat."""

INTRO = """\
# Metrics

<!-- Made by `{command}` from src/cotenant/export/families.py. Do not edit. -->

Three formats, one set of values: `cotenant metrics --format text|prometheus|json`, and the agent's
`/metrics` (Prometheus; `?format=text` for the lines below). In all of them a value that was not
measured is missing (null in JSON), and 0 was measured to be 0.

## Prometheus

Names, types and labels are cAdvisor's wherever it has the metric (*cAdvisor* below), so its
dashboards and alerts work unchanged; the rest begins with `cotenant_`. Seconds are written from the
kernel's nanoseconds with nothing rounded.

- **Rows.** `id="/"` is the whole host. Every tenant has a row under its cgroup's path (`id`), also
  the ones nested in another, whose figures contain theirs: that is cAdvisor's way. Only containers
  and VMs that stand in no other one carry `name`, so sums over `name!=""` count nothing twice;
  `cotenant_*` rows of nested tenants carry `parent`.
- **Kubernetes.** `namespace`, `pod` and `container` are there for its containers and absent
  elsewhere, which PromQL takes for empty. A pod's interfaces have one row with `namespace` and
  `pod` and without `container`.
- **Shared networks.** A network namespace that several tenants share has one row per interface,
  that of the pod or of the tenant that was there first.
- **Runtime labels.** None unless the configuration names them; then `container_label_<name>`.
- **The dead.** A tenant that died keeps its counters, `container_last_seen` and
  `cotenant_tenant_info` for 60 s, so that a scrape sees also the one that lived 50 ms; its gauges
  go at once. For ever it is part of `cotenant_departed_*_total`. When a living tenant has the same
  labels (a service that was restarted), the final record yields (`cotenant_duplicate_rows`).
- **Waits.** `cotenant_wait_seconds` is a classic histogram in the text form. A scraper that asks
  for protobuf (Prometheus with `--enable-feature=native-histograms`) gets it as a native histogram
  too: `histogram_quantile(0.99, rate(cotenant_wait_seconds[1m]))` is then off by a fifth at most.
  Past its budget the sense does less (`cotenant_noise_level`): without distributions,
  `cotenant_waits_total` and `cotenant_waited_seconds_total` go on and the histogram stands still;
  without blame, so do `cotenant_blame_seconds_total` and the reasons.
- **Blame.** Lines of a victim add up to its
  `cotenant_wait_reason_seconds_total{{reason="tenant"}}`; all reasons add up to
  `cotenant_waited_seconds_total`. The number of pairs with a line of their own is bounded
  (`noise_blame_pairs`): those that cost most come first and keep theirs while both live; one that
  is quiet for a minute gives way where room is needed.
- **What differs from cAdvisor.** No line where it writes a made-up 0 (no limit, or a value this
  kernel does not have). CPU always as `cpu="total"`. `container_memory_failures_total` only with
  `scope="hierarchy"`. `container_fs_reads_*` and `writes_*` are what the tenant itself did, where
  cAdvisor may copy the whole device's figures to each container; `container_fs_usage_bytes` has no
  `device`. `container_threads` is on without a switch. No time stamps on lines, so a series ends
  when its tenant does, not five minutes later.

Useful to know:

```promql
{queries}
```

"""

QUERIES = (
    ("CPUs kept busy, by name, services and VMs too",
     'sum by (tenant) (rate(container_cpu_usage_seconds_total{id!="/"}[1m])\n'
     "  * on (instance, id) group_left (tenant) cotenant_tenant_info)"),
    ("what is left for the host itself: the root less the tenants that stand in no other",
     'rate(container_cpu_usage_seconds_total{id="/"}[1m]) - on (instance) sum by (instance) (\n'
     "  rate(container_cpu_usage_seconds_total[1m])\n"
     '  and on (instance, id) cotenant_tenant_info{parent=""})'),
    ("what a BPF program costs, in CPUs",
     "rate(cotenant_bpf_runs_total[5m]) * rate(cotenant_bpf_timed_seconds_total[5m])\n"
     "  / rate(cotenant_bpf_timed_runs_total[5m])"),
    ("who makes whom wait, in seconds of waiting per second",
     'topk(10, rate(cotenant_blame_seconds_total{culprit_kind!=""}[1m]))'),
    ("the wait for a CPU that 99 of 100 did not exceed; off by up to a factor of 4",
     "histogram_quantile(0.99,\n"
     "  sum by (tenant, le) (rate(cotenant_wait_seconds_bucket[1m])))"),
    ("whose waiting is others' doing by more than half",
     "sum by (instance, tenant) (rate(cotenant_blame_seconds_total[1m]))\n"
     "  / on (instance, tenant) sum by (instance, tenant) "
     "(rate(cotenant_waited_seconds_total[1m])) > 0.5"),
)  # fmt: skip
"""Queries on the page; tests/kernel/test_prometheus_server.py runs each of them."""


def page() -> str:
    """The whole page as Markdown."""
    queries = "\n\n".join(f"# {what}\n{query}" for what, query in QUERIES)
    parts = [INTRO.format(command=COMMAND, queries=queries)]
    for group in GROUPS:
        labels = ", ".join(f"`{label}`" for label in group.labels)
        parts.append(f"### {group.title}\n\nOne row for {group.rows}.")
        parts.append(f" Labels: {labels}.\n\n" if labels else "\n\n")
        parts.append(_table(("name", "type", "unit", "more labels", "meaning", "cAdvisor"),
                            [_row(one) for one in group.families]))  # fmt: skip
    parts += [_text(), _memory(), _json()]
    return "".join(parts).rstrip("\n") + "\n"


def _row(one: Family) -> tuple[str, ...]:
    fixed = {name: value for series in one.series[:1] for name, value in series.labels}
    several = len(one.series) > 1
    labels = [
        f'`{label}="{fixed[label]}"`' if label in fixed and not several else f"`{label}`"
        for label in one.labels
    ]
    return (f"`{one.name}`", one.type, one.unit, ", ".join(labels), one.help.rstrip("."),
            "yes" if one.cadvisor else "")  # fmt: skip


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def _text() -> str:
    rows = []
    for resource, source in text.EBPF_MON + text.OURS:
        what, unit = described(source)
        if resource == "memory_working_set":
            what, unit = "Usage less the inactive page cache", "bytes"
        rows.append((f"`{resource}`", unit, what))
    each = [f"`interface:<interface>:{field}`" for field in text.INTERFACE]
    each += [f"`disk:<device>:{field}`" for field in text.DISK]
    return (
        "## Text\n\n"
        "ebpf-mon's form, a line per value: `<name>_<resource> <value>`. Bytes of the name (as "
        "UTF-8) outside\n`[A-Za-z0-9_.:/-]` are written `\\xNN`. The first 13 resources are "
        "ebpf-mon's. It too gave memory in bytes\nand events as counts; its `VmSize` was in KiB, "
        "here it is in bytes. One block per live tenant.\n\n"
        + _table(("resource", "unit", "meaning"), rows)
        + "And for each interface and block device: "
        + ", ".join(each)
        + ".\n\nWhat cgroup v1 charges to nobody (buffered writes that the kernel writes back "
        "later) comes last:\n"
        + ", ".join(f"`unattributed_disk:<device>:{field}`" for field in text.UNATTRIBUTED)
        + ". No tenant can have that name.\n\n"
    )


def _memory() -> str:
    rows = [
        (f"`{field}`", f"`{name}`", *(f"`{one}`" if one != "-" else "-" for one in MEMORY[field]))
        for field, name in names(Memory).items()
    ]
    return (
        "## Memory values and where the kernel keeps them\n\n"
        "All are hierarchical: the tenant and all below it. A word without a dot is a line of "
        "`memory.stat`;\n`-`: this version does not have it, so there is no line.\n\n"
        + _table(("value", "in JSON", "cgroup v1", "cgroup v2"), rows)
    )


def _json() -> str:
    return (
        "## JSON\n\n"
        "One object: `at` (Unix seconds), `tier`, `machine`, `root`, `tenants`, `finals` (died "
        "since the collection\nbefore), `unattributed` (buffered writes that cgroup v1 charges "
        "to nobody, by device), `lost`. A record has\n`tenant` and the parts `cpu`, `throttle`, "
        "`memory`, `pids`, `pressure`, `traffic`, `interfaces`, `disks`; a part or "
        "field\nthat was not measured is null. Units are in the names.\n"
    )


def main() -> int:
    """Write the page, or with `--check` say whether it is true (exit 1 when not)."""
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    sys.stderr.write(f"docs/metrics.md does not match the table of families\nhint: {COMMAND}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
