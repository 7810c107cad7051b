"""A debuginfod server that answers, one that does not, and what it may not send."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cotenant.profile.elf import BrokenElf
from cotenant.profile.symbols import debuginfod
from cotenant.profile.symbols.debuginfod import MOST_HERE, Server, fetch

ID = "ab" * 20
DEAD = "http://127.0.0.1:9"
"""Nobody listens there."""


class Told(http.server.BaseHTTPRequestHandler):
    """Answers with `status` and `content`, once `gate` is open."""

    content = b"a debug file"
    status = 200
    gate = threading.Event()
    paths: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.paths.append(self.path)
        self.gate.wait(10)
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Told, "paths", [])
    monkeypatch.setattr(Told, "gate", threading.Event())
    Told.gate.set()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Told) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()
        thread.join()


@pytest.fixture
def server(address: str) -> Iterator[Server]:
    with closing(Server(address + "/")) as server:
        yield server


def becomes(true: Callable[[], object]) -> bool:
    until = time.monotonic() + 10
    while not (found := true()) and time.monotonic() < until:
        time.sleep(0.01)
    return bool(found)


def arrived(server: Server) -> list[tuple[str, bytes]]:
    return [(build_id, file.read(0, file.size)) for build_id, file in server.come()]


def comes(server: Server, count: int) -> list[tuple[str, bytes]]:
    """So many files, as they arrive."""
    found: list[tuple[str, bytes]] = []

    def enough() -> bool:
        found.extend(arrived(server))
        return len(found) >= count

    assert becomes(enough), f"{len(found)} of {count} came"
    return found


def test_what_is_asked_for_comes_once(server: Server) -> None:
    assert server.waiting == 0 and arrived(server) == []
    server.ask(ID)
    assert server.waiting == 1
    assert comes(server, 1) == [(ID, b"a debug file")]
    assert server.waiting == 0
    server.ask(ID)
    assert server.waiting == 0, "that file was told"
    assert Told.paths == [f"/buildid/{ID}/debuginfo"]
    assert server.note == ""


def test_whoever_asks_does_not_wait(server: Server) -> None:
    Told.gate.clear()
    began = time.monotonic()
    for number in range(100):
        server.ask(f"{number:040x}")
    assert arrived(server) == [] and server.waiting == 100
    assert time.monotonic() - began < 5, "the server would have taken longer"
    Told.gate.set()
    assert becomes(lambda: len(server._here) == MOST_HERE)
    time.sleep(0.1)
    assert len(Told.paths) == MOST_HERE, "the next when one was read"
    assert [build_id for build_id, _ in comes(server, 100)] == [f"{n:040x}" for n in range(100)]


def test_a_file_that_it_does_not_have(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Told, "status", 404)
    server.ask(ID)
    assert becomes(lambda: server.waiting == 0)
    assert arrived(server) == []
    assert server.note == ""


@pytest.mark.parametrize("word", ["", "g" * 40, "../../etc", "AB" * 20, "a" * 129])
def test_no_build_id(server: Server, word: str) -> None:
    server.ask(word)
    assert server.waiting == 0


def test_a_server_in_trouble_is_left_alone_for_a_while(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Told, "status", 503)
    Told.gate.clear()
    for number in range(5):
        server.ask(f"{number:040x}")
    Told.gate.set()
    assert becomes(lambda: server.waiting == 0)
    assert len(Told.paths) == 1
    assert "HTTP status 503" in server.note
    server.ask(ID)
    assert server.waiting == 0, "not now"
    server._silent_until = 0
    monkeypatch.setattr(Told, "status", 200)
    server.ask("0" * 39 + "1")
    assert comes(server, 1)


def test_a_server_that_is_not_there() -> None:
    with closing(Server(DEAD)) as server:
        server.ask(ID)
        assert becomes(lambda: server.waiting == 0)
        assert server.note.startswith(f"The debuginfod server at {DEAD} gave no answer (")


def test_what_takes_too_long_or_too_much(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = fetch(address, ID, tmp_path)
    assert found and list(tmp_path.iterdir()) == [], "without a name"
    found.close()
    monkeypatch.setattr(debuginfod, "SIZE_LIMIT", 5)
    assert fetch(address, ID) is None
    monkeypatch.setattr(debuginfod, "SIZE_LIMIT", 500)
    Told.gate.clear()
    with pytest.raises(OSError, match="timed out"):
        fetch(address, ID, timeout_s=0.1)
    Told.gate.set()


def test_who_is_closed_keeps_no_file(address: str) -> None:
    server = Server(address)
    server.ask(ID)
    assert becomes(lambda: server._here)
    _, file = server._here[0]
    server.close()
    server.close()
    with pytest.raises(BrokenElf, match="Bad file descriptor"):
        file.read(0, 1)
