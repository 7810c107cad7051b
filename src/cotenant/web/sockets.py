"""The sockets the agent listens on: taken at once and early, or an error that says who has them.

One agent per control socket: whoever holds the lock file beside it is the one. A socket file that
a dead agent left behind is replaced.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import ipaddress
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path

from cotenant.errors import CotenantError, InUse, NeedsRoot, UsageError

_BACKLOG = 128


class Seat:
    """The control socket, locked and listening. `close` takes socket and lock away."""

    def __init__(self, path: Path, group: str | None = None) -> None:
        self.path = path
        self._lock_path = path.with_name(path.name + ".lock")
        gid = group_id(group)
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._lock = _locked(self._lock_path)
        except PermissionError:
            raise NeedsRoot(
                f"This user may not make the control socket {path}.",
                "sudo cotenant agent, or --socket PATH",
            ) from None
        except OSError as error:
            raise CotenantError(f"Cannot make {path}: {error.strerror}.", "--socket PATH") from None
        if self._lock is None:
            raise _other_agent(path)
        self.listener = _unix_listener(path, gid)

    def close(self) -> None:
        """Stops listening; the socket's file and the lock are gone afterwards."""
        self.listener.close()
        for path in (self.path, self._lock_path):
            with suppress(OSError):
                path.unlink()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def group_id(name: str | None) -> int | None:
    """Number of a group; UsageError where there is none of that name."""
    if name is None:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise UsageError(f'There is no group "{name}" (socket_group).', "getent group") from None


def _locked(path: Path) -> int | None:
    """Descriptor of the locked file; None where someone else holds the lock."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        with suppress(FileNotFoundError):
            # The one who had it may have unlinked it between our open and our lock.
            if os.path.samestat(os.fstat(lock), os.stat(path)):
                return lock
        os.close(lock)


def _unix_listener(path: Path, gid: int | None) -> socket.socket:
    with suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    if gid is not None:
        # To connect takes the right to write.
        os.chown(path, -1, gid)
        os.chmod(path, 0o660)
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def _other_agent(path: Path) -> InUse:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.settimeout(1.0)
        if door.connect_ex(str(path)) != 0:
            return InUse(f"Another agent holds {path}.lock.", f"fuser -v {path}.lock")
        pid, _, _ = peer(door)
    return InUse(f"Another agent runs here (pid {pid}, on {path}).", f"kill {pid}")


def peer(connection: socket.socket) -> tuple[int, int, int]:
    """Process, user and group id of who is at the other end of a unix socket."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, gid = struct.unpack("3i", raw)
    return pid, uid, gid


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:7070` or `[::1]:7070`."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(address: str) -> socket.socket:
    """A listening TCP socket. InUse, with who has the port where that can be seen."""
    host, port = split_address(address)
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror:
        raise UsageError(f'"{host}" is no address of this host (http).', "ip address") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _refused(address, port, error) from None
    listener.setblocking(False)
    return listener


def _refused(address: str, port: int, error: OSError) -> CotenantError:
    if error.errno == errno.EADDRINUSE:
        return InUse(f"{address} is taken{_holder(port)}.", "cotenant agent --http 127.0.0.1:7071")
    if error.errno == errno.EADDRNOTAVAIL:
        return UsageError(f"{address} is no address of this host (http).", "ip address")
    return CotenantError(f"Cannot listen on {address}: {error.strerror}.")


def _holder(port: int) -> str:
    """` by nginx (pid 4711)` where /proc shows it to this user."""
    inodes = set()
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", name).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    if os.readlink(descriptor) in inodes:
                        name = (process / "comm").read_text().strip()
                        return f" by {name} (pid {process.name})"
    return ""
