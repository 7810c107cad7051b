"""The first collection of the noise sense tells who ran, not every seat that there could be."""

from __future__ import annotations

import time

import pytest

from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.model import UNSEATED
from cotenant.noise.read import Noise


@pytest.mark.any_kernel
@pytest.mark.claim
def test_seats_that_nobody_ever_held_are_not_told(hierarchies: Hierarchies):
    with Noise(hierarchies) as noise:
        for _ in range(2):
            time.sleep(0.1)  # this task at least is switched away from, and back to
            waits = noise.collect()
            assert UNSEATED.key not in waits.waited
            assert len(noise._last) <= len([*noise._programs.taken()]) + 2
            assert waits.waited
