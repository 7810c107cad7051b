"""Which parts of a sample come from the kernel's table on this host."""

from __future__ import annotations

from typing import NamedTuple

from cotenant.meter.files import FileReader
from cotenant.meter.host import ROOT
from cotenant.meter.programs import Programs


class Coverage(NamedTuple):
    """What the programs supply on this host; the rest comes from files or is not measured."""

    trees: int
    states_proven: bool
    traffic: bool
    blocks: bool
    devices: bool
    lives: bool


def coverage_of(programs: Programs | None, files: FileReader) -> Coverage:
    """What the loaded programs supply; nothing where there are none."""
    if programs is None:
        return Coverage(0, False, False, False, False, False)
    return Coverage(
        trees=programs.trees,
        states_proven=programs.facts.places.known,
        traffic=programs.counts_traffic,
        blocks=programs.counts_blocks,
        devices=programs.lists_devices or files.disks(ROOT) is not None,
        lives=programs.fileno() is not None,
    )
