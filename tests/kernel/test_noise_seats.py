"""Seats are given up when their own cgroup is removed, and then only."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from tests.kernel.conftest import Cgroup, within

from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.noise.programs import Level, Programs


@pytest.mark.kernel
@pytest.mark.claim
def test_a_cgroup_of_another_hierarchy_with_the_same_id_takes_no_seat_along(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> None:
    """Ids are unique in one hierarchy only. That two are alike cannot be brought about in time, so
    the seat of a cgroup that goes on is put down under the other's id, too.
    """
    cpu = hierarchies.of("cpu")
    assert cpu
    others = [tree.number for tree in hierarchies.trees if tree.number != cpu.number]
    assert others or hierarchies.layout == "v2", "a hybrid host has more than one hierarchy"
    stays, goes = cgroup("/cotenant-test-stays"), cgroup("/cotenant-test-goes")
    programs = Programs(cpu.version == 2, cpu.number, Level.COUNT)
    try:
        stays.spawn("sh", "-c", "while :; do :; done")
        goes.spawn("sh", "-c", "while :; do :; done")
        ids = stays.ids[cpu.number], goes.ids[cpu.number]

        def seats() -> dict[int, int]:
            return {programs.holder(seat).cgroup: seat for seat in programs.taken()}

        assert within(30, lambda: seats().keys() >= {*ids}), "they have no seats"
        seat, own = (seats()[number] for number in ids)
        table = programs._object.map("noise_seats")
        for number in others:
            table.put(struct.pack("=Q", goes.ids[number]), struct.pack("=I", seat))
        goes.remove()
        assert programs.holder(own).dead
        assert not programs.holder(seat).dead
    finally:
        programs.close()
