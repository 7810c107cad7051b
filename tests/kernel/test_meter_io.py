"""Block IO: exact for a direct write, told apart by device."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.kernel.conftest import Cgroup
from tests.kernel.metering import metering, of, tenant

from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.model import Disk

SIZE = 16 << 20


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """A folder on a real block device (/tmp may be in memory)."""
    path = Path("/var/tmp/cotenant-test-io")
    path.mkdir(exist_ok=True)
    yield path
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


def backing(path: Path) -> tuple[int, int]:
    """Device number of the whole disk below `path`."""
    device = os.stat(path).st_dev
    entry = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve()
    disk = entry.parent if (entry / "partition").exists() else entry
    major, minor = (disk / "dev").read_text().strip().split(":")
    return int(major), int(minor)


def dd(group: Cgroup, *words: str) -> None:
    assert group.spawn("dd", *words, "status=none").wait(60) == 0


@pytest.mark.any_kernel
@pytest.mark.claim
def test_direct_io_is_exact(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup], on_disk: Path
) -> None:
    group = cgroup("/ct-io")
    who = tenant(hierarchies, group.path)
    file = on_disk / "file"
    # Blocks laid out before: only the data itself is written while we look.
    file.write_bytes(b"\0" * SIZE)
    os.sync()

    def disk(snapshot_of: object) -> Disk | None:
        disks = snapshot_of.disks  # type: ignore[attr-defined]
        assert disks is not None
        return next((d for d in disks if (d.major, d.minor) == backing(on_disk)), None)

    with metering(hierarchies) as meter:
        before = disk(of(meter.collect((who,)), who))
        dd(group, "if=/dev/zero", f"of={file}", "bs=1M", f"count={SIZE >> 20}",
           "oflag=direct", "conv=notrunc")  # fmt: skip
        dd(group, f"if={file}", "of=/dev/null", "bs=1M", "iflag=direct")
        time.sleep(0.1)
        after = disk(of(meter.collect((who,)), who))
    assert after and after.device.startswith("/dev/")
    written = after.written_bytes - (before.written_bytes if before else 0)
    assert written == SIZE
    read = after.read_bytes - (before.read_bytes if before else 0)
    # dd itself and its libraries may have come from the disk too.
    assert SIZE <= read < SIZE + (8 << 20)
    assert after.writes >= 1 and after.reads >= 1


@pytest.mark.any_kernel
@pytest.mark.claim
def test_what_a_cgroup_below_writes_is_its_tenants(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup], on_disk: Path
) -> None:
    outer = cgroup("/ct-io-outer")
    inner = cgroup("/ct-io-outer/inner")
    who = tenant(hierarchies, outer.path)
    file = on_disk / "inner"
    file.write_bytes(b"\0" * (4 << 20))
    os.sync()
    with metering(hierarchies) as meter:
        meter.collect((who,))
        dd(inner, "if=/dev/zero", f"of={file}", "bs=1M", "count=4", "oflag=direct", "conv=notrunc")
        time.sleep(0.1)
        disks = of(meter.collect((who,)), who).disks
    assert disks and sum(d.written_bytes for d in disks) == 4 << 20
