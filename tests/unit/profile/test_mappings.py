"""A process's mappings against a naive model: one entry for each page."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from cotenant.profile.processes.mappings import (
    ANONYMOUS,
    FILE,
    VDSO,
    Mapping,
    at,
    joined,
    kind_of,
    put,
)

PAGE = 0x1000
NAMED = {FILE: "/lib/x.so", VDSO: "[vdso]", ANONYMOUS: ""}


@st.composite
def mappings(draw: st.DrawFn) -> Mapping:
    start = draw(st.integers(0, 30))
    length = draw(st.integers(1, 12))
    kind = draw(st.sampled_from([FILE, FILE, ANONYMOUS, VDSO]))
    inode = draw(st.integers(1, 3)) if kind == FILE else 0
    pgoff = start if kind == ANONYMOUS else draw(st.integers(0, 40))
    return Mapping(
        start * PAGE, (start + length) * PAGE, pgoff * PAGE, NAMED[kind], "", 0, inode, kind
    )


def pages(mapping: Mapping) -> dict[int, tuple[object, ...]]:
    """What is at each of its pages."""
    return {
        page: (mapping.kind, mapping.inode, mapping.pgoff + page - mapping.start)
        for page in range(mapping.start, mapping.end, PAGE)
    }


def all_pages(held: list[Mapping]) -> dict[int, tuple[object, ...]]:
    return {page: what for mapping in held for page, what in pages(mapping).items()}


def in_order(held: list[Mapping]) -> bool:
    gaps = itertools.pairwise(held)
    return all(m.start < m.end for m in held) and all(a.end <= b.start for a, b in gaps)


@given(st.lists(mappings(), max_size=40))
def test_each_page_is_what_was_mapped_there_last(told):
    held: list[Mapping] = []
    model: dict[int, tuple[object, ...]] = {}
    for mapping in told:
        before = list(held)
        changed, left_out = put(held, mapping, most=1000)
        model |= pages(mapping)
        assert in_order(held)
        assert all_pages(held) == model
        assert changed == (held != before)
        assert not left_out


@given(st.lists(mappings(), max_size=40), st.integers(0, 45 * PAGE))
def test_an_address_is_found_where_it_lies(told, address):
    held: list[Mapping] = []
    for mapping in told:
        put(held, mapping, most=1000)
    found = at(held, address)
    there = [mapping for mapping in held if mapping.start <= address < mapping.end]
    assert there == ([] if found is None else [found])


@given(st.lists(mappings(), max_size=60), st.integers(0, 6))
def test_never_more_than_may_be_and_nothing_that_is_no_longer_so(told, most):
    held: list[Mapping] = []
    model: dict[int, tuple[object, ...]] = {}
    for mapping in told:
        before = all_pages(held)
        _, left_out = put(held, mapping, most)
        model |= pages(mapping)
        assert in_order(held) and len(held) <= most
        assert all_pages(held).items() <= model.items()
        assert left_out or all_pages(held) == before | pages(mapping)


@given(st.lists(mappings(), max_size=20))
def test_neighbours_without_a_file_are_one_and_files_stay_apart(told):
    held: list[Mapping] = []
    for mapping in told:
        put(held, mapping, most=1000)
    for left, right in itertools.pairwise(held):
        assert (left.end, left.kind, ANONYMOUS) != (right.start, right.kind, right.kind)
    assert joined(held) == held


def test_a_file_mapped_in_two_pieces_stays_in_two():
    held: list[Mapping] = []
    put(held, Mapping(0, PAGE, 0, "/x"), most=9)
    put(held, Mapping(PAGE, 2 * PAGE, PAGE, "/x"), most=9)
    assert len(held) == 2


def test_what_is_mapped_in_the_middle_leaves_a_piece_on_each_side():
    held = [Mapping(0, 8 * PAGE, 4 * PAGE, "/old")]
    put(held, Mapping(2 * PAGE, 3 * PAGE, 0, "/new"), most=9)
    assert held == [
        Mapping(0, 2 * PAGE, 4 * PAGE, "/old"),
        Mapping(2 * PAGE, 3 * PAGE, 0, "/new"),
        Mapping(3 * PAGE, 8 * PAGE, 7 * PAGE, "/old"),
    ]


def test_kinds_go_by_the_kernel_s_names():
    for path in ("", "//anon", "[heap]", "[stack]", "[uprobes]", "/dev/zero (deleted)", "/SYSV0"):
        assert kind_of(path) == ANONYMOUS
    assert kind_of("[vdso]") == VDSO
    for path in ("/bin/x", "/memfd:jit (deleted)", "/a (deleted)", "/new\nline"):
        assert kind_of(path) == FILE
