"""Where this kernel keeps the values of memory.stat, found in its type information, then proven.

The kernel keeps them in two arrays of `struct memcg_vmstats`. Up to 6.9 the arrays are indexed by
the enums themselves; since 6.10 (commit 59142d87ab03) by two tables that no program can see, but
which are filled in the order of two lists in mm/memcontrol.c. Those orders stand here; items that
a kernel was built without are missing from its enums too, so the enums tell which to leave out.
Some were in an enum long before the list had them: the array's length tells how many to leave out.
From 7.0 kernel functions take the enum values (commit 99430ab8b804).

None of this is believed: `proven` compares the first walk with memory.stat.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from cotenant.kernel.btf import ARRAY, Btf

STATE_ITEMS = """
    NR_INACTIVE_ANON NR_ACTIVE_ANON NR_INACTIVE_FILE NR_ACTIVE_FILE NR_UNEVICTABLE
    NR_SLAB_RECLAIMABLE_B NR_SLAB_UNRECLAIMABLE_B WORKINGSET_REFAULT_ANON WORKINGSET_REFAULT_FILE
    WORKINGSET_ACTIVATE_ANON WORKINGSET_ACTIVATE_FILE WORKINGSET_RESTORE_ANON
    WORKINGSET_RESTORE_FILE WORKINGSET_NODERECLAIM NR_ANON_MAPPED NR_FILE_MAPPED NR_FILE_PAGES
    NR_FILE_DIRTY NR_WRITEBACK NR_SHMEM NR_SHMEM_THPS NR_FILE_THPS NR_ANON_THPS NR_VMALLOC
    NR_KERNEL_STACK_KB NR_PAGETABLE NR_SECONDARY_PAGETABLE NR_SWAPCACHE PGPROMOTE_SUCCESS
    PGDEMOTE_KSWAPD PGDEMOTE_DIRECT PGDEMOTE_KHUGEPAGED PGDEMOTE_PROACTIVE PGSTEAL_KSWAPD
    PGSTEAL_DIRECT PGSTEAL_KHUGEPAGED PGSTEAL_PROACTIVE PGSTEAL_ANON PGSTEAL_FILE PGSCAN_KSWAPD
    PGSCAN_DIRECT PGSCAN_KHUGEPAGED PGSCAN_PROACTIVE PGSCAN_ANON PGSCAN_FILE PGREFILL NR_HUGETLB
    MEMCG_SWAP MEMCG_SOCK MEMCG_PERCPU_B MEMCG_VMALLOC MEMCG_KMEM MEMCG_ZSWAP_B MEMCG_ZSWAPPED
    MEMCG_ZSWAP_INCOMP
""".split()
EVENT_ITEMS = """
    PGPGIN PGPGOUT PSWPIN PSWPOUT PGSCAN_KSWAPD PGSCAN_DIRECT PGSCAN_KHUGEPAGED PGSCAN_PROACTIVE
    PGSTEAL_KSWAPD PGSTEAL_DIRECT PGSTEAL_KHUGEPAGED PGSTEAL_PROACTIVE PGFAULT PGMAJFAULT PGREFILL
    PGACTIVATE PGDEACTIVATE PGLAZYFREE PGLAZYFREED SWPIN_ZERO SWPOUT_ZERO ZSWPIN ZSWPOUT ZSWPWB
    THP_FAULT_ALLOC THP_COLLAPSE_ALLOC THP_SWPOUT THP_SWPOUT_FALLBACK NUMA_PAGE_MIGRATE
    NUMA_PTE_UPDATES NUMA_HINT_FAULTS
""".split()
LATE_STATES = ("PGPROMOTE_SUCCESS PGDEMOTE_KSWAPD PGDEMOTE_DIRECT PGDEMOTE_KHUGEPAGED".split(),)
LATE_EVENTS = (
    "PSWPIN PSWPOUT".split(),  # listed since 6.13 (commit 15ff4d409e1a)
    "NUMA_PAGE_MIGRATE NUMA_PTE_UPDATES NUMA_HINT_FAULTS".split(),  # 6.12 (f77f0c751478)
    "THP_SWPOUT THP_SWPOUT_FALLBACK".split(),  # 6.7
)
"""In an enum before they were listed; what was listed last comes first."""
V1_EVENTS = frozenset({"PGPGIN", "PGPGOUT"})
"""Listed only where the kernel has cgroup v1's memory controller, since that can be left out."""

# In the order of enum meter_state and meter_vm_event; the second name is the newest kernels'.
STATES = (
    ("NR_FILE_PAGES",), ("NR_ANON_MAPPED",), ("NR_ANON_THPS",), ("NR_SHMEM",), ("NR_FILE_MAPPED",),
    ("NR_FILE_DIRTY",), ("NR_WRITEBACK",), ("MEMCG_SWAP",), ("NR_INACTIVE_FILE",),
    ("NR_ACTIVE_FILE",), ("MEMCG_KMEM", "NR_KMEM"),
)  # fmt: skip
EVENTS = (("PGPGIN",), ("PGPGOUT",), ("PGFAULT",), ("PGMAJFAULT",))
FIELDS = (
    "cache", "rss", "rss_huge", "shmem", "mapped_file", "dirty", "writeback", "swap",
    "inactive_file", "active_file", "kernel", "pgpgin", "pgpgout", "pgfault", "pgmajfault",
)  # fmt: skip
"""model.Memory's names of the same, states first."""

