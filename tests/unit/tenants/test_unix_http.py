"""A peer that answers, lies, hangs, drips, floods or hangs up."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cotenant.errors import RuntimeSilent
from cotenant.tenants import unix_http
from cotenant.tenants.unix_http import NotAllowed, Stream, request

Manners = Callable[[socket.socket, bytes], None]
Serve = Callable[[Manners | bytes], str]
OK = b"HTTP/1.0 200 OK\r\n"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a peer with such manners, or one that says just this; the path of its socket."""
    listening = socket.socket(socket.AF_UNIX)
    path = str(tmp_path / "peer.sock")
    listening.bind(path)
    listening.listen()

    def start(manners: Manners | bytes) -> str:
        def work() -> None:
            with suppress(OSError):
                while True:
                    peer, _ = listening.accept()
                    with peer, suppress(OSError):
                        asked = peer.recv(1 << 16)
                        if isinstance(manners, bytes):
                            peer.sendall(manners)
                        else:
                            manners(peer, asked)

        threading.Thread(target=work, daemon=True).start()
        return path

    yield start
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def get(path: str, seconds: float = 5.0, limit: int = 1 << 20) -> tuple[int, bytes]:
    return request(path, "GET", "/x", seconds, limit)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (OK + b"\r\nall of it", (200, b"all of it")),
        (OK + b"Content-Length: 3\r\n\r\nall of it", (200, b"all")),
        (b"HTTP/1.1 404 Not Found\r\nX: y\r\ncontent-length:0\r\n\r\n", (404, b"")),
        (b"HTTP/1.0 204\r\n\r\n", (204, b"")),
    ],
)
def test_answers(serve: Serve, said: bytes, answer: tuple[int, bytes]) -> None:
    assert get(serve(said)) == answer


def test_what_is_announced_ends_it_though_the_peer_stays(serve: Serve) -> None:
    def stay(peer: socket.socket, asked: bytes) -> None:
        peer.sendall(OK + b"Content-Length: 2\r\n\r\nok")
        peer.recv(1)

    began = time.monotonic()
    assert get(serve(stay)) == (200, b"ok")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_what_is_asked(serve: Serve, method: str) -> None:
    body = b"{}" if method == "POST" else b""
    path = serve(lambda peer, asked: peer.sendall(OK + b"\r\n" + asked))
    _, asked = request(path, method, "/a?b=c", 5.0, 1 << 20, body, "text/x")
    head, _, sent = asked.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert (lines[0], sent) == (f"{method} /a?b=c HTTP/1.0".encode(), body)
    assert (b"Content-Length: 2" in lines, b"Content-Type: text/x" in lines) == (bool(body),) * 2


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (b"", "it hung up"),
        (OK, "it hung up"),
        (b"SSH-2.0-x\r\n\r\n", "does not speak HTTP"),
        (OK + b"Content-Length: 5\r\n\r\nfour", "after 4 of 5 bytes"),
        (OK + b"Content-Length: -1\r\n\r\n", "not as long"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "not as long"),
        (OK + b"X: " + b"y" * (1 << 17), "has no end"),
        (OK + b"Content-Length: 99999999\r\n\r\n", "larger than 1 MiB"),
        (OK + b"\r\n" + b"x" * (3 << 20), "larger than 1 MiB"),
    ],
)
def test_lies(serve: Serve, said: bytes, sentence: str) -> None:
    with pytest.raises(RuntimeSilent, match=sentence):
        get(serve(said))


def hang(peer: socket.socket, asked: bytes) -> None:
    peer.recv(1)


def drip(peer: socket.socket, asked: bytes) -> None:
    """Whoever waits for its end, though not for each byte, has an answer."""
    peer.sendall(OK + b"\r\n")
    for _ in range(1500):
        peer.sendall(b" ")
        time.sleep(0.02)


@pytest.mark.parametrize("manners", [hang, drip])
def test_time_is_for_all_of_it(serve: Serve, manners: Manners) -> None:
    began = time.monotonic()
    with pytest.raises(RuntimeSilent, match=r"within 0.2 s"):
        get(serve(manners), 0.2)
    assert time.monotonic() - began < 10


def test_who_does_not_read_is_given_up(serve: Serve) -> None:
    given_up = threading.Event()

    def stay(peer: socket.socket, asked: bytes) -> None:
        given_up.wait(60)

    try:
        with pytest.raises(RuntimeSilent, match=r"within 0.2 s"):
            request(serve(stay), "POST", "/x", 0.2, 1 << 20, b"x" * (8 << 20))
    finally:
        given_up.set()


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeSilent, match="nothing is there"):
        get(str(tmp_path / "none.sock"))
    with pytest.raises(RuntimeSilent):
        get("/" + "x" * 200)
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "dead.sock"))
    dead.close()
    with pytest.raises(RuntimeSilent, match="nobody listens"):
        get(str(tmp_path / "dead.sock"))

    def refuse(*_: object) -> socket.socket:
        raise PermissionError

    monkeypatch.setattr(unix_http, "_connected", refuse)
    with pytest.raises(NotAllowed, match="only root"):
        get("/x")


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: y", "/한"])
def test_a_target_cannot_smuggle(serve: Serve, target: str) -> None:
    with pytest.raises(RuntimeSilent, match="no target"):
        request(serve(b""), "GET", target, 5.0, 1 << 20)


def test_a_stream_gives_lines_as_they_come(serve: Serve) -> None:
    def tell(peer: socket.socket, asked: bytes) -> None:
        peer.sendall(OK + b"\r\none\ntw")
        time.sleep(0.05)
        peer.sendall(b"o\n" + b"x" * (unix_http.LINE_LIMIT + unix_http.CHUNK) + b"\nthree\nrest")

    assert list(Stream(serve(tell), "/events", 5.0).lines()) == [b"one", b"two", b"three"]


def test_a_stream_is_ended_from_another_thread(serve: Serve) -> None:
    def stay(peer: socket.socket, asked: bytes) -> None:
        peer.sendall(OK + b"\r\n")
        peer.recv(1)

    stream = Stream(serve(stay), "/events", 5.0)
    threading.Timer(0.1, stream.close).start()
    assert list(stream.lines()) == []


@pytest.mark.parametrize("said", [b"HTTP/1.0 500 Bad\r\n\r\n", b"", b"nonsense\r\n\r\n"])
def test_a_stream_that_does_not_start(serve: Serve, said: bytes) -> None:
    with pytest.raises(RuntimeSilent, match="No events"):
        Stream(serve(said), "/events", 5.0)


def test_a_stream_from_a_hanging_peer(serve: Serve) -> None:
    with pytest.raises(RuntimeSilent, match="does not answer in time"):
        Stream(serve(hang), "/events", 0.2)
