"""Buffered writes that cgroup v1 charges to nobody, told apart from the host's and the tenants'.

On a file system of its own, on a loop device, so that nobody else writes to that device.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.kernel.conftest import Cgroup
from tests.kernel.metering import kernel_tiers, metering, of, tenant

from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.meter.usage import rest, usages
from cotenant.model import Disk, Snapshot, Tenant

SIZE = 16 << 20
BOOKS = 1 << 20
"""More than ext4 writes of its own blocks beside so few files."""


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout.strip()


class Volume(NamedTuple):
    """A mounted file system and the number of the device below it."""

    path: Path
    device: tuple[int, int]

    def flush(self) -> None:
        """Has the kernel's flusher write back what is dirty; waits for it."""
        run("sync", "--file-system", str(self.path))


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    image = Path(f"/var/tmp/cotenant-test-{os.getpid()}.img")
    where = tmp_path / "volume"
    where.mkdir()
    run("truncate", "--size", "128M", str(image))
    run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image))
    run("mount", "-o", "loop", str(image), str(where))
    try:
        device = where.stat().st_dev
        made = Volume(where, (os.major(device), os.minor(device)))
        for name in ("buffered", "synced", "direct"):  # their blocks are laid out before
            (where / name).write_bytes(b"\0" * SIZE)
        os.sync()  # of the whole host: were much of it dirty, the flusher would help whoever writes
        yield made
    finally:
        run("umount", str(where))
        image.unlink()


def written(disks: tuple[Disk, ...] | None, device: tuple[int, int]) -> int:
    assert disks is not None
    return sum(d.written_bytes for d in disks if (d.major, d.minor) == device)


class Account(NamedTuple):
    """Bytes written to the device on whose account; they sum to `whole`."""

    tenant: int
    nobody: int
    host: int
    whole: int


def account(snapshot: Snapshot, who: Tenant, device: tuple[int, int]) -> Account:
    return Account(
        written(of(snapshot, who).disks, device),
        written(snapshot.unattributed, device),
        written(rest(snapshot).disks, device),
        written(snapshot.root.disks, device),
    )


def is_v1(hierarchies: Hierarchies) -> bool:
    tree = hierarchies.of("blkio")
    return tree is not None and tree.version == 1


@pytest.mark.claim
def test_a_write_is_the_tenants_the_hosts_or_nobodys_and_never_two_at_once(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup], volume: Volume
) -> None:
    group = cgroup("/ct-nobody")
    who = tenant(hierarchies, group.path)
    write = ("dd", "if=/dev/zero", "bs=1M", f"count={SIZE >> 20}", "status=none")

    with metering(hierarchies) as meter:
        if not is_v1(hierarchies):  # the kernel charges the owner: there is nothing to tell apart
            assert meter.collect((who,)).unattributed is None
            return

        def after(*do: Callable[[], object]) -> Account:
            """What was written on whose account while all that was done."""
            old = account(meter.collect((who,)), who, volume.device)
            for step in do:
                step()
            time.sleep(0.1)
            new = account(meter.collect((who,)), who, volume.device)
            assert new.whole == new.tenant + new.nobody + new.host
            return Account(*(b - a for a, b in zip(old, new, strict=True)))

        def by_tenant(*words: str) -> Callable[[], object]:
            return lambda: group.spawn(*write, "conv=notrunc", *words).wait(60)

        buffered = after(by_tenant(f"of={volume.path}/buffered"), volume.flush)
        synced = after(by_tenant(f"of={volume.path}/synced", "conv=fsync"))
        hosts = after(lambda: run(*write, f"of={volume.path}/direct", "oflag=direct",
                                  "conv=notrunc"))  # fmt: skip
        rows = usages(meter.collect((who,)), None)
    assert [row.tenant.name for row in rows] == ["ct-nobody", "unattributed", "host"]
    assert SIZE <= buffered.nobody < SIZE + BOOKS and buffered.tenant < BOOKS
    assert buffered.host < BOOKS
    assert SIZE <= synced.tenant < SIZE + BOOKS and synced.nobody < BOOKS and synced.host < BOOKS
    assert SIZE <= hosts.host < SIZE + BOOKS and hosts.nobody < BOOKS and hosts.tenant == 0


@pytest.mark.any_kernel
@pytest.mark.claim
def test_it_is_not_measured_by_files_nor_where_the_kernel_charges_the_owner(
    hierarchies: Hierarchies,
) -> None:
    for tier in kernel_tiers(hierarchies):
        with metering(hierarchies, tier) as meter:
            measured = meter.collect(()).unattributed is not None
        assert measured == (tier != "files" and is_v1(hierarchies)), tier