KFUNCS = (
    "bpf_get_mem_cgroup",
    "bpf_put_mem_cgroup",
    "bpf_mem_cgroup_page_state",
    "bpf_mem_cgroup_vm_events",
)
_SLACK = 4 << 20
_SHARE = 0.05
_SHARES = {"kernel": 0.25}


class Places(NamedTuple):
    """Where the kernel side finds memory.stat's values; -1: this kernel has no such value."""

    known: bool
    states: tuple[int, ...]
    events: tuple[int, ...]


NOWHERE = Places(False, (-1,) * len(STATES), (-1,) * len(EVENTS))


def has_functions(btf: Btf) -> bool:
    """True where this kernel hands out memory.stat's values by functions."""
    return all(map(btf.has_function, KFUNCS))


def find(btf: Btf, present: frozenset[str], *, by_functions: bool) -> Places:
    """Places on this kernel, by its types; only of values that memory.stat shows (`present`).

    The functions take the enums' own values; the arrays may have an order of their own.
    """
    items = btf.enum("node_stat_item") | btf.enum("memcg_stat_item")
    events = btf.enum("vm_event_item")
    if not by_functions:
        lengths = _array_lengths(btf)
        if not lengths:
            return NOWHERE
        if lengths[0] != items.get("MEMCG_NR_STAT"):
            items = fitting(STATE_ITEMS, LATE_STATES, items, lengths[0])
        if lengths[1] != events.get("NR_VM_EVENT_ITEMS"):
            events = fitting(_event_order(btf), LATE_EVENTS, events, lengths[1])
    at = [first(names, items) for names in STATES] + [first(names, events) for names in EVENTS]
    shown = [i if name in present else -1 for i, name in zip(at, FIELDS, strict=True)]
    return Places(True, tuple(shown[: len(STATES)]), tuple(shown[len(STATES) :]))


def _event_order(btf: Btf) -> Sequence[str]:
    """The list without v1's events where v1's counters are compiled out (Debian 13)."""
    if btf.field("mem_cgroup", "kmem"):
        return EVENT_ITEMS
    return [name for name in EVENT_ITEMS if name not in V1_EVENTS]


def _array_lengths(btf: Btf) -> tuple[int, int] | None:
    """Lengths of vmstats' two arrays; None where memcg holds no pointer to them (before 6.0)."""
    state = btf.field("memcg_vmstats", "state")
    events = btf.field("memcg_vmstats", "events")
    if not state or not events or not btf.field("mem_cgroup", "vmstats"):
        return None
    first, second = btf.resolved(state.type), btf.resolved(events.type)
    if first.kind != ARRAY or second.kind != ARRAY:
        return None
    return btf.array(first)[1], btf.array(second)[1]


def numbered(order: Iterable[str], known: Mapping[str, int]) -> dict[str, int]:
    """Positions of those names of `order` that this kernel knows."""
    return {name: at for at, name in enumerate(name for name in order if name in known)}


def fitting(
    order: Sequence[str], late: Iterable[Sequence[str]], known: Mapping[str, int], length: int
) -> dict[str, int]:
    """Positions in an array of that `length`: without as many of the `late` as do not fit in.

    All of them where nothing fits: newer kernels append to the lists.
    """
    left = list(order)
    for names in ((), *late):
        left = [name for name in left if name not in names]
        found = numbered(left, known)
        if len(found) == length:
            return found
    return numbered(order, known)


def first(names: Sequence[str], known: Mapping[str, int]) -> int:
    """Value of the first known name; -1 where none is known."""
    return next((known[name] for name in names if name in known), -1)


def proven(
    before: Sequence[Mapping[str, int]],
    read: Sequence[Mapping[str, int | None]],
    after: Sequence[Mapping[str, int]],
) -> bool:
    """True when every value read lies between the file before and the file after.

    One mapping of Memory's names to values per cgroup. Others run meanwhile, so a distance of 4 MB
    or 5 % is let pass, for `kernel` 25 %: v1 tells that by a counter of its own, which the sums of
    memory.stat trail. A wrong place is wrong by orders of magnitude on some cgroup. The page cache,
    anonymous memory and faults must be seen at work, or nothing is proven.
    """
    seen: set[str] = set()
    for low, value, high in zip(before, read, after, strict=True):
        for name in FIELDS:
            got = value.get(name)
            if got is None or name not in low or name not in high:
                continue
            least, most = sorted((low[name], high[name]))
            slack = max(_SLACK if name[:2] != "pg" else 4096, int(most * _SHARES.get(name, _SHARE)))
            if not least - slack <= got <= most + slack:
                return False
            if got > slack:
                seen.add(name)
    return {"cache", "rss", "pgfault"} <= seen
