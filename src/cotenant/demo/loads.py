"""What the demo tenants do: in a container with busybox, in a plain cgroup with Python."""

from __future__ import annotations

import sys
from pathlib import Path

from msgspec import Struct

MIB = 1 << 20
PORT = 8080
SERVER_ADDRESS = "10.213.7.1"
"""Address of the pair's server as a plain cgroup; seen in its own network namespace only."""

_WORKLOADS = Path(__file__).with_name("workloads.py")


class Load(Struct, frozen=True):
    """One demo tenant: its name, what it does in a few words, and how it is started and limited.

    `shell` is a line for busybox's shell, in which `{server}` is the address of the pair's server;
    `python` are the words for workloads.py, or none where `sleep` will do. `cpu_cores` and
    `memory_bytes` are limits (None: no limit); `side` is its end of the wire (None: no network);
    `cpu` is the only one that it may run on (None: all).
    """

    name: str
    does: str
    shell: str
    python: tuple[str, ...] = ()
    cpu_cores: float | None = None
    memory_bytes: int | None = None
    side: str | None = None
    cpu: int | None = None

    def command(self) -> list[str]:
        """The words that start it as a plain process."""
        if not self.python:
            return ["sleep", "2147483647"]
        pinned = [] if self.cpu is None else ["--cpu", str(self.cpu)]
        return [sys.executable, "-I", "-S", str(_WORKLOADS), *pinned, *self.python]


def idle(number: int, digits: int = 2, prefix: str = "demo") -> Load:
    """A tenant that sleeps, for ever."""
    return Load(f"{prefix}-{number:0{digits}}", "sleeps", "exec sleep 2147483647")


# dd reads all of its one block into memory, and then waits for ever to write it to a full pipe.
_HOLD = "dd if=/dev/zero bs=192M 2>/dev/null | sleep 2147483647"
# A file system without O_DIRECT (tmpfs before 6.6) still gets its writes, synced.
_WRITE = (
    "while :; do dd if=/dev/zero of=/blob bs=1M count=8 conv=notrunc oflag=direct 2>/dev/null"
    " || dd if=/dev/zero of=/blob bs=1M count=8 conv=notrunc,fsync 2>/dev/null; sleep 1; done"
)
_SERVE = (
    f"mkdir /www && dd if=/dev/zero of=/www/blob bs=1M count=1 2>/dev/null"
    f" && exec httpd -f -p {PORT} -h /www"
)
_FETCH = f"while :; do wget -q -O /dev/null http://{{server}}:{PORT}/blob; sleep 0.4; done"

SHOWCASE = (
    Load(
        "demo-hog",
        "burns CPU, held to 30 % of a core by its own quota",
        "while :; do :; done",
        ("hog",),
        cpu_cores=0.3,
    ),
    Load(
        "demo-memory",
        "holds 192 MiB of memory, of 256 allowed",
        _HOLD,
        ("memory", str(192 * MIB)),
        memory_bytes=256 * MIB,
    ),
    Load("demo-writer", "writes 8 MiB a second to the disk, with O_DIRECT", _WRITE, ("writer",)),
    Load(
        "demo-server",
        "answers demo-client over a veth",
        _SERVE,
        ("server", SERVER_ADDRESS, str(PORT)),
        side="server",
    ),
    Load(
        "demo-client",
        "asks demo-server for 1 MiB, 2 to 3 times a second",
        _FETCH,
        ("client", SERVER_ADDRESS, str(PORT)),
        side="client",
    ),
)
"""What `demo up` starts when no number is named: one tenant for each thing there is to see."""

NOISY_CPU = 0
_REQUESTS = "while :; do N=0; while [ $N -lt 1000 ]; do N=$((N+1)); done; sleep 0.005; done"

NOISY = (
    Load(
        "demo-batch-1",
        "burns all the CPU it gets",
        "while :; do :; done",
        ("hog",),
        cpu=NOISY_CPU,
    ),
    Load(
        "demo-batch-2",
        "burns all the CPU it gets",
        "while :; do :; done",
        ("hog",),
        cpu=NOISY_CPU,
    ),
    Load(
        "demo-api",
        "works for a moment, then sleeps 5 ms; waits for the other two",
        _REQUESTS,
        ("requests",),
        cpu=NOISY_CPU,
    ),
)
"""What `demo up --noisy` starts, all on one CPU: two that burn it, one that wants little of it."""
