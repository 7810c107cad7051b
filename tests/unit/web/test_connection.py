"""Clients that stall, on real sockets: they are hung up, and hold up nobody else."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest

from cotenant.web import connection
from cotenant.web.http import Pages, Server, application

TURN = 0.4
LONG_TURN = 60.0
PAGE = b"x" * (8 << 20)
"""More than the kernel's buffers of both ends take in."""
GET = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
ALIVE = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(autouse=True)
def _short_turns(monkeypatch):
    monkeypatch.setattr(connection, "TURN_SECONDS", TURN)


@pytest.fixture
def _long_turns(_short_turns, monkeypatch):
    """For clients that must not be hung up, on a machine that stands still for a second, too."""
    monkeypatch.setattr(connection, "TURN_SECONDS", LONG_TURN)


@dataclass
class Served:
    port: int
    server: Server

    @property
    def connections(self) -> list[connection.Connection]:
        return list(self.server._server.server_state.connections)  # type: ignore[arg-type]

    def client(self) -> socket.socket:
        """A connected client that reads nothing by itself."""
        made = socket.create_connection(("127.0.0.1", self.port))
        made.setblocking(False)
        return made


@asynccontextmanager
async def served():
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    listener.setblocking(False)
    pages = Pages({"prometheus": lambda: PAGE}, lambda: 1, lambda: 0.1, lambda: 3.0)
    server = Server(application(pages))
    await server.start(listener)
    try:
        yield Served(listener.getsockname()[1], server)
    finally:
        await server.stop()


async def until(true) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.02)


async def lives(port: int) -> bool:
    """Whether a client with manners is answered. It is in no hurry, whoever else is."""
    with pytest.MonkeyPatch.context() as patient:
        patient.setattr(connection, "TURN_SECONDS", LONG_TURN)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ALIVE)
        answer = await asyncio.wait_for(reader.readuntil(b"alive\n"), 30)
        writer.close()
    return b" 200 " in answer


HALF_A_BODY = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"


@pytest.mark.parametrize("said", [b"", b"GET /metr", GET[:-2], HALF_A_BODY])
def test_who_sends_half_a_request_is_hung_up(said):
    async def scene():
        async with served() as here:
            with here.client() as client:
                client.sendall(said)
                await until(lambda: here.connections)
                assert await lives(here.port)
                await until(lambda: not here.connections)
                loop = asyncio.get_running_loop()
                with suppress(ConnectionResetError):
                    while await asyncio.wait_for(loop.sock_recv(client, 4096), 5):
                        pass

    asyncio.run(scene())


def test_who_drips_a_request_gains_nothing_by_it():
    """Also not on the second turn of a connection whose first went well."""

    async def scene():
        async with served() as here:
            reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
            writer.write(ALIVE)
            await asyncio.wait_for(reader.readuntil(b"alive\n"), 5)
            began = asyncio.get_running_loop().time()
            with suppress(ConnectionError):
                async with asyncio.timeout(10):
                    while here.connections:
                        writer.write(b"G")
                        await writer.drain()
                        await asyncio.sleep(0.02)
            assert asyncio.get_running_loop().time() - began >= TURN
            assert not here.connections
            writer.close()

    asyncio.run(scene())


def test_who_never_reads_is_hung_up_and_costs_no_copy_of_the_page(monkeypatch):
    monkeypatch.setattr(connection, "TURN_SECONDS", 3.0)  # all eight come within one

    async def scene():
        async with served() as here:
            clients = [here.client() for _ in range(8)]
            for client in clients:
                client.sendall(GET * 3)
            await until(lambda: sum(one.flow.write_paused for one in here.connections) == 8)
            held = [one.transport.get_write_buffer_size() for one in here.connections]
            assert max(held) <= 2 * connection.PIECE_BYTES
            assert await lives(here.port)
            await until(lambda: not here.connections)
            await until(lambda: not here.server._server.server_state.tasks)
            for client in clients:
                client.close()

    asyncio.run(scene())


def test_who_reads_on_is_served_the_whole_page_however_often(_long_turns):
    """One connection, a page in many pieces; each turn has a deadline of its own."""

    async def scene():
        async with served() as here:
            reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
            deadlines = []
            for _ in range(5):
                writer.write(GET)
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
                assert b"content-length: %d\r\n" % len(PAGE) in head
                assert await asyncio.wait_for(reader.readexactly(len(PAGE)), 10) == PAGE
                writer.write(GET.replace(b"GET", b"HEAD"))
                assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
                [one] = here.connections
                await until(one._is_over)
                deadlines.append(one._deadline.when())
                one._time_is_up()  # between two turns that is nothing to it
            assert deadlines == sorted(set(deadlines))
            writer.close()

    asyncio.run(scene())


def test_a_crowd_of_silent_clients_takes_so_many_descriptors_and_no_more(monkeypatch):
    monkeypatch.setattr(connection, "MOST_CONNECTIONS", 40)
    monkeypatch.setattr(connection, "TURN_SECONDS", LONG_TURN)

    async def scene():
        async with served() as here:
            clients = [here.client() for _ in range(60)]
            loop = asyncio.get_running_loop()
            for late in clients[40:]:
                with suppress(ConnectionResetError):
                    assert await asyncio.wait_for(loop.sock_recv(late, 1), 5) == b""
            assert len(here.connections) == 40
            for client in clients:
                client.close()
            await until(lambda: not here.connections)
            assert await lives(here.port)

    asyncio.run(scene())
