"""What this process may do, and what each capability that it lacks costs.

Numbers as in include/uapi/linux/capability.h. Proven one by one, all others dropped:
tests/kernel/test_capabilities.py and test_profile_capabilities.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2
_SYS_ADMIN = 21
_SYSLOG = 34
_PERFMON, _BPF, _CHECKPOINT_RESTORE = 38, 39, 40

CAPABILITIES = {
    2: ("CAP_DAC_READ_SEARCH", "files of runtimes, disk space of layers: other users'"),
    12: ("CAP_NET_ADMIN", "counting packets at the cgroup; names of interfaces inside tenants"),
    19: (
        "CAP_SYS_PTRACE",
        "network namespace of other users' processes: whose interface is whose; files of a runtime "
        "that runs in a container",
    ),
    38: ("CAP_PERFMON", "looking into kernel memory: without it, files are read instead"),
    39: ("CAP_BPF", "loading any program: without it, files are read instead"),
}
"""Of metering and of waits, and what each is for.

No capability is needed for the runtimes' sockets: root owns them, and who is not root joins their
group (to connect takes the right to write). `support.sockets` tells of each.
"""

NOTHING = "nothing can be profiled"
PROFILING = {
    2: (
        "CAP_DAC_READ_SEARCH",
        "other users' Python functions have no names, and their binaries that were deleted or "
        "that only they may read are not unwound",
    ),
    19: ("CAP_SYS_PTRACE", "other users' programs are not unwound, and have no names"),
    34: ("CAP_SYSLOG", "kernel frames show as addresses"),
    38: ("CAP_PERFMON", NOTHING),
    39: ("CAP_BPF", NOTHING),
    40: (
        "CAP_CHECKPOINT_RESTORE",
        "binaries that were deleted or replaced since they were started are not unwound, and have "
        "no names",
    ),
}
"""Of profiles, and what is lost without each. See docs/profiling.md for who asks for it where.

/proc/PID/mem is its owner's to open and ptrace's to read: that takes two. /proc/PID/map_files, the
way to a file that is gone, takes CAP_CHECKPOINT_RESTORE besides (proc_map_files_get_link).
"""


class Lack(NamedTuple):
    """A capability that is missing, and what that costs."""

    name: str
    costs: str

    @property
    def words(self) -> str:
        """Both in one line."""
        return f"without {self.name} {self.costs}"


def held_capabilities(status: str) -> int:
    """The effective capabilities in the text of a /proc/PID/status, as a bit set."""
    line = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return int(line.split()[1], 16)


def held() -> int:
    """What this process may do, as a bit set: with what its capabilities stand for besides."""
    found = held_capabilities(Path("/proc/self/status").read_text())
    if found >> _DAC_OVERRIDE & 1:  # may also write, which nobody here wants
        found |= 1 << _DAC_READ_SEARCH
    if found >> _SYS_ADMIN & 1:  # what these were before they had names of their own
        found |= 1 << _BPF | 1 << _PERFMON | 1 << _CHECKPOINT_RESTORE
    return found


def lacks() -> list[Lack]:
    """What profiling lacks, worst first; where nothing can be profiled, that alone."""
    has = held()
    if not has >> _SYSLOG & 1 and addresses_told():
        has |= 1 << _SYSLOG
    missing = [Lack(*known) for bit, known in PROFILING.items() if not has >> bit & 1]
    return [lack for lack in missing if lack.costs == NOTHING] or missing


def addresses_told(kallsyms: Path = Path("/proc/kallsyms")) -> bool:
    """Whether the kernel tells its addresses: without CAP_SYSLOG it may, by its sysctls.

    Those are kernel.kptr_restrict and kernel.perf_event_paranoid (kallsyms_show_value).
    """
    try:
        with open(kallsyms, "rb", buffering=0) as file:
            lines = file.read(4096).splitlines()
    except OSError:
        return False
    return any(line.split(b" ", 1)[0].strip(b"0") for line in lines)
