"""/proc as it is read: this very process, and names made to be misread."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cotenant.profile.processes.mappings import ANONYMOUS, FILE, VDSO, Mapping
from cotenant.profile.processes.maps import Proc

BY_KERNEL = """\
00400000-0041f000 r--p 00000000 fd:01 247702                             /usr/bin/static
0041f000-006d2000 r-xp 0001f000 fd:01 247702                             /usr/bin/static
006d2000-006d3000 rwxp 00000000 00:00 0                                  [heap]
7f0000000000-7f0000001000 rwxp 00000000 00:00 0{blank}
7f0000001000-7f0000002000 rwxp 00000000 00:00 0                          [anon:jit pages]
7f0000002000-7f0000003000 r-xs 00002000 00:05 8                          /memfd:jit (deleted)
7f0000003000-7f0000004000 r-xp 00001000 00:2c 9                          /gone (deleted)
7f0000004000-7f0000005000 r-xp 00001000 103:05 18446744073709551615      /a b  c
7ffc2f5f0000-7ffc2f5f2000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
""".format(blank=" ")
STAT = "{} ({}) S 1 1 1 0 -1 {} 100 0 0 0 1 2 0 0 20 0 {} 0 {} 100 10 18446744073709551615\n"


def add(root: Path, pid: int, comm: str, flags: int = 0x400000, maps: str = BY_KERNEL) -> Proc:
    folder = root / "proc" / str(pid)
    folder.mkdir(parents=True)
    (folder / "stat").write_text(STAT.format(pid, comm, flags, 3, 4711))
    (folder / "maps").write_text(maps)
    return Proc(root)


def test_executable_mappings_are_read_as_the_kernel_writes_them(tmp_path):
    seen = add(tmp_path, 5, "x").look(5)
    assert seen and (seen.started, seen.comm, seen.whole) == (4711, "x", True)
    fd01 = os.makedev(0xFD, 1)
    assert seen.mappings == [
        Mapping(0x41F000, 0x6D2000, 0x1F000, "/usr/bin/static", "", fd01, 247702, FILE),
        Mapping(0x6D2000, 0x6D3000, 0, "", kind=ANONYMOUS),
        Mapping(0x7F0000000000, 0x7F0000002000, 0, "", kind=ANONYMOUS),
        Mapping(0x7F0000002000, 0x7F0000003000, 0x2000, "/memfd:jit (deleted)", "", 5, 8, FILE),
        Mapping(
            0x7F0000003000, 0x7F0000004000, 0x1000, "/gone (deleted)", "", os.makedev(0, 0x2C), 9
        ),
        Mapping(0x7F0000004000, 0x7F0000005000, 0x1000, "/a b  c", "",
                os.makedev(0x103, 5), 18446744073709551615),
        Mapping(0x7FFC2F5F0000, 0x7FFC2F5F2000, 0, "[vdso]", kind=VDSO),
    ]  # fmt: skip


@pytest.mark.parametrize("comm", ["a) R 1 2", "((", ")", "a b", "\n", "S 1 1"])
def test_no_name_of_a_process_confuses_its_start(tmp_path, comm):
    seen = add(tmp_path, 5, comm).look(5)
    assert seen and (seen.started, seen.comm) == (4711, comm)


def test_the_kernel_s_threads_and_the_dead_are_nobody(tmp_path):
    proc = add(tmp_path, 5, "kworker/0:0", flags=0x200000)
    assert proc.look(5) is None
    assert proc.look(6) is None
    assert proc.started(6) is None
    assert proc.is_over(6, 0)


def test_a_process_that_may_not_be_read_has_no_mappings_told(tmp_path):
    proc = add(tmp_path, 5, "x")
    (tmp_path / "proc/5/maps").unlink()
    seen = proc.look(5)
    assert seen and seen.mappings is None


def test_of_maps_without_end_some_are_read(tmp_path):
    line = "7f{:010x}-7f{:010x} r-xp 00000000 fd:01 1 /x\n"
    maps = "".join(line.format(n << 12, (n + 1) << 12) for n in range(120_000))
    seen = add(tmp_path, 5, "x", maps=maps).look(5)
    assert seen and not seen.whole
    assert seen.mappings and 80_000 < len(seen.mappings) < 120_000
    assert seen.mappings[-1].path == "/x"


def test_this_process_is_seen_as_it_is():
    seen = Proc().look(os.getpid())
    assert seen and seen.mappings
    libc = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p).value
    assert libc
    (found,) = [m for m in seen.mappings if m.start <= libc < m.end]
    about = Path(found.path).stat()
    assert (found.kind, found.inode) == (FILE, about.st_ino)
    assert [m.kind for m in seen.mappings].count(VDSO) == 1
    assert seen.started == Proc().started(os.getpid())
    assert not Proc().is_over(os.getpid(), seen.started)
    assert Proc().is_over(os.getpid(), seen.started - 1000)


@pytest.mark.parametrize(
    "name",
    [b"new\nline 7f0000000000-7f0000001000 r-xp", rb"back\012slash", b"\xff (deleted)", b" "],
)
def test_a_file_s_name_comes_out_as_it_is(tmp_path, name):
    path = os.fsencode(tmp_path) + b"/" + name
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(fd, bytes(mmap.PAGESIZE))
    held = mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
    try:
        seen = Proc().look(os.getpid())
        assert seen and seen.mappings
        (found,) = [m for m in seen.mappings if m.inode == os.fstat(fd).st_ino]
        assert os.fsencode(found.path) == path
        os.unlink(path)
        seen = Proc().look(os.getpid())
        assert seen and seen.mappings
        (found,) = [m for m in seen.mappings if m.inode == os.fstat(fd).st_ino]
        assert os.fsencode(found.path) == path + b" (deleted)"
    finally:
        held.close()
        os.close(fd)


def test_a_zombie_is_over_but_not_while_its_threads_go_on():
    code = (
        "import ctypes, sys, threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "print(flush=True)\n"
        "ctypes.CDLL(None).pthread_exit(None)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout and child.stdout.readline()
            started = Proc().started(child.pid)
            assert started
            while b") Z" not in Path(f"/proc/{child.pid}/stat").read_bytes():
                assert child.poll() is None
            assert not Proc().is_over(child.pid, started)
        finally:
            child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert Proc().is_over(child.pid, started)
