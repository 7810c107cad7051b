"""The programs of the demo tenants as plain cgroups.

    python3 workloads.py [--cpu N] WHICH [ARGUMENT ...]

Run as a file, on its own: it imports nothing of cotenant, so that a dummy stays small.
"""

from __future__ import annotations

import mmap
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

BLOCK = 1 << 20
BLOCKS_A_SECOND = 8
FILE = Path("/var/tmp/cotenant-demo/blob")


def hog() -> None:
    """Burn CPU, for ever; its cgroup's quota holds it back."""
    while True:
        pass


def requests() -> None:
    """Work for a millisecond or two and sleep five, for ever."""
    while True:
        for _ in range(40_000):
            pass
        time.sleep(0.005)


def memory(size: str) -> None:
    """Hold `size` bytes of anonymous memory, every page of it touched."""
    held = mmap.mmap(-1, int(size))
    for offset in range(0, int(size), mmap.PAGESIZE):
        held[offset] = 1
    while True:
        time.sleep(3600)


def writer(path: str = str(FILE)) -> None:
    """Write 8 MiB a second over the same 8 MiB of a file, past the page cache where that can be."""
    flags = os.O_WRONLY | os.O_CREAT
    try:
        descriptor = os.open(path, flags | os.O_DIRECT, 0o600)
    except OSError:  # a file system without O_DIRECT
        descriptor = os.open(path, flags | os.O_DSYNC, 0o600)
    block = mmap.mmap(-1, BLOCK)  # O_DIRECT wants whole pages
    while True:
        for number in range(BLOCKS_A_SECOND):
            os.pwrite(descriptor, block, number * BLOCK)
        time.sleep(1)


def server(address: str, port: str) -> None:
    """Answer each connection with 1 MiB."""
    with socket.create_server((address, int(port))) as listening:
        while True:
            connection, _ = listening.accept()
            with connection:
                try:
                    connection.sendall(bytes(BLOCK))
                except OSError:
                    continue  # the client went away


def client(address: str, port: str) -> None:
    """Fetch 1 MiB from the server, 2 to 3 times a second."""
    while True:
        try:
            with socket.create_connection((address, int(port)), timeout=5) as connection:
                while connection.recv(BLOCK):
                    pass
        except OSError:
            pass  # the server is not up yet, or no more
        time.sleep(0.4)


WORKLOADS: dict[str, Callable[..., None]] = {
    "hog": hog,
    "requests": requests,
    "memory": memory,
    "writer": writer,
    "server": server,
    "client": client,
}

if __name__ == "__main__":
    words = sys.argv[1:]
    if words[0] == "--cpu":
        os.sched_setaffinity(0, {int(words[1])})
        words = words[2:]
    WORKLOADS[words[0]](*words[1:])
