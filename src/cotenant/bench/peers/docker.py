"""`docker stats`, asked of Docker itself: a request for each container, no command around it."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from cotenant.bench.turns import cpu_of
from cotenant.demo.engine import CALL_SECONDS, Engine
from cotenant.errors import RuntimeSilent


class Connection(http.client.HTTPConnection):
    """A connection to the socket at `path` that is kept between requests, as Docker's client does.

    (`tenants.unix_http` makes one for each request, which would charge Docker for more.)
    """

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("docker", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class DockerStats:
    """Asks `/containers/ID/stats` of every container at once, as `docker stats` does.

    Docker 20.10 takes a sample a second and answers with its next one, so a round takes about a
    second whatever it costs. CPU time is this process's plus that of dockerd and containerd; the
    shims, which containerd asks in its turn, are left out.
    """

    name = "docker"

    def __init__(self, engine: Engine, ids: Sequence[str]) -> None:
        self._ids = ids
        self._daemons = _daemons(engine.pid())
        self._connections = [Connection(engine.path, CALL_SECONDS) for _ in ids]
        self._pool = ThreadPoolExecutor(len(ids))

    def once(self) -> list[object]:
        """The decoded answers. Raises RuntimeSilent when Docker stops answering."""
        try:
            return list(self._pool.map(_ask, self._connections, self._ids))
        except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
            raise RuntimeSilent(f"Docker's statistics break off ({error}).") from None

    def cpu_ns(self) -> int:
        """Own time and the daemons', in ns."""
        return time.process_time_ns() + sum(cpu_of(pid) for pid in self._daemons)

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown()
        for connection in self._connections:
            connection.close()


def _ask(connection: Connection, container: str) -> object:
    # one-shot: without it Docker waits for two samples
    connection.request("GET", f"/containers/{container}/stats?stream=0&one-shot=1")
    return msgspec.json.decode(connection.getresponse().read())


def _daemons(dockerd: int) -> list[int]:
    """The daemon and containerd, whether that is its child or stands beside it."""
    found = [dockerd]
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "comm").read_text().strip() == "containerd":
                found.append(int(entry.name))
        except OSError:
            continue
    return found
