"""Docker that answers, refuses, lies or hangs."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cotenant.demo import engine as engine_room
from cotenant.demo import show
from cotenant.demo.engine import Engine, EngineRefused, find_engine
from cotenant.errors import HostCannot, RuntimeSilent

Serve = Callable[[bytes | None], Engine]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """A Docker that gives one answer to everything; None: it takes the request and is silent."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(tmp_path / "d.sock"))
    listening.listen()
    kept: list[socket.socket] = []

    def answer(said: bytes | None) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            kept.append(connection)
            if said is not None:
                connection.recv(65536)
                connection.sendall(said)
                connection.close()

    def start(said: bytes | None) -> Engine:
        threading.Thread(target=answer, args=(said,), daemon=True).start()
        return Engine(str(tmp_path / "d.sock"))

    yield start
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    for connection in kept:
        connection.close()


def http(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_containers_are_found_by_their_label(serve: Serve) -> None:
    docker = serve(http("200 OK", b"""[{"Id": "ab", "Names": ["/demo-01"], "State": "exited",
                                       "Labels": {"cotenant.demo": "1"}}]"""))  # fmt: skip
    (found,) = docker.labelled("cotenant.demo")
    assert (found.id, found.name, found.value, found.running) == ("ab", "demo-01", "1", False)


def test_a_refusal_is_told_in_dockers_words(serve: Serve) -> None:
    docker = serve(http("409 Conflict", b'{"message": "name in use."}'))
    with pytest.raises(EngineRefused, match="refuses POST /containers/create: name in use"):
        docker.create("demo-01", {})


def test_what_is_gone_is_removed(serve: Serve) -> None:
    serve(http("404 Not Found", b'{"message": "no such container"}')).remove("ab")


def test_an_image_that_fails_in_mid_stream_is_refused(serve: Serve) -> None:
    docker = serve(http("200 OK", b'{"status": "x"}\r\n{"error": "no space left"}'))
    with pytest.raises(EngineRefused, match="no space left"):
        docker.import_image("cotenant-demo-1", b"tar")


@pytest.mark.parametrize("said", [http("200 OK", b"<html>"), b"SSH-2.0\r\n", http("200 OK", b'"')])
def test_nonsense_is_no_answer(serve: Serve, said: bytes) -> None:
    with pytest.raises(RuntimeSilent):
        serve(said).version()


def test_a_hanging_docker_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_room, "HELLO_SECONDS", 0.1)
    docker = serve(None)
    with pytest.raises(RuntimeSilent, match=r"within 60 s|within 0.1 s"):
        docker.call("GET", "/version", seconds=0.1)


def test_without_a_socket_there_is_no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    assert find_engine() is None


def test_without_docker_plain_cgroups_are_taken_and_it_is_said(monkeypatch) -> None:
    said: list[str] = []
    party = show.Party([], [], [])
    monkeypatch.setattr(show, "find_engine", lambda: None)
    monkeypatch.setattr(show, "_as_cgroups", lambda _loads, _progress: party)
    assert show.up(2, None, said.append, lambda _d, _t: None) is party
    assert said == ["Docker does not run here. Plain cgroups instead."]


def test_without_docker_docker_cannot_be_insisted_on(monkeypatch) -> None:
    monkeypatch.setattr(show, "find_engine", lambda: None)
    with pytest.raises(RuntimeSilent, match="does not run here"):
        show.up(2, "docker", lambda _: None, lambda _d, _t: None)


def test_without_busybox_plain_cgroups_are_taken(monkeypatch) -> None:
    def no_busybox(_loads: object, _progress: object) -> show.Party:
        raise HostCannot("No busybox here to make an image from.")

    said: list[str] = []
    monkeypatch.setattr(show, "_as_containers", no_busybox)
    monkeypatch.setattr(show, "_as_cgroups", lambda _loads, _progress: show.Party([], [], []))
    show.up(None, None, said.append, lambda _d, _t: None)
    assert said == ["No busybox here to make an image from. Plain cgroups instead."]


def test_a_broken_state_file_means_look_everywhere(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(show, "STATE", tmp_path / "demo.json")
    assert show._state() == show.State()
    show._remember(show.State({"/sys/fs/cgroup/cgroup.subtree_control": ["io"]}))
    assert show._state().controllers == {"/sys/fs/cgroup/cgroup.subtree_control": ["io"]}
    (tmp_path / "demo.json").write_text("{")
    assert show._state() == show.State(docker=True)
