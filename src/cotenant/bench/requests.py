"""Requests next to CPU hogs: a server, its client and two hogs on one CPU, each in its own cgroup.

The server is redis where it is installed, else a loop that answers the same. The client asks one
thing at a time over a UNIX socket.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

from cotenant.bench.tenants import PARENT, clear
from cotenant.bench.turns import Progress
from cotenant.demo.cgroups import Cgroups
from cotenant.demo.loads import Load
from cotenant.errors import CotenantError
from cotenant.kernel.cgroupfs import Hierarchies

LOOP = Path(__file__).with_name("loop.py")
HOGS = 2
START_SECONDS = 30.0
ANSWER_SECONDS = 60.0
"""Beyond the time asked for: next to hogs a client may take its time."""


class Requests:
    """A client that asks when told to. `server` says who answers it."""

    def __init__(self, connection: socket.socket, server: str) -> None:
        self.server = server
        self._connection = connection
        self._answers = connection.makefile("rb")

    def ask(self, milliseconds: int) -> array[int]:
        """The time of each request that was answered in so many ms, in ns.

        Raises CotenantError when the client is gone.
        """
        self._connection.settimeout(milliseconds / 1e3 + ANSWER_SECONDS)
        self._connection.sendall(b"%d\n" % milliseconds)
        times = array("Q")
        line = self._answers.readline()
        told = self._answers.read(int(line)) if line else b""
        if not told:
            raise CotenantError("The client of the request loop went away.")
        times.frombytes(told)
        return times

    def close(self) -> None:
        """Let go of the client."""
        self._answers.close()
        self._connection.close()


@contextlib.contextmanager
def beside_hogs(hierarchies: Hierarchies, cpu: int, told: Progress) -> Iterator[Requests]:
    """Server, client and hogs on that CPU; all are gone when the block is left, however.

    Raises CotenantError where cgroups cannot be made or the loop does not come up.
    """
    clear(hierarchies)
    made = Cgroups(hierarchies, PARENT.format(os.getpid()))
    with tempfile.TemporaryDirectory(prefix="cotenant-bench-") as folder:
        answering, control = Path(folder, "server"), Path(folder, "control")
        server, words = _server(answering)
        ask = [sys.executable, "-I", "-S", str(LOOP), "ask", str(answering), str(control)]
        try:
            made.prepare()
            _start(made, cpu, "server", words, told)
            _wait_for(answering)
            _start(made, cpu, "client", ask, told)
            _wait_for(control)
            for number in range(1, HOGS + 1):
                hog = Load(f"hog-{number}", "burns CPU", "", ("hog",)).command()
                _start(made, cpu, f"hog-{number}", hog, told)
            requests = Requests(_connected(control), server)
            try:
                yield requests
            finally:
                requests.close()
        finally:
            made.remove(told)


def _server(path: Path) -> tuple[str, Sequence[str]]:
    redis = shutil.which("redis-server")
    if redis is None:
        return "a loop in Python", [sys.executable, "-I", "-S", str(LOOP), "serve", str(path)]
    return "redis", [redis, "--port", "0", "--unixsocket", str(path), "--save", "",
                     "--appendonly", "no", "--dir", str(path.parent)]  # fmt: skip


def _start(made: Cgroups, cpu: int, name: str, words: Sequence[str], told: Progress) -> None:
    pinned = ["taskset", "-c", str(cpu), *words]
    made.start([Load(f"bench-{os.getpid()}-{name}", name, "")], told, lambda _load: pinned)


def _connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(START_SECONDS)
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        raise CotenantError(f"The client of the request loop does not answer ({error}).") from None
    return connection


def _wait_for(path: Path) -> None:
    """Wait until somebody listens: the socket's file comes a moment before."""
    deadline = time.monotonic() + START_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise CotenantError(f"The {path.name} of the request loop does not come up.")
        time.sleep(0.02)
    time.sleep(0.1)
