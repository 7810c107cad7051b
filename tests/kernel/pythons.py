"""Pythons to look at from outside: the machine's own, pyenv's, and Debian's newest."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.vm.apt import PrivateApt, Suite, unpack
from tests.vm.kernels import cache_folder

from cotenant.profile.elf import Elf
from cotenant.profile.python.code import instruction_offset
from cotenant.profile.python.locate import Located, Unreadable, locate
from cotenant.profile.python.memory import Read
from cotenant.profile.python.offsets import CODE_MASK, Layout

PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
RELEASES = ("3.9.18", "3.10.13", "3.11.7", "3.12.1", "3.13.0")
VICTIM = Path(__file__).parent / "python_victim.py"
NEWEST = "3.14"
# With what it takes to import hashlib.
PACKAGES = """
    python3.14-minimal libpython3.14-minimal libpython3.14-stdlib libpython3.14 libc6 libexpat1
    zlib1g libssl3t64 libzstd1
""".split()


def command(release: str) -> list[str]:
    """What starts that Python: `debian`, a release of pyenv's, or 3.14 of Debian's next release."""
    if release == "debian":
        return ["/usr/bin/python3.11"]
    if release == NEWEST:
        return _newest()
    binary = PYENV / release / "bin" / f"python{release.rsplit('.', 1)[0]}"
    assert binary.exists(), f"{binary} is missing: pyenv install {release}"
    return [str(binary)]


def library(release: str) -> Path:
    """The file that has that Python's interpreter in it."""
    if release == "debian":
        return Path("/usr/bin/python3.11")
    if release == NEWEST:
        return Path(_newest()[3])
    version = release.rsplit(".", 1)[0]
    found = PYENV / release / "lib" / f"libpython{version}.so.1.0"
    assert found.exists(), (
        f"{found} is missing: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install"
    )
    return found


def newest_library() -> Path:
    """Debian's shared build of 3.14, which nothing here runs."""
    return _newest_tree() / "usr/lib/x86_64-linux-gnu/libpython3.14.so.1.0"


def newest_environment() -> dict[str, str]:
    """What Debian's newest needs to find its own modules where it lies."""
    return {"PYTHONHOME": str(_newest_tree() / "usr")}


def _newest() -> list[str]:
    """Started by its own loader, with its own C library: neither is this machine's."""
    usr = _newest_tree() / "usr"
    libraries = usr / "lib/x86_64-linux-gnu"
    loader = libraries / "ld-linux-x86-64.so.2"
    return [str(loader), "--library-path", str(libraries), str(usr / "bin/python3.14")]


def _newest_tree() -> Path:
    """Debian's packages, unpacked once into the cache."""
    root = cache_folder().parent / "pythons"
    tree = root / NEWEST
    if not (tree / "usr/bin/python3.14").exists():
        apt = PrivateApt(root / "apt", (Suite("debian", "sid"),))
        apt.update()
        shutil.rmtree(root / "debs", ignore_errors=True)
        fresh = root / "fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        for package in apt.download(PACKAGES, root / "debs"):
            unpack(package, fresh)
        fresh.rename(tree)
    return tree


class Victim(NamedTuple):
    """A running Python whose threads stand still, and what it says of itself."""

    pid: int
    told: dict[str, Any]
    located: Located
    runtime: int
    """`_PyRuntime` in its memory."""
    bias: int
    """Address in its memory - address in its file."""
    read: Read


@contextmanager
def victim(release: str, **more: str) -> Iterator[Victim]:
    """A process of that Python that runs python_victim.py; ended at the end.

    `more` goes into its environment.
    """
    environment = {"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", **more}
    if release == NEWEST:
        environment |= newest_environment()
    process = subprocess.Popen(
        [*command(release), str(VICTIM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    memory = None
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert line, f"Python {release} ended early"
        memory = os.open(f"/proc/{process.pid}/mem", os.O_RDONLY)
        fd = memory
        located, bias = find_python(process.pid)
        yield Victim(
            process.pid,
            json.loads(line),
            located,
            bias + located.runtime,
            bias,
            lambda address, count: os.pread(fd, count, address),
        )
    finally:
        process.kill()
        process.communicate()
        if memory is not None:
            os.close(memory)


def find_python(pid: int) -> tuple[Located, int]:
    """The file in a process that holds CPython, and how far it was moved."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        fields = line.split(None, 5)
        if len(fields) < 6 or "x" not in fields[1] or not fields[5].startswith("/"):
            continue
        elf = Elf(Path(f"/proc/{pid}/root{fields[5]}").read_bytes())
        found = locate(elf, Path(fields[5]).name)
        assert not isinstance(found, Unreadable), found
        moved = elf.executable_bias(int(fields[2], 16))
        if found and moved is not None:
            return found, int(fields[0].split("-")[0], 16) - int(fields[2], 16) - moved
    raise AssertionError(f"no file of process {pid} holds CPython")


class Met(NamedTuple):
    """A Python frame as the kernel side tells it."""

    code: int
    first_line: int
    instruction: int


def walk(layout: Layout, state: int, read: Read) -> list[Met]:
    """All frames of a thread, innermost first, by the numbers the kernel side gets."""

    def number(address: int, size: int) -> int:
        return int.from_bytes(read(address, size), "little")

    frame = number(state + layout.tstate_frame, 8)
    if layout.tstate_cframe is not None:
        frame = number(frame + layout.tstate_cframe, 8)
    met = []
    while frame:
        last = layout.frame_entry is not None
        if last:
            assert layout.frame_entry is not None
            last = number(frame + layout.frame_entry, 1) == layout.entry_value
        if not last or layout.entry_kept:
            code = number(frame + layout.frame_code, 8) & CODE_MASK
            lasti = number(frame + layout.frame_lasti, 8)
            first = number(code + layout.code_firstlineno, 4)
            met.append(Met(code, first, instruction_offset(layout, code, lasti)))
        frame = number(frame + layout.frame_previous, 8)
    return met


_PTRACE_GETREGS, _PTRACE_DETACH, _PTRACE_SEIZE, _PTRACE_INTERRUPT = 12, 17, 0x4206, 0x4207
_RIP = 16  # in struct user_regs_struct, in words


def place(tid: int) -> int:
    """Where a thread is: stopped for that moment."""
    libc = ctypes.CDLL(None, use_errno=True)

    def ptrace(request: int, data: object = None) -> None:
        done = libc.ptrace(request, tid, None, data)
        assert done == 0, os.strerror(ctypes.get_errno())

    time.sleep(0.003)
    registers = (ctypes.c_uint64 * 27)()
    ptrace(_PTRACE_SEIZE)
    try:
        ptrace(_PTRACE_INTERRUPT)
        os.waitpid(tid, 0x40000000)  # __WALL
        ptrace(_PTRACE_GETREGS, ctypes.byref(registers))
    finally:
        ptrace(_PTRACE_DETACH)
    return int(registers[_RIP])
