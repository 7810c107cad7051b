"""Places in files of programs at which a BPF program runs, by BPF_TRACE_UPROBE_MULTI (Linux 6.6).

The older way, a perf event of the PMU `uprobe`, asks for CAP_SYS_ADMIN; this one for CAP_BPF and
CAP_PERFMON alone (bpf_uprobe_multi_link_attach). libbpf knows it since 1.3, and here 1.1 must do.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from ctypes import c_long, c_uint64

MULTI = 48
"""BPF_TRACE_UPROBE_MULTI: what the program must say that it is for before it is loaded."""
_CALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
_LINK_CREATE = 28
_RETURN = 1  # BPF_F_UPROBE_MULTI_RETURN
# union bpf_attr, link_create: program, target, type, flags; then uprobe_multi: path, offsets,
# counters, cookies, how many, flags, process.
_ATTRIBUTES = struct.Struct("=IIIIQQQQIII")
_SIZE = 64


def attached(program_fd: int, pid: int, path: str, offset: int, ret: bool) -> int | None:
    """Descriptor of the link, attached until it is closed; None: this kernel knows no such link.

    `pid` -1: every process. Raises OSError.
    """
    if platform.machine() not in _CALL:
        return None
    name = ctypes.create_string_buffer(os.fsencode(path))
    offsets = c_uint64(offset)
    packed = _ATTRIBUTES.pack(
        program_fd, 0, MULTI, 0,
        ctypes.addressof(name), ctypes.addressof(offsets), 0, 0,
        1, _RETURN if ret else 0, max(pid, 0),
    )  # fmt: skip
    attributes = ctypes.create_string_buffer(packed, _SIZE)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = c_long
    number = c_long(_CALL[platform.machine()])
    fd = libc.syscall(number, c_long(_LINK_CREATE), attributes, c_long(_SIZE))
    if fd >= 0:
        return int(fd)
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.EOPNOTSUPP, errno.E2BIG):
        return None
    raise OSError(code, os.strerror(code), path)
