"""Facts of a host, from a made tree of its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from cotenant.meter.host import booked_every_ns


@pytest.mark.parametrize("nohz_full", [None, "\n", " (null)\n"])
def test_a_running_task_is_booked_with_every_tick(tmp_path: Path, nohz_full: str | None) -> None:
    """The tick is 1/HZ, and HZ no more than 1,000 and no less than 100 on any architecture."""
    if nohz_full is not None:
        _write(tmp_path, nohz_full)
    assert 1_000_000 <= booked_every_ns(tmp_path) <= 10_000_000


def test_where_cpus_run_without_ticks_it_is_booked_once_a_second(tmp_path: Path) -> None:
    _write(tmp_path, "1-3\n")
    assert booked_every_ns(tmp_path) == 1_000_000_000


def _write(root: Path, nohz_full: str) -> None:
    path = root / "sys/devices/system/cpu/nohz_full"
    path.parent.mkdir(parents=True)
    path.write_text(nohz_full)
