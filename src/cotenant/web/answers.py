"""The control socket's server: who asks is checked and noted, what is asked is answered.

A request that is too long, no JSON, unknown or forbidden is told so and ends the connection; a
connection that says nothing for a minute is closed. Nothing a client does can stop the agent.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from cotenant.errors import CotenantError, NeedsRoot, UsageError
from cotenant.web.control import CHANGING, LONGEST_REQUEST, Failure, Request
from cotenant.web.sockets import peer

MOST_CONNECTIONS = 64
IDLE_SECONDS = 60.0
CROWDED_SECONDS = 1.0
SLOW_SECONDS = 10.0
"""How long a client may take to fetch its answer."""

Handler = Callable[..., Any]
"""Takes the request's arguments by name; gives what the answer encodes, or bytes of JSON.

One that takes long gives an awaitable of it: the loop goes on meanwhile."""

log = logging.getLogger(__name__)


class Answers:
    """Serves `handlers`, by verb, on a listening unix socket."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.refused = 0

    async def start(self, listener: socket.socket) -> None:
        """Begins to accept."""
        self._server = await asyncio.start_unix_server(
            self._meet, sock=listener, limit=LONGEST_REQUEST
        )

    async def stop(self) -> None:
        """Stops accepting and ends every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._converse(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the client went away, or was too slow: its own loss
        except asyncio.CancelledError:
            pass  # the agent stops
        finally:
            self._tasks.discard(task)
            writer.transport.abort() if task.cancelling() else writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pid, uid, _ = peer(writer.get_extra_info("socket"))
        log.debug("control socket: process %d of user %d", pid, uid)
        crowded = len(self._tasks) > MOST_CONNECTIONS
        while True:
            try:
                patience = CROWDED_SECONDS if crowded else IDLE_SECONDS
                line = await asyncio.wait_for(reader.readuntil(b"\n"), patience)
            except asyncio.LimitOverrunError:
                long = UsageError(f"A request is at most {LONGEST_REQUEST} bytes long.")
                await self._refuse(writer, long, pid, uid)
                return
            if crowded:
                many = CotenantError("Too many ask the agent at once.", "try again")
                await self._refuse(writer, many, pid, uid)
                return
            try:
                answer = await self._answer(line, pid, uid)
            except CotenantError as error:
                await self._refuse(writer, error, pid, uid)
                continue
            await self._send(writer, answer)
            # A client that hangs up raises an error which asyncio's task and this frame hold in a
            # circle: what is in it would be kept until all of the heap is searched for garbage.
            del answer

    async def _answer(self, line: bytes, pid: int, uid: int) -> bytes:
        """The answer's line. Raises CotenantError; a fault of ours becomes one."""
        try:
            request = msgspec.json.decode(line, type=Request)
        except (msgspec.DecodeError, RecursionError) as error:
            raise UsageError(f"Not a request: {error}.") from None
        handler = self._handlers.get(request.verb)
        if handler is None:
            known = ", ".join(self._handlers)
            raise UsageError(f'The agent knows no "{request.verb[:40]}".', f"one of {known}")
        if request.verb in CHANGING:
            if uid not in (0, os.geteuid()):
                raise NeedsRoot(f"Only root may {request.verb} the agent.", "sudo")
            log.info("control socket: %s, by process %d of user %d", request.verb, pid, uid)
        try:
            found = handler(**request.arguments)
            if inspect.isawaitable(found):
                found = await found
        except CotenantError:
            raise
        except (TypeError, ValueError) as error:
            raise UsageError(f'"{request.verb}" was asked in a wrong way: {error}.') from None
        except Exception as error:
            log.exception("control socket: %s failed", request.verb)
            raise CotenantError(f"A fault in the agent: {type(error).__name__}.") from error
        return b'{"ok":' + (found if isinstance(found, bytes) else encoded(found)) + b"}\n"

    async def _refuse(
        self, writer: asyncio.StreamWriter, error: CotenantError, pid: int, uid: int
    ) -> None:
        self.refused += 1
        log.info("control socket: refused process %d of user %d: %s", pid, uid, error)
        await self._send(writer, failure(error))

    async def _send(self, writer: asyncio.StreamWriter, line: bytes) -> None:
        writer.write(line)
        await asyncio.wait_for(writer.drain(), SLOW_SECONDS)


def failure(error: CotenantError) -> bytes:
    """The line that tells an error."""
    told = Failure(type(error).__name__, str(error), error.hint)
    return b'{"error":' + encoded(told) + b"}\n"


def encoded(record: Any) -> bytes:
    r"""JSON of a record. Bytes in names that are not UTF-8 are written as `\udcNN`."""
    try:
        return msgspec.json.encode(record)
    except UnicodeEncodeError:
        return msgspec.json.encode(_readable(msgspec.to_builtins(record)))


def _readable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_readable(key): _readable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_readable(one) for one in value]
    return value
