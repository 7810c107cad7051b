"""One question to a Go program's `/debug/pprof`, asked inside the tenant's own network.

The thread that asks enters the tenant's network namespace and connects to the loopback there, so
that whatever address or route a tenant sets up, nothing but its own network is ever reached: its
address, were it connected to from outside, would be the tenant's to choose. A tenant in the host's
network is asked only where a process of its own listens on that port.

What comes back is a stranger's: bounded in bytes and time, packed and unpacked.
"""

from __future__ import annotations

import os
import re
import socket
import time
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from msgspec.structs import replace

from cotenant.errors import BadProfile, RuntimeSilent
from cotenant.export import pprof
from cotenant.kernel import netns
from cotenant.model import Profile, ProfileLost, Tenant

MOST_BYTES = 1 << 20
"""Of an answer."""
MOST_UNPACKED = 4 << 20
"""What Pyroscope takes; Go's own profiles have a tenth of it."""
CONNECT_S = 2.0
GRACE_S = 5.0
"""What an answer may take on top of the time that was asked for."""
_HEAD = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r\n")
_MOST_HEAD = 1 << 14
_LISTENS = "0A"


class Kind(NamedTuple):
    """One of Go's profiles: its path, whether it is of a time, its value's name and unit."""

    path: str
    lasts: bool
    value: str
    unit: str


KINDS = {
    "cpu": Kind("profile", True, "cpu", "nanoseconds"),
    "heap": Kind("heap", False, "inuse_space", "bytes"),
    "allocs": Kind("allocs", True, "alloc_space", "bytes"),
    "goroutine": Kind("goroutine", False, "goroutine", "count"),
    "mutex": Kind("mutex", True, "delay", "nanoseconds"),
    "block": Kind("block", True, "delay", "nanoseconds"),
}
"""By the word after `go/`. Those that count since the program's start are asked for what came in a
time (`seconds`), which net/http/pprof gives as a difference."""


class Question(NamedTuple):
    """Whom to ask, where, for what: `type` is a word of KINDS, `seconds` how long it may last."""

    tenant: Tenant
    port: int
    path: str
    type: str
    seconds: int


Pids = Callable[[Tenant], Iterable[int]]


def ask(question: Question, pids: Pids, clock: Callable[[], float] = time.time) -> Profile:
    """The tenant's profile. To be called in a thread of its own, which must end afterwards.

    Raises RuntimeSilent where it does not answer with one, in a sentence.
    """
    kind = KINDS[question.type]
    began = clock()
    try:
        _go_inside(question, pids)
        body = _fetch(question, kind)
        found = pprof.parse(_unpacked(body), type=kind.value, tenant=question.tenant)
    except TimeoutError:
        raise _silent(question, "no answer in time") from None
    except PermissionError:
        raise _silent(question, "entering its network takes CAP_SYS_ADMIN") from None
    except BadProfile as error:
        raise _silent(question, str(error)) from None
    except OSError as error:
        raise _silent(question, error.strerror or str(error)) from None
    if found.unit != kind.unit:
        raise _silent(question, f"its {kind.value} is not in {kind.unit}")
    return replace(
        found,
        type=f"go/{question.type}",
        from_s=began,
        until_s=max(clock(), began + 0.001),
        # Labels and comments in it are the tenant's: it cannot speak for another.
        tenants=(question.tenant,),
        stacks=tuple([replace(stack, tenant=0, process="") for stack in found.stacks]),
        lost=ProfileLost(),
        notes=(),
    )


def _silent(question: Question, why: str) -> RuntimeSilent:
    where = f"{question.tenant.name}:{question.port}{question.path}"
    return RuntimeSilent(f"No {question.type} profile of {where}: {why.rstrip('.')}.")


def _go_inside(question: Question, pids: Pids) -> None:
    tenant = question.tenant
    if tenant.netns is not None and tenant.main_pid is not None:
        netns.enter(tenant.main_pid, tenant.netns)
    elif not listens(question.port, pids(tenant)):
        raise RuntimeSilent(
            f"{tenant.name} is in the host's network, and nothing of it listens on port "
            f"{question.port}."
        )


def listens(port: int, pids: Iterable[int], proc: str = "/proc") -> bool:
    """Whether one of these processes listens on that port of the host's own loopback."""
    inodes = set()
    for name in ("tcp", "tcp6"):
        with suppress(OSError), open(f"{proc}/net/{name}") as file:
            for line in file.readlines()[1:]:
                words = line.split()
                if words[3] == _LISTENS and int(words[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{words[9]}]")
    if not inodes:
        return False
    held: set[str] = set()
    for pid in pids:
        with suppress(OSError):
            for entry in os.scandir(f"{proc}/{pid}/fd"):
                with suppress(OSError):
                    held.add(os.readlink(entry.path))
    # All that listen there: else SO_REUSEPORT would let another answer in its place.
    return inodes <= held


def _fetch(question: Question, kind: Kind) -> bytes:
    lasts = question.seconds if kind.lasts else 0
    deadline = time.monotonic() + lasts + GRACE_S
    target = f"{question.path.rstrip('/')}/{kind.path}" + (f"?seconds={lasts}" if lasts else "")
    with _connected(question.port) as peer:
        # HTTP/1.0: the answer is in one piece and ends with the connection.
        peer.sendall(
            f"GET {target} HTTP/1.0\r\nHost: localhost:{question.port}\r\n"
            "User-Agent: cotenant\r\n\r\n".encode()
        )
        said = bytearray()
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            peer.settimeout(left)
            part = peer.recv(1 << 16)
            if not part:
                break
            said += part
            if len(said) > MOST_BYTES + _MOST_HEAD:
                raise BadProfile(f"It is longer than {MOST_BYTES >> 20} MiB")
    return _body(bytes(said))


def _connected(port: int) -> socket.socket:
    try:
        return socket.create_connection(("127.0.0.1", port), CONNECT_S)
    except ConnectionRefusedError:
        return socket.create_connection(("::1", port), CONNECT_S)


def _body(said: bytes) -> bytes:
    head, ends, _ = said[: _MOST_HEAD + 4].partition(b"\r\n\r\n")
    status = _HEAD.match(head + b"\r\n")
    if not ends or status is None:
        raise BadProfile("It does not speak HTTP")
    if status[1] != b"200":
        raise BadProfile(f"It answers {status[1].decode()}")
    return said[len(head) + 4 :]


def _unpacked(body: bytes) -> bytes:
    """The message in it, of at most MOST_UNPACKED bytes."""
    if body[:2] != b"\x1f\x8b":
        return body
    fold = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        message = fold.decompress(body, MOST_UNPACKED)
    except zlib.error as error:
        raise BadProfile(f"It cannot be unpacked: {error}") from None
    if not fold.eof:
        raise BadProfile(f"It is cut off, or larger than {MOST_UNPACKED >> 20} MiB unpacked")
    return message
