"""Programs in containers, with their own files, process numbers and /tmp: names, owners, filter."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.kernel.conftest import docker, within
from tests.kernel.profiling import (
    ENOUGH,
    VICTIMS,
    Profiled,
    Seen,
    Victim,
    as_they_are,
    have_run,
)

from cotenant.config import Settings
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.model import ProfileType, Tenant
from cotenant.profile.read import Samples, head_of
from cotenant.tenants.registry import Registry

pytestmark = [pytest.mark.kernel, pytest.mark.docker]

RUN_S = 2.4
PYTHON_IMAGE = "cotenant-test-python"
PYTHON = Path("/usr/bin/python3.11")
MODULES = Path("/usr/lib/python3.11")
UNUSED = {
    "test",
    "lib2to3",
    "pydoc_data",
    "idlelib",
    "config-3.11-x86_64-linux-gnu",
    "dist-packages",
}


def libraries(program: Path) -> list[str]:
    """What the dynamic loader takes in for it, and the loader itself."""
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return [word for word in told.split() if word.startswith("/")]


def python_tar() -> bytes:
    """A root file system with Debian's Python, its modules, and the victim."""

    def wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if UNUSED & set(member.name.split("/")) else member

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as tar:
        for path in [str(PYTHON), *libraries(PYTHON)]:
            tar.add(path)
        tar.add(MODULES, filter=wanted)
        tar.add(VICTIMS / "shares.py", "srv/shares.py")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def python_image(docker_image: str) -> Iterator[str]:
    """Named for this run: what is in it changes with the victim."""
    subprocess.run(["docker", "import", "-", PYTHON_IMAGE], input=python_tar(), check=True,
                   stdout=subprocess.DEVNULL, timeout=120)  # fmt: skip
    yield PYTHON_IMAGE
    docker("rmi", "-f", PYTHON_IMAGE, check=False)


@pytest.fixture
def run() -> Iterator[Callable[..., Victim]]:
    """Starts a container by name and waits for its first line; removed after the test."""
    names: list[str] = []

    def start(name: str, *words: str | Path) -> Victim:
        names.append(name)
        docker("rm", "-f", name, check=False)
        docker("run", "-d", "--network", "none", "--name", name, *map(str, words))
        assert within(60, lambda: docker("logs", name)), f"{name} said nothing"
        return Victim(int(docker("inspect", "-f", "{{.State.Pid}}", name)), docker("logs", name))

    yield start
    for name in names:
        docker("rm", "-f", name, check=False)


@pytest.fixture
def tenants(hierarchies: Hierarchies) -> Iterator[Callable[[], list[Tenant]]]:
    """Who lives here, as the agent knows them."""
    registry = Registry(hierarchies, Settings())

    def scanned() -> list[Tenant]:
        registry.scan(wait_s=2.0)
        return list(registry.tenants)

    yield scanned
    registry.close()


def shares_of(seen: Seen, told: Victim) -> dict[str, float]:
    def came(chain: list[list[object]]) -> float:
        return seen.part(lambda met: met.python[1:] == chain)

    return {key: came(chain) for key, chain in told.chains.items()}


@pytest.mark.claim
def test_a_containers_python_is_as_clear_as_the_hosts_and_alone_when_asked_for(
    profiled: Profiled,
    python_image: str,
    run: Callable[..., Victim],
    tenants: Callable[[], list[Tenant]],
    hierarchies: Hierarchies,
) -> None:
    command = (python_image, PYTHON, "/srv/shares.py")
    web = run("profile-web", *command, "server", "main")
    run("profile-other", *command, "server", "main")
    tenant = next(tenant for tenant in tenants() if tenant.name == "profile-web")
    profile = profiled(have_run(RUN_S, web.pid), wanted=(tenant,), least={"server": ENOUGH})
    assert [each.name for each in profile.tenants] == ["profile-web"]
    seen = Seen(profile, "server")
    assert len(profile.stacks) == len(seen.stacks)
    assert seen.count >= ENOUGH
    assert as_they_are(shares_of(seen, web)), seen.worst(lambda met: False)
    assert all(chain[-1][1] == "/srv/shares.py" for chain in web.chains.values())
    assert seen.complete >= 0.99
    # It is the kernel that leaves out the others: they never get as far as a stack.
    told: list[bytes] = []
    chosen = tenant.cgroups.values()
    samples = Samples(hierarchies, (ProfileType.CPU,), 199, chosen, kept=told.append)
    samples.start()
    has_run, left_out = have_run(0.5, web.pid), samples.programs.counts().filtered + 50
    # Both are asked each time: it counts from the first on.
    assert within(60, lambda: has_run() & (samples.programs.counts().filtered > left_out))
    samples.stop()
    samples.step()
    samples.drain_snapshots()
    taken = samples.take()
    samples.close()
    groups = {head_of(key).cgroup for key in taken.met} | {
        head_of(raw[3 * 8 :]).cgroup for raw in told
    }
    assert groups == {tenant.cgroups[samples.tree]}
    assert taken.counts.filtered > 50


def test_javascript_in_a_container_with_its_own_perf_map(
    profiled: Profiled,
    docker_image: str,
    run: Callable[..., Victim],
    tenants: Callable[[], list[Tenant]],
) -> None:
    node = shutil.which("node")
    assert node, "there is no node: apt-get install nodejs"
    mounts = [f"-v{Path(each).resolve()}:{each}:ro" for each in (node, *libraries(Path(node)))]
    mounts.append(f"-v{VICTIMS / 'shares.js'}:/srv/shares.js:ro")
    options = ("--perf-basic-prof", "--interpreted-frames-native-stack", "--no-turbo-inlining")
    one = run("profile-node", *mounts, docker_image, node, *options, "/srv/shares.js", "node")
    known = tenants()
    profile = profiled(have_run(RUN_S, one.pid), known=known, least={"node": ENOUGH})
    seen = Seen(profile, "node")
    assert {met.tenant.name for met in seen.stacks} == {"profile-node"}
    names = {"a": "a ", "b": "b ", "c": "größe "}

    def part(name: str) -> float:
        return seen.part(
            lambda met: any(
                frame[4:].startswith(name) and "/srv/shares.js" in frame for frame in met.names
            )
        )

    assert as_they_are({key: part(name) for key, name in names.items()}), seen.worst(lambda _: 0)
    assert seen.complete >= 0.99
