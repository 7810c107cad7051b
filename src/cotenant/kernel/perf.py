"""perf_event_open(2) for software events of a whole CPU, and a clock that runs a program per tick.

One event per CPU; they need CAP_PERFMON. Layouts and numbers are those of
include/uapi/linux/perf_event.h. `mapevents.py` has the other kind: what processes map.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import struct
import time
from collections.abc import Iterable
from ctypes import byref, c_int32, c_long, c_uint16, c_uint32, c_uint64
from functools import cache
from pathlib import Path

from cotenant.errors import HostCannot, KernelRefused, NeedsRoot

_CALL = {"x86_64": 298, "aarch64": 241, "riscv64": 241}
_CLOSE_ON_EXEC = 8  # PERF_FLAG_FD_CLOEXEC
_SOFTWARE, _CPU_CLOCK = 1, 0
_ENABLE, _DISABLE, _PERIOD, _SET_BPF = 0x2400, 0x2401, 0x40082404, 0x40042408
_SECOND_NS = 1_000_000_000
_ONLINE = Path("/sys/devices/system/cpu/online")


class Attributes(ctypes.Structure):
    """struct perf_event_attr up to PERF_ATTR_SIZE_VER5 (Linux 4.1): newer kernels fill up zeros."""

    _fields_ = (
        ("type", c_uint32),
        ("size", c_uint32),
        ("config", c_uint64),
        ("frequency", c_uint64),
        ("sample_type", c_uint64),
        ("read_format", c_uint64),
        ("disabled", c_uint64, 1),
        ("_inherit_to_exclude_idle", c_uint64, 7),
        ("mmap", c_uint64, 1),
        ("comm", c_uint64, 1),
        ("freq", c_uint64, 1),
        ("_inherit_stat_and_enable_on_exec", c_uint64, 2),
        ("task", c_uint64, 1),
        ("watermark", c_uint64, 1),
        ("_precise_ip_and_mmap_data", c_uint64, 3),
        ("sample_id_all", c_uint64, 1),
        ("_exclude_host_to_callchain_user", c_uint64, 4),
        ("mmap2", c_uint64, 1),
        ("comm_exec", c_uint64, 1),
        ("use_clockid", c_uint64, 1),
        ("_context_switch_to_text_poke", c_uint64, 8),
        ("build_id", c_uint64, 1),
        ("_rest", c_uint64, 29),
        ("wakeup_watermark", c_uint32),
        ("bp_type", c_uint32),
        ("config1", c_uint64),
        ("config2", c_uint64),
        ("branch_sample_type", c_uint64),
        ("sample_regs_user", c_uint64),
        ("sample_stack_user", c_uint32),
        ("clockid", c_int32),
        ("sample_regs_intr", c_uint64),
        ("aux_watermark", c_uint32),
        ("sample_max_stack", c_uint16),
        ("_reserved", c_uint16),
    )


class Clock:
    """Ticks on one CPU, `hz` times a second, whoever runs there; off until `enable`.

    It is a timer of high resolution, and the rate is exact while anything runs; of an idle CPU few
    ticks are told (Linux 6.18: next to none). Each tick runs the program attached to it
    (`Object.attach_perf`, or `set_program`).
    """

    def __init__(self, cpu: int, hz: int) -> None:
        asked = attributes(_CPU_CLOCK, disabled=1, freq=1, frequency=hz)
        self._fd, _ = opened([asked], cpu, f"{hz} ticks a second")

    def fileno(self) -> int:
        """Descriptor of the event."""
        return self._fd

    def enable(self) -> None:
        """Starts ticking."""
        fcntl.ioctl(self._fd, _ENABLE, 0)

    def disable(self) -> None:
        """Stops ticking."""
        fcntl.ioctl(self._fd, _DISABLE, 0)

    def set_rate(self, hz: int) -> None:
        """Ticks so often from now on."""
        # A timer is asked for its period: the kernel turned the rate into one when it was opened
        # (perf_swevent_init_hrtimer).
        fcntl.ioctl(self._fd, _PERIOD, struct.pack("=Q", _SECOND_NS // hz))

    def set_program(self, program_fd: int) -> None:
        """Runs this BPF program on each tick, until `close`."""
        fcntl.ioctl(self._fd, _SET_BPF, program_fd)

    def close(self) -> None:
        """Ends it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def clock_ns() -> int:
    """The clock that records are told in: CLOCK_MONOTONIC, as bpf_ktime_get_ns()."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def online_cpus() -> list[int]:
    """CPUs that run now, lowest first."""
    cpus: list[int] = []
    for part in _ONLINE.read_text().strip().split(","):
        first, _, last = part.partition("-")
        cpus.extend(range(int(first), int(last or first) + 1))
    return cpus


def attributes(config: int, **given: int) -> Attributes:
    """Of a software event; all that is not given is 0."""
    size = ctypes.sizeof(Attributes)
    return Attributes(type=_SOFTWARE, size=size, config=config, **given)


def opened(ways: Iterable[Attributes], cpu: int, what: str) -> tuple[int, Attributes]:
    """Descriptor of an event of every process on that CPU, and which of the `ways` it is.

    It is the first that this kernel knows: an older one refuses bits that it does not (EINVAL).
    `what` is for the error's sentence. Raises NeedsRoot without CAP_PERFMON, HostCannot without
    perf events, else KernelRefused.
    """
    for asked in ways:
        fd = _open(asked, cpu)
        if fd >= 0:
            return fd, asked
        if ctypes.get_errno() != errno.EINVAL:
            break
    code = ctypes.get_errno()
    reason = os.strerror(code)
    if code in (errno.EACCES, errno.EPERM):
        raise NeedsRoot(
            f"The kernel does not let this process watch CPU {cpu} ({what}): {reason}.",
            "sudo cotenant check",
        )
    if code in (errno.ENOSYS, errno.ENOENT, errno.EOPNOTSUPP):
        raise HostCannot(f"This kernel has no perf events ({what}): {reason}.")
    hints = {
        errno.EINVAL: "sysctl kernel.perf_event_max_sample_rate",
        errno.EMFILE: "ulimit -n",
        errno.ENODEV: "cat /sys/devices/system/cpu/online",
    }
    raise KernelRefused(f"Watching CPU {cpu} ({what}) failed: {reason}.", hints.get(code))


def _open(attributes: Attributes, cpu: int) -> int:
    """A descriptor, or -1 and errno."""
    every_process, no_group = -1, -1
    words = (_call(), every_process, cpu, no_group, _CLOSE_ON_EXEC)
    number, *rest = (c_long(word) for word in words)
    return int(_libc().syscall(number, byref(attributes), *rest))


def _call() -> int:
    machine = platform.machine()
    if machine not in _CALL:
        raise HostCannot(f"Perf events of {machine} are not known here.")
    return _CALL[machine]


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = c_long
    return libc
