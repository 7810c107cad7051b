"""What kernel tests share: real cgroups, real Docker. Needs root. Nothing is skipped: what is
missing fails with a sentence."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.kernel import profiling

from cotenant.kernel import cgroupfs

if TYPE_CHECKING:
    from tests.kernel.waiting import Bench

    from cotenant.noise.read import Noise

BUSYBOX = Path("/usr/bin/busybox" if Path("/usr/bin/busybox").exists() else "/bin/busybox")
IMAGE = "cotenant-test"
APPLETS = "sh sleep echo cat dd true yes nc ping wget stat".split()


@pytest.fixture(scope="session", autouse=True)
def _root() -> None:
    assert os.geteuid() == 0, "kernel tests need root: sudo make test"


@pytest.fixture(scope="session")
def hierarchies() -> cgroupfs.Hierarchies:
    """The cgroup trees of this host: hybrid on the build machine, v2 in the VMs."""
    return cgroupfs.find()


class Cgroup:
    """A cgroup made in every hierarchy of this host."""

    def __init__(self, hierarchies: cgroupfs.Hierarchies, path: str) -> None:
        self.hierarchies = hierarchies
        self.path = path
        self._started: list[subprocess.Popen[bytes]] = []
        for tree in hierarchies.trees:
            _remove(tree.directory(path))  # left behind by a run that was killed
            tree.directory(path).mkdir()

    @property
    def ids(self) -> dict[int, int]:
        """Its id in each hierarchy."""
        return self.hierarchies.ids(self.path)

    def add(self, pid: int) -> None:
        """Move a process into it, in every hierarchy."""
        for tree in self.hierarchies.trees:
            # An empty cpuset takes nobody in (v1): it must first be given CPUs and memory.
            if tree.version == 1 and "cpuset" in tree.controllers:
                self._fill_cpuset(tree)
            (tree.directory(self.path) / "cgroup.procs").write_text(str(pid))

    def spawn(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a command inside it; it is killed when the cgroup is removed.

        It joins the trees one after the other, asleep: all of them book the same of it.
        """
        gate = 'read go; exec "$@"'
        process = subprocess.Popen(
            ["sh", "-c", gate, "gate", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        stat = Path(f"/proc/{process.pid}/stat")
        assert within(60, lambda: ") S " in stat.read_text(), 0.001), "it does not come to its gate"
        self.add(process.pid)
        assert process.stdin
        process.stdin.write(b"go\n")
        process.stdin.close()
        self._started.append(process)
        return process

    def remove(self) -> None:
        """Kill what runs in it and remove it from every hierarchy; fine when it is gone."""
        for process in self._started:
            process.kill()
            process.wait()
        for tree in self.hierarchies.trees:
            _remove(tree.directory(self.path))

    def _fill_cpuset(self, tree: cgroupfs.Hierarchy) -> None:
        directory = tree.directory(self.path)
        for one in [
            *reversed([p for p in directory.parents if tree.mount in p.parents]),
            directory,
        ]:
            for file in ("cpuset.cpus", "cpuset.mems"):
                for name in (file, file.removeprefix("cpuset.")):
                    target, above = one / name, one.parent / name
                    if target.exists() and not target.read_text().strip():
                        target.write_text(above.read_text())


def _remove(directory: Path) -> None:
    deadline = time.monotonic() + 60
    while directory.exists():
        for child in sorted((p for p in directory.glob("**/") if p != directory), reverse=True):
            _kill(child)
            _rmdir(child)
        _kill(directory)
        _rmdir(directory)
        if directory.exists():
            assert time.monotonic() < deadline, f"{directory} cannot be removed"
            time.sleep(0.02)


def _kill(directory: Path) -> None:
    try:
        pids = (directory / "cgroup.procs").read_text().split()
    except OSError:
        return
    for pid in pids:
        try:
            os.kill(int(pid), 9)
            os.waitpid(int(pid), 0)
        except (ProcessLookupError, ChildProcessError):
            continue


def _rmdir(directory: Path) -> None:
    with contextlib.suppress(OSError):
        directory.rmdir()


@pytest.fixture
def cgroup(hierarchies: cgroupfs.Hierarchies) -> Iterator[Callable[[str], Cgroup]]:
    """Makes cgroups by path ("/a", then "/a/b") in every hierarchy; removed after the test."""
    made: list[Cgroup] = []

    def make(path: str) -> Cgroup:
        made.append(Cgroup(hierarchies, path))
        return made[-1]

    yield make
    for one in reversed(made):
        one.remove()


@pytest.fixture(scope="module")
def noise(hierarchies: cgroupfs.Hierarchies) -> Iterator[Noise]:
    """An open sense, for all tests of a module: to load it takes seconds on an emulated CPU."""
    from cotenant.noise.read import Noise

    with Noise(hierarchies) as opened:
        yield opened


@pytest.fixture
def bench(
    noise: Noise, hierarchies: cgroupfs.Hierarchies, cgroup: Callable[[str], Cgroup]
) -> Iterator[Bench]:
    """Tenants and workers before that sense, which does all it can."""
    from tests.kernel.waiting import bench_of

    from cotenant.noise.programs import Level

    noise.set_level(Level.BLAME)
    with bench_of(noise, hierarchies, cgroup) as opened:
        yield opened


def docker(*words: str, check: bool = True) -> str:
    """Run the docker command and return what it prints."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0 or not check, f"docker {' '.join(words)}: {done.stderr}"
    return done.stdout.strip()


def rootfs_tar() -> bytes:
    """A root file system with nothing but a static busybox, as a tar archive."""
    assert BUSYBOX.exists(), "there is no busybox: apt-get install busybox-static"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(BUSYBOX, "bin/busybox")
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for name in ("tmp", "proc", "dev", "etc", "var", "run"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def docker_image() -> str:
    """A busybox image in a running Docker. In a VM, Docker is started first."""
    answer = subprocess.run(["docker", "version"], capture_output=True, text=True)
    if answer.returncode != 0 and os.environ.get("COTENANT_VM"):
        script = Path(__file__).parents[1] / "vm" / "dockerd.sh"
        subprocess.run(["bash", str(script)], check=True, timeout=90)
        answer = subprocess.run(["docker", "version"], capture_output=True, text=True)
    assert answer.returncode == 0, f"Docker must run for these tests: {answer.stderr}"
    if not docker("images", "-q", IMAGE):
        subprocess.run(["docker", "import", "-", IMAGE], input=rootfs_tar(), check=True,
                       stdout=subprocess.DEVNULL, timeout=180)  # fmt: skip
    return IMAGE


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unwind tables of what this host runs are made once for all tests."""
    return tmp_path_factory.mktemp("profile-cache")


@pytest.fixture(scope="session")
def profiled(hierarchies: cgroupfs.Hierarchies, cache: Path) -> profiling.Profiled:
    """Samples this host: see profiling.sample."""
    return partial(profiling.sample, hierarchies, cache)


def within(seconds: float, true: Callable[[], object], pause: float = 0.05) -> bool:
    """Whether something becomes true within so many seconds."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True
