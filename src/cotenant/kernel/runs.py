"""How often BPF programs ran and for how long: the kernel's own statistics, while they are on.

Anybody's programs, not only ours: a process's are found by its open descriptors.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
from collections.abc import Iterator
from ctypes import byref, c_char, c_int, c_uint32, c_uint64, c_void_p
from pathlib import Path

from msgspec import Struct

from cotenant.errors import KernelRefused, NeedsRoot
from cotenant.kernel.libbpf import library

_RUN_TIME = 0  # BPF_STATS_RUN_TIME
_PROG_ID = re.compile(r"^prog_id:\s*(\d+)$", re.MULTILINE)
_MAP_ID = re.compile(r"^map_id:\s*(\d+)$", re.MULTILINE)
_MEMLOCK = re.compile(r"^memlock:\s*(\d+)$", re.MULTILINE)


class _ProgramInfo(ctypes.Structure):
    """struct bpf_prog_info, up to recursion_misses (since 5.12)."""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("tag", c_char * 8),
        ("jited_prog_len", c_uint32),
        ("xlated_prog_len", c_uint32),
        ("jited_prog_insns", c_uint64),
        ("xlated_prog_insns", c_uint64),
        ("load_time", c_uint64),
        ("created_by_uid", c_uint32),
        ("nr_map_ids", c_uint32),
        ("map_ids", c_uint64),
        ("name", c_char * 16),
        ("ifindex", c_uint32),
        ("gpl_compatible", c_uint32),
        ("netns_dev", c_uint64),
        ("netns_ino", c_uint64),
        ("nr_jited_ksyms", c_uint32),
        ("nr_jited_func_lens", c_uint32),
        ("jited_ksyms", c_uint64),
        ("jited_func_lens", c_uint64),
        ("btf_id", c_uint32),
        ("func_info_rec_size", c_uint32),
        ("func_info", c_uint64),
        ("nr_func_info", c_uint32),
        ("nr_line_info", c_uint32),
        ("line_info", c_uint64),
        ("jited_line_info", c_uint64),
        ("nr_jited_line_info", c_uint32),
        ("line_info_rec_size", c_uint32),
        ("jited_line_info_rec_size", c_uint32),
        ("nr_prog_tags", c_uint32),
        ("prog_tags", c_uint64),
        ("run_time_ns", c_uint64),
        ("run_cnt", c_uint64),
        ("recursion_misses", c_uint64),
    )


_SIGNATURES = {
    "bpf_enable_stats": (c_int, (c_int,)),
    "bpf_prog_get_fd_by_id": (c_int, (c_uint32,)),
    "bpf_obj_get_info_by_fd": (c_int, (c_int, c_void_p, c_void_p)),
}


class Program(Struct, frozen=True):
    """One loaded program: what ran while statistics were on, since it was loaded.

    `ns` is what the kernel measured around each run: two looks at the clock are in it, which is
    what a program that does nothing shows too.
    """

    id: int
    name: str
    """As the kernel keeps it: 15 characters."""
    runs: int
    ns: int


@contextlib.contextmanager
def counted() -> Iterator[None]:
    """The kernel counts and times every program of this host while the block runs.

    It costs each run two looks at the clock. Raises NeedsRoot without CAP_SYS_ADMIN.
    """
    fd = _function("bpf_enable_stats")(_RUN_TIME)
    if fd < 0:
        code = ctypes.get_errno()
        if code in (errno.EPERM, errno.EACCES):
            raise NeedsRoot("Statistics of BPF programs need root.", "run it again with sudo")
        raise KernelRefused(f"The kernel does not count BPF programs: {os.strerror(code)}.")
    try:
        yield
    finally:
        os.close(fd)


def program(fd: int) -> Program:
    """What the kernel tells of the program behind this descriptor."""
    info = _ProgramInfo()
    size = c_uint32(ctypes.sizeof(info))
    if _function("bpf_obj_get_info_by_fd")(fd, byref(info), byref(size)):
        reason = os.strerror(ctypes.get_errno())
        raise KernelRefused(f"The kernel tells nothing of BPF program {fd}: {reason}.")
    name = info.name.decode(errors="replace")
    return Program(info.id, name, info.run_cnt, info.run_time_ns)


def programs_of(pid: int) -> list[Program]:
    """Every program that this process holds open, in the order of their ids."""
    found = []
    for number in sorted({int(n) for text in _held(pid) for n in _PROG_ID.findall(text)}):
        fd = _function("bpf_prog_get_fd_by_id")(number)
        if fd < 0:
            continue  # it went meanwhile
        try:
            found.append(program(fd))
        finally:
            os.close(fd)
    return found


def map_bytes_of(pid: int) -> int:
    """Kernel memory of the maps that this process holds open, as the kernel charges for them."""
    sizes = {}
    for text in _held(pid):
        number, size = _MAP_ID.search(text), _MEMLOCK.search(text)
        if number and size:
            sizes[number[1]] = int(size[1])
    return sum(sizes.values())


def _held(pid: int) -> Iterator[str]:
    """What /proc tells of each of a process's descriptors; links, too, name their program."""
    for file in Path(f"/proc/{pid}/fdinfo").glob("*"):
        with contextlib.suppress(OSError):
            yield file.read_text()


def _function(name: str) -> ctypes._NamedFuncPointer:
    function = getattr(library(), name)
    function.restype, function.argtypes = _SIGNATURES[name]
    return function  # type: ignore[no-any-return]
