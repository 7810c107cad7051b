"""A server for one kind of call, as gRPC makes it, on loopback: it keeps requests, answers nothing.

As much of HTTP/2 (RFC 9113) as a gRPC client needs to be content: headers are not even read, as
every call is taken for the one that is expected. The answer is an empty message.
"""

from __future__ import annotations

import contextlib
import gzip
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType

from cotenant.errors import CotenantError

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 4, 6, 8
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 0x1, 0x1, 0x4, 0x8
_INITIAL_WINDOW = 4  # of SETTINGS
_WINDOW = 1 << 30
_OK = b"\x88\x0f\x10\x10application/grpc"  # :status 200, content-type; RFC 7541, appendix A
_TRAILERS = b"\x00\x0bgrpc-status\x010"
_EMPTY = bytes(5)  # not compressed, no bytes
_MOST = 64 << 20


def messages(body: bytes) -> list[bytes]:
    """The messages of a call's body: each a byte that says whether it is gzipped, length, bytes.

    Raises CotenantError where that is not so.
    """
    found, at = [], 0
    while at < len(body):
        if len(body) - at < 5:
            raise CotenantError("A gRPC message is cut off.")
        squeezed, length = struct.unpack_from(">BI", body, at)
        message = body[at + 5 : at + 5 + length]
        if len(message) < length:
            raise CotenantError("A gRPC message is cut off.")
        try:
            found.append(gzip.decompress(message) if squeezed else message)
        except (OSError, EOFError) as error:
            raise CotenantError(f"A gRPC message cannot be unpacked ({error}).") from None
        at += 5 + length
    return found


class Receiver:
    """Listens while the block runs; `bodies` are the calls' so far."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []

    @property
    def address(self) -> str:
        """Where it listens: address and port."""
        return f"127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Receiver:
        self._run(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one in (self._listening, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join()

    def _run(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._open.append(connection)
            self._run(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with (
            contextlib.suppress(OSError, EOFError),
            connection,
            connection.makefile("rb") as incoming,
        ):
            if incoming.read(len(_PREFACE)) != _PREFACE:
                return
            settings = struct.pack(">HI", _INITIAL_WINDOW, _WINDOW)
            connection.sendall(frame(_SETTINGS, 0, 0, settings))
            connection.sendall(frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WINDOW)))
            calls: dict[int, bytearray] = {}
            while head := incoming.read(9):
                length, kind, flags, stream = parsed(head)
                payload = incoming.read(length)
                self._take(connection, calls, kind, flags, stream, payload)

    def _take(
        self,
        connection: socket.socket,
        calls: dict[int, bytearray],
        kind: int,
        flags: int,
        stream: int,
        payload: bytes,
    ) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            connection.sendall(frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            connection.sendall(frame(_PING, _ACK, 0, payload))
        elif kind == _DATA:
            if payload:
                connection.sendall(frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", len(payload))))
            data = payload[1 : len(payload) - payload[0]] if flags & _PADDED else payload
            calls.setdefault(stream, bytearray()).extend(data)
            if len(calls[stream]) > _MOST:
                raise EOFError
            if flags & _END_STREAM:
                self.bodies.append(bytes(calls.pop(stream)))
                connection.sendall(
                    frame(_HEADERS, _END_HEADERS, stream, _OK)
                    + frame(_DATA, 0, stream, _EMPTY)
                    + frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, _TRAILERS)
                )


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def parsed(head: bytes) -> tuple[int, int, int, int]:
    """Length, kind, flags and stream of a frame. EOFError: it is cut off."""
    if len(head) < 9:
        raise EOFError
    kind, flags, stream = struct.unpack(">BBI", head[3:])
    return int.from_bytes(head[:3]), kind, flags, stream & 0x7FFFFFFF
