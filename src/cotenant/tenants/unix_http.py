"""HTTP over a unix socket, with an end to everything: time, size, patience.

Spoken as HTTP/1.0, which every runtime's server answers in kind: one request a connection, nothing
chunked, the answer ends with the connection. http.client would bring ssl and email: 25 ms.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

from cotenant.errors import RuntimeSilent

CHUNK = 1 << 16
HEAD_LIMIT = 1 << 16
"""Longest head of an answer, in bytes."""
LINE_LIMIT = 1 << 20
"""Longest line of an event stream that is kept, in bytes; a longer one is dropped."""
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: [^\r\n]*)?")
_DIGITS = re.compile(rb"\d{1,18}")


class NotAllowed(RuntimeSilent):
    """The socket is not for this user."""


def request(
    path: str,
    method: str,
    target: str,
    seconds: float,
    limit: int,
    body: bytes = b"",
    kind: str = "application/json",
) -> tuple[int, bytes]:
    """Status and body of the answer. Raises RuntimeSilent after `seconds` or `limit` bytes.

    The time is for all of it: a peer that sends a byte now and then gains nothing. NotAllowed is
    raised where the socket is for others. `body` is sent as `kind`, if there is any.
    """
    deadline = time.monotonic() + seconds
    try:
        with _connected(path, deadline) as peer:
            _send(peer, deadline, method, target, body, kind)
            status, length, rest = _head(peer, deadline)
            said = _body(peer, deadline, path, rest, limit, length)
    except TimeoutError:
        raise RuntimeSilent(f"No answer on {path} within {seconds:g} s.") from None
    except PermissionError:
        raise NotAllowed(f"No answer on {path}: only root and its group may talk to it.") from None
    except (OSError, ValueError) as error:
        raise RuntimeSilent(f"No answer on {path}: {_reason(error)}.") from None
    return status, said


class Stream:
    """A `GET` whose answer never ends: lines as they come, until `close()` or the peer's end."""

    def __init__(self, path: str, target: str, seconds: float) -> None:
        """Raises RuntimeSilent when it does not start within `seconds`."""
        deadline = time.monotonic() + seconds
        try:
            self._peer = _connected(path, deadline)
        except (OSError, ValueError) as error:
            raise RuntimeSilent(f"No events on {path}: {_reason(error)}.") from None
        try:
            _send(self._peer, deadline, "GET", target)
            status, _, self._rest = _head(self._peer, deadline)
            self._peer.settimeout(None)
        except (OSError, ValueError) as error:
            self._peer.close()
            raise RuntimeSilent(f"No events on {path}: {_reason(error)}.") from None
        if status != 200:
            self._peer.close()
            raise RuntimeSilent(f"No events on {path}: it answered {status}.")

    def lines(self) -> Iterator[bytes]:
        """Lines without their ends. Ends when the stream does, for whatever reason."""
        part, line, dropping = self._rest, b"", False
        with self._peer:
            while True:
                *whole, line = (line + part).split(b"\n")
                if whole and dropping:
                    del whole[0]
                    dropping = False
                yield from whole
                if len(line) > LINE_LIMIT:
                    line, dropping = b"", True
                try:
                    part = self._peer.recv(CHUNK)
                except OSError:
                    return
                if not part:
                    return

    def close(self) -> None:
        """End it, from any thread: whoever reads gets the end of the stream."""
        with suppress(OSError):
            self._peer.shutdown(socket.SHUT_RDWR)


def _connected(path: str, deadline: float) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _limit(peer, deadline)
        peer.connect(path)
    except BaseException:
        peer.close()
        raise
    return peer


def _limit(peer: socket.socket, deadline: float) -> None:
    """Let the next call on it end by the deadline; raises TimeoutError when that is past."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    peer.settimeout(left)


def _send(
    peer: socket.socket,
    deadline: float,
    method: str,
    target: str,
    body: bytes = b"",
    kind: str = "",
) -> None:
    if not target.isascii() or not target.isprintable() or " " in target:
        raise ValueError(f"{target!r} is no target of a request")
    lines = [f"{method} {target} HTTP/1.0", "Host: localhost"]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    if body:
        lines.append(f"Content-Type: {kind}")
    _limit(peer, deadline)
    peer.sendall("\r\n".join([*lines, "", ""]).encode() + body)


def _head(peer: socket.socket, deadline: float) -> tuple[int, int | None, bytes]:
    """Status, announced length, and what came of the body already. Raises ValueError for lies."""
    said = b""
    while (end := said.find(b"\r\n\r\n")) < 0:
        if len(said) > HEAD_LIMIT:
            raise ValueError("the head of its answer has no end")
        _limit(peer, deadline)
        part = peer.recv(CHUNK)
        if not part:
            raise ValueError("it hung up")
        said += part
    first, *lines = said[:end].split(b"\r\n")
    status = _STATUS.fullmatch(first)
    if status is None:
        raise ValueError(f"it does not speak HTTP: {first[:80]!r}")
    words = {
        name.strip().lower(): word.strip() for name, _, word in (x.partition(b":") for x in lines)
    }
    length = words.get(b"content-length")
    if b"transfer-encoding" in words or not (length is None or _DIGITS.fullmatch(length)):
        raise ValueError("its answer is not as long as HTTP/1.0 can tell")
    return int(status[1]), None if length is None else int(length), said[end + 4 :]


def _body(
    peer: socket.socket, deadline: float, path: str, rest: bytes, limit: int, length: int | None
) -> bytes:
    parts, size = [rest], len(rest)
    while length is None or size < length:
        if size > limit or (length or 0) > limit:
            raise RuntimeSilent(f"The answer on {path} is larger than {limit >> 20} MiB.")
        _limit(peer, deadline)
        part = peer.recv(CHUNK)
        if not part:
            if length is not None:
                raise ValueError(f"it hung up after {size} of {length} bytes")
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts)[:length]


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "nothing is there"
    if isinstance(error, PermissionError):
        return "only root and its group may talk to it"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, ValueError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
