"""Names of code in containers and of files that are gone, on the real kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.kernel.conftest import docker, within
from tests.kernel.profiling import Profiled, Seen, have_run, python_victim

from cotenant.profile.binary import open_mapped
from cotenant.profile.elf import Elf
from cotenant.profile.parts import STALE
from cotenant.profile.symbols.kallsyms import KERNEL, NOT_ALLOWED, Kallsyms
from cotenant.profile.symbols.naming import Naming
from cotenant.profile.symbols.perfmap import PerfMap

pytestmark = pytest.mark.kernel

BECOMES_ANOTHER = """
import os, sys, time

def work():
    end = time.thread_time() + 0.1
    while time.thread_time() < end:
        pass

def before():
    while not os.path.exists(__file__ + ".go"):
        work()
    os.execv(sys.executable, [sys.executable, __file__, "again"])

def after():
    while True:
        work()

if sys.argv[1:]:
    after()
print("ready", flush=True)
before()
"""


def mapped(pid: int, name: str) -> tuple[int, int, str, int] | None:
    """Begin, end, path and inode of the first mapping of that file; None: not mapped yet."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        words = line.split(None, 5)
        if len(words) == 6 and name in words[5]:
            start, end = (int(word, 16) for word in words[0].split("-"))
            return start, end, words[5], int(words[4])
    return None


@pytest.mark.claim
@pytest.mark.any_kernel
def test_kernel_functions_as_the_kernel_lists_them() -> None:
    names = Kallsyms()
    names.refresh()
    assert names.reason is None
    assert len(names) > 10_000
    checked = 0
    for line in Path("/proc/kallsyms").read_text().splitlines():
        words = line.split()
        if words[2] in ("schedule", "vfs_read", "do_sys_openat2", "finish_task_switch"):
            start = int(words[0], 16)
            assert names.lookup(start + 4) == (words[2], KERNEL, start)
            checked += 1
    assert checked >= 3


def test_without_rights_there_is_a_reason() -> None:
    """A child that gives up its rights, as it would have been started without CAP_SYSLOG."""
    child = os.fork()
    if child == 0:
        try:
            os.setresuid(65534, 65534, 65534)
            names = Kallsyms()
            names.refresh()
            os._exit(0 if names.reason == NOT_ALLOWED and len(names) == 0 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.any_kernel
def test_a_program_that_was_deleted_and_replaced_keeps_its_names(tmp_path: Path) -> None:
    program = tmp_path / "victim"
    shutil.copy("/bin/sleep", program)
    running = subprocess.Popen([str(program), "60"])
    try:
        assert within(30, lambda: mapped(running.pid, "victim"))
        start, end, path, inode = mapped(running.pid, "victim") or (0, 0, "", 0)
        program.unlink()
        shutil.copy("/bin/true", program)
        found = open_mapped(running.pid, start, end, path, inode)
        assert found is not None
        with found:
            assert found.inode == inode
            assert found.read(0, found.size) == Path("/bin/sleep").read_bytes()
            assert len(Naming().symbols(Elf(found))) > 0
        # By the path alone, its successor is not taken for it.
        assert open_mapped(running.pid, 1, 2, path, inode) is None
    finally:
        running.kill()
        running.wait()


@pytest.mark.docker
def test_a_program_in_a_container_is_opened_either_way(docker_image: str) -> None:
    """On overlayfs, where maps and stat do not agree about the device."""
    name = "cotenant-profile-names"
    docker("run", "-d", "--name", name, "--network", "none", docker_image, "sleep", "60")
    try:
        pid = int(docker("inspect", "-f", "{{.State.Pid}}", name))
        assert within(30, lambda: mapped(pid, "busybox"))
        start, end, path, inode = mapped(pid, "busybox") or (0, 0, "", 0)
        for at in ((start, end), (1, 2)):
            found = open_mapped(pid, *at, path, inode)
            assert found is not None
            with found:
                assert Elf(found).segments
    finally:
        docker("rm", "-f", name, check=False)


_JIT = """
import os, sys, time
open(f"/tmp/perf-{os.getpid()}.map", "w").write("1000 10 mine\\n")
print(os.getpid(), flush=True)
sys.stdin.read()
"""


@pytest.mark.any_kernel
def test_the_perf_map_of_a_process_with_its_own_tmp_and_numbers(tmp_path: Path) -> None:
    """In its own mount and pid namespaces, as in a container; the host's /tmp has decoys."""
    script = f"mount -t tmpfs none /tmp && exec /usr/bin/python3 -c '{_JIT}'"
    outer = subprocess.Popen(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    decoys: list[Path] = []
    assert outer.stdin
    assert outer.stdout
    try:
        number = int(outer.stdout.readline())
        inner = int(Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()[0])
        assert number != inner
        decoys += [Path(f"/tmp/perf-{pid}.map") for pid in (number, inner)]
        for decoy in decoys:
            decoy.write_text("1000 10 decoy\n")
        found = PerfMap(inner)
        assert found.lookup(0x1008) == ("mine", 0x1000)
        # Someone else's file under that name is not taken: neither through a link.
        target = Path(f"/proc/{inner}/root/tmp/perf-{number}.map")
        os.chown(target, 12345, 12345)
        assert PerfMap(inner).lookup(0x1008) is None
        target.unlink()
        target.symlink_to("/etc/passwd")
        assert PerfMap(inner).lookup(0x1008) is None
    finally:
        outer.stdin.close()
        outer.kill()
        outer.wait()
        outer.stdout.close()
        for decoy in decoys:
            decoy.unlink()


def test_a_device_in_a_tenants_root_is_not_opened(tmp_path: Path) -> None:
    """Opening some devices does something: a watchdog would restart the host."""
    os.mknod(tmp_path / "dev", 0o020666, os.makedev(1, 5))  # /dev/zero: would be endless
    (tmp_path / "dev").replace(f"/tmp/perf-{os.getpid()}.map")
    try:
        assert PerfMap(os.getpid()).lookup(1) is None
    finally:
        Path(f"/tmp/perf-{os.getpid()}.map").unlink()


def test_a_python_that_becomes_another_program_keeps_its_names(
    profiled: Profiled, tmp_path: Path
) -> None:
    """It has another memory from then on, which its number in /proc does not tell."""
    with python_victim(tmp_path, "becomes", BECOMES_ANOTHER) as running:
        first, second = have_run(2, running.pid), have_run(2, running.pid)
        go = tmp_path / "becomes.py.go"

        def asked() -> bool:
            if not go.exists() and first():
                go.touch()
            return go.exists() and second()

        seen = Seen(profiled(asked), "becomes")
    assert seen.with_frame("before") > 0.15
    assert seen.with_frame("after") > 0.15
    assert seen.with_frame(STALE) < 0.02, seen.worst(lambda met: STALE not in met.names)
