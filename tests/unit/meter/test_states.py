"""Places of memory.stat's values, on the types of real kernels; and their proof."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.meter.kernels import V6_1, V6_12, V6_18, V7_2, Kernel, values

from cotenant.kernel.btf import ARRAY, POINTER, Btf, Member, Type
from cotenant.meter import states
from cotenant.meter.states import (
    FIELDS,
    NOWHERE,
    Places,
    find,
    fitting,
    has_functions,
    numbered,
    proven,
)

ALL = frozenset(FIELDS)

# 6.6: no array of its own for states yet, and events listed with khugepaged's but without swap's.
V6_6 = V6_12._replace(
    events=" ".join(
        name for name in V6_12.events.split() if name not in ("ZSWPWB", "SWPIN_ZERO", "SWPOUT_ZERO")
    ),
    lengths=(54, 19),
    v1=True,
)
V6_10 = V6_6._replace(lengths=(34, 19))


class FakeBtf:
    """Types of a recorded kernel. Members' types are numbered: 1 and 2 are vmstats' arrays."""

    def __init__(self, kernel: Kernel, *, vmstats: bool = True, arrays: int = ARRAY) -> None:
        self.kernel = kernel
        self.arrays = arrays
        node = values(kernel.node)
        self.enums = {
            "node_stat_item": node,
            "memcg_stat_item": values(kernel.memcg, node["NR_VM_NODE_STAT_ITEMS"]),
            "vm_event_item": values(kernel.events),
        }
        self.fields = {("memcg_vmstats", "state"): 1, ("memcg_vmstats", "events"): 2}
        if vmstats:
            self.fields["mem_cgroup", "vmstats"] = 3
        if kernel.v1:
            self.fields["mem_cgroup", "kmem"] = 4

    def enum(self, name: str) -> dict[str, int]:
        return self.enums.get(name, {})

    def has_function(self, name: str) -> bool:
        return name in self.kernel.functions

    def field(self, of: str, name: str) -> Member | None:
        number = self.fields.get((of, name))
        return Member(name, number, 0) if number else None

    def resolved(self, number: int) -> Type:
        return Type(number, "", self.arrays, 0, 0, number)

    def array(self, of: Type) -> tuple[int, int]:
        return 9, self.kernel.lengths[of.at - 1]


def places(kernel: Kernel, *, by_functions: bool = False, present=ALL, **how: Any) -> Places:
    return find(cast(Btf, FakeBtf(kernel, **how)), present, by_functions=by_functions)


# Counted by hand in the lists of mm/memcontrol.c of each kernel. States in the order: file, anon,
# huge, shmem, mapped, dirty, writeback, swap, inactive file, active file, kernel.
@pytest.mark.parametrize(
    ("kernel", "state", "events"),
    [
        pytest.param(V6_1, (19, 17, 28, 23, 18, 20, 21, 43, 2, 3, 47), (0, 1, 6, 7), id="6.1"),
        pytest.param(V6_10, (16, 14, 22, 19, 15, 17, 18, 27, 2, 3, 31), (0, 1, 8, 9), id="6.10"),
        pytest.param(
            V6_12, (16, 14, 22, 19, 15, 17, 18, 31, 2, 3, 35), (-1, -1, 6, 7), id="6.12 Debian"
        ),
        pytest.param(
            V6_12._replace(v1=True, lengths=(38, 27)),
            (16, 14, 22, 19, 15, 17, 18, 31, 2, 3, 35),
            (0, 1, 8, 9),
            id="6.12 with v1",
        ),
        pytest.param(
            V6_18, (16, 14, 22, 19, 15, 17, 18, 33, 2, 3, 37), (0, 1, 12, 13), id="6.18 with v1"
        ),
        pytest.param(
            V6_18._replace(v1=False, lengths=(40, 29)),
            (16, 14, 22, 19, 15, 17, 18, 33, 2, 3, 37),
            (-1, -1, 10, 11),
            id="6.18 without v1",
        ),
        pytest.param(
            V7_2, (16, 14, 22, 19, 15, 17, 18, 47, 2, 3, 50), (-1, -1, 2, 3), id="7.2 by arrays"
        ),
    ],
)
def test_arrays_are_indexed_as_each_kernel_fills_them(kernel, state, events):
    assert places(kernel) == Places(True, state, events)


def test_6_6_lists_events_with_khugepaged_and_indexes_states_by_the_enum():
    found = places(V6_6)
    node = values(V6_6.node)
    assert found.events == (0, 1, 8, 9)
    assert found.states[0] == node["NR_FILE_PAGES"]
    assert found.states[7] == node["NR_VM_NODE_STAT_ITEMS"], "swap is the first of memcg's own"


def test_kernel_functions_take_the_enum_values_themselves():
    node, events = values(V7_2.node), values(V7_2.events)
    found = places(V7_2, by_functions=True)
    assert found.known
    assert found.states[0] == node["NR_FILE_PAGES"]
    assert found.states[7] == node["NR_VM_NODE_STAT_ITEMS"], "swap is the first of memcg's own"
    assert found.events[2] == events["PGFAULT"]


def test_kernel_functions_are_there_only_when_all_of_them_are():
    assert has_functions(cast(Btf, FakeBtf(V7_2)))
    assert not has_functions(cast(Btf, FakeBtf(V6_18)))
    for name in states.KFUNCS:
        lacking = V7_2._replace(functions=V7_2.functions - {name})
        assert not has_functions(cast(Btf, FakeBtf(lacking)))


@pytest.mark.parametrize("kernel", [V6_1, V6_12, V6_18, V7_2])
def test_what_memory_stat_does_not_show_has_no_place(kernel):
    for name in FIELDS:
        found = places(kernel, present=ALL - {name})
        at = FIELDS.index(name)
        assert (found.states + found.events)[at] == -1
    assert set(places(kernel, present=frozenset()).states) == {-1}


def test_a_kernel_whose_memcg_holds_no_pointer_to_vmstats_is_read_from_files():
    assert places(V6_1, vmstats=False) == NOWHERE
    assert places(V6_1, arrays=POINTER) == NOWHERE


def test_a_value_this_kernel_was_built_without_has_no_place():
    node = V6_18.node.replace("NR_ANON_THPS ", "")
    found = places(V6_18._replace(node=node, lengths=(39, 31)))
    assert found.states[2] == -1
    assert found.states[7] == 32, "those behind it move up"


@given(st.lists(st.sampled_from(states.EVENT_ITEMS), unique=True), st.integers(0, 60))
def test_positions_are_distinct_and_keep_the_order(known, length):
    found = fitting(states.EVENT_ITEMS, states.LATE_EVENTS, dict.fromkeys(known, 0), length)
    assert sorted(found.values()) == list(range(len(found)))
    assert list(found) == [name for name in states.EVENT_ITEMS if name in found]
    assert len(found) in (length, len(known))


def test_numbered_leaves_out_what_is_not_known():
    assert numbered(["a", "b", "c"], {"c": 7, "a": 9}) == {"a": 0, "c": 1}


# --- the proof

MIB = 1 << 20
BOOK = {name: 0 for name in FIELDS} | {
    "cache": 900 * MIB, "rss": 400 * MIB, "pgfault": 5_000_000, "kernel": 60 * MIB,
    "inactive_file": 300 * MIB, "active_file": 600 * MIB, "pgpgin": 900_000,
}  # fmt: skip


def moved(**changes: int | None) -> dict[str, Any]:
    return BOOK | changes


def test_what_equals_the_file_is_proven():
    assert proven([BOOK], [BOOK], [BOOK])


@pytest.mark.parametrize(
    "wrong",
    [
        {"cache": 0},
        {"rss": 900 * MIB},
        {"pgfault": 4_000},
        {"kernel": 0},
        {"swap": 60 * MIB},
        {"pgmajfault": 5_000_000},
        {"dirty": 900 * MIB},
    ],
)
def test_a_wrong_place_is_refused(wrong):
    assert not proven([BOOK], [moved(**wrong)], [BOOK])
    assert not proven([BOOK, BOOK], [BOOK, moved(**wrong)], [BOOK, BOOK]), "on any cgroup"


def test_noise_of_others_is_let_pass():
    later = moved(cache=910 * MIB, pgfault=5_100_000)
    assert proven([BOOK], [moved(cache=912 * MIB, pgfault=5_050_000)], [later])
    assert proven([later], [moved(cache=897 * MIB)], [BOOK]), "it may also shrink meanwhile"
    assert proven([BOOK], [moved(kernel=50 * MIB)], [BOOK]), "of v1, a counter beside memory.stat"


def test_nothing_seen_is_nothing_proven():
    quiet = dict.fromkeys(FIELDS, 0)
    assert not proven([quiet], [quiet], [quiet])
    assert not proven([], [], [])


@pytest.mark.parametrize("name", ["cache", "rss", "pgfault"])
def test_the_three_great_values_must_each_be_seen(name):
    assert not proven([BOOK], [moved(**{name: None})], [BOOK])
    low = moved(**{name: 0})
    assert not proven([low], [low], [low])


def test_what_the_file_does_not_show_is_not_compared():
    shown = {name: value for name, value in BOOK.items() if name != "swap"}
    assert proven([shown], [moved(swap=77 * MIB)], [shown])
