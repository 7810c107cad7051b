"""A user's own podman, without root: named and metered like any other. Needs pure cgroup v2, which
alone gives a user cgroups of its own, and an empty machine: so it runs in a VM only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.conftest import rootfs_tar, within
from tests.kernel.metering import metering, of

from cotenant.config import Settings
from cotenant.kernel import cgroupfs
from cotenant.model import Kind, Tenant
from cotenant.tenants.registry import Registry

pytestmark = [pytest.mark.kernel, pytest.mark.vm_only]
SCRIPT = Path(__file__).parents[1] / "vm" / "rootless_podman.sh"
MANAGER = "/user.slice/user-2000.slice/user@2000.service"
NAME, IMAGE = "tn-rootless", "localhost/tn-rootless:latest"


def place(id: str) -> str:
    return f"{MANAGER}/pods/libpod-{id}"


def rootless(*words: str) -> str:
    done = subprocess.run(["bash", str(SCRIPT), *words], capture_output=True, timeout=120)
    assert done.returncode == 0, f"podman {' '.join(words)}: {done.stderr.decode()}"
    return done.stdout.decode().strip()


@pytest.fixture
def container(hierarchies: cgroupfs.Hierarchies) -> Iterator[str]:
    """Id of a user's container that works a little, then sleeps."""
    assert os.environ.get("COTENANT_VM"), (
        "this test runs in a VM only: sudo python3 tests/vm/run.py --kernel 6.12"
    )
    image = Path("/var/tmp/tn-rootless.tar")  # tmp_path is root's own
    image.write_bytes(rootfs_tar())
    rootless("import", str(image), NAME)
    image.unlink()
    work = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec sleep 1000"
    id = rootless("run", "-d", "--name", NAME, "--network", "none", NAME, "/bin/sh", "-c", work)
    yield id
    # podman's own way takes 9 s in a VM, which is thrown away with all that podman wrote.
    (hierarchies.trees[0].directory(place(id)) / "cgroup.kill").write_text("1")


def test_a_users_container_is_named_and_metered(
    hierarchies: cgroupfs.Hierarchies, container: str
) -> None:
    registry = Registry(hierarchies, Settings(), listen=False)
    try:
        registry.scan(wait_s=60.0)
        tenants = registry.tenants
    finally:
        registry.close()
    tenant = next((one for one in tenants if one.id == container), None)
    assert tenant, f"{container} is not among {[(t.name, t.path) for t in tenants]}"
    assert (tenant.name, tenant.kind, tenant.runtime, tenant.image) == (
        NAME, Kind.CONTAINER, "podman", IMAGE)  # fmt: skip
    assert tenant.path == place(container)
    assert tenant.rootfs is None, "a path that a user wrote is not believed"
    processes = hierarchies.trees[0].directory(tenant.path) / "cgroup.procs"
    assert [tenant.main_pid] == [int(word) for word in processes.read_text().split()]
    assert not [one for one in tenants if "conmon" in one.path]
    with metering(hierarchies) as meter:
        assert within(20, lambda: spent_ns(hierarchies, tenant) > 50_000_000)
        before = spent_ns(hierarchies, tenant)
        sample = of(meter.collect((tenant,)), tenant)
        after = spent_ns(hierarchies, tenant)
    assert sample.cpu and before <= sample.cpu.usage_ns <= after + 1_000
    assert sample.memory and sample.memory.usage > 0
    assert sample.pids and sample.pids.current == 1


def spent_ns(hierarchies: cgroupfs.Hierarchies, tenant: Tenant) -> int:
    """CPU time as the cgroup's own file tells it, cut to whole microseconds."""
    tree = hierarchies.of("cpu")
    assert tree and tree.version == 2
    words = (tree.directory(tenant.path) / "cpu.stat").read_text().split()
    return int(words[words.index("usage_usec") + 1]) * 1000
