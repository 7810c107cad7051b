"""One HTTP connection: uvicorn's, with an end to its patience and to what it holds in memory.

uvicorn by itself waits for ever for the rest of a request and for an answer to be fetched, and
copies a whole answer into the connection's buffer. Here a turn, from a request's first byte (or
the connection's start) until its answer was handed to the kernel, has one deadline, and an answer
is written in pieces: the next one when the client has taken most of those before it.
"""

from __future__ import annotations

import asyncio
import logging

import h11
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

TURN_SECONDS = 30.0
"""A scraper of Prometheus gives up after 10 by itself, unless told otherwise."""
MOST_CONNECTIONS = 128
"""Those past it are hung up at once: each holds a descriptor, and the agent needs its own."""
PIECE_BYTES = 1 << 18

log = logging.getLogger(__name__)


class Connection(H11Protocol):
    """Hangs up on a client that takes longer than `TURN_SECONDS` for one turn.

    Between two turns of a kept connection uvicorn's own clock runs (timeout_keep_alive).
    """

    _deadline: asyncio.TimerHandle | None = None
    _before: object = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client came."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            log.info("http: hung up on a client: %d others are here", MOST_CONNECTIONS)
            transport.abort()
            return
        self._begin()

    def data_received(self, data: bytes) -> None:
        """A part of a request came; the first one begins a turn."""
        if self._is_over():
            self._begin()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _begin(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._before = self.cycle
        self._deadline = self.loop.call_later(TURN_SECONDS, self._time_is_up)

    def _is_over(self) -> bool:
        """Whether the request of this turn came, body and all, and its answer went."""
        answered = self.cycle is not self._before and self.cycle.response_complete
        idle = self.conn.their_state is h11.IDLE
        return answered and idle and self.transport.get_write_buffer_size() == 0

    def _time_is_up(self) -> None:
        if not self._is_over():
            log.info("http: hung up on a client that took longer than %g s", TURN_SECONDS)
            self.transport.abort()


class Pieces(Response):
    """A response whose body is handed on piece by piece, and so is shared by all who fetch it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it; waits wherever the client is slow."""
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        body = memoryview(self.body)
        for at in range(0, len(body), PIECE_BYTES):
            piece = body[at : at + PIECE_BYTES]
            more = at + PIECE_BYTES < len(body)
            await send({"type": "http.response.body", "body": piece, "more_body": more})
        if not body:
            await send({"type": "http.response.body", "body": b""})
