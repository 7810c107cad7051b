"""The control socket: what is asked is answered, whatever else is sent does no harm."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import threading
import time
import tracemalloc
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.snapshots import HOSTILE, make

from cotenant.errors import AgentSilent, CotenantError, InUse, NeedsRoot, UnknownTenant, UsageError
from cotenant.model import Kind, Lost, Memory, Sample, Snapshot, Tenant
from cotenant.web import answers, sockets
from cotenant.web.answers import Answers, encoded
from cotenant.web.control import (
    LONGEST_REQUEST,
    RELOAD,
    SNAPSHOT,
    TENANTS,
    Moment,
    Request,
    Verb,
    ask,
    is_there,
)
from cotenant.web.sockets import Seat

ECHO: Verb[dict[str, object]] = Verb("echo", dict[str, object])


@contextmanager
def serving(path: Path, handlers):
    """A control socket with those handlers, in an event loop of its own thread."""
    seat = Seat(path)
    server = Answers(handlers)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(seat.listener), loop).result(30)
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
        seat.close()


def no_tenant(match: str) -> None:
    raise UnknownTenant(f"No tenant answers to {match}.", "cotenant top --once")


def broken() -> None:
    raise RuntimeError("a fault")


HANDLERS: dict[str, Any] = {
    "echo": lambda **arguments: arguments,
    "tenants": no_tenant,
    "broken": broken,
    "reload": lambda: "done",
}


@pytest.fixture
def door(tmp_path):
    with serving(tmp_path / "a.sock", HANDLERS) as server:
        yield tmp_path / "a.sock", server


def send(path: Path, raw: bytes, *, answers: int = 1) -> list[Any]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(path))
        client.sendall(raw)
        lines = client.makefile("rb")
        return [json.loads(line) for line in (lines.readline() for _ in range(answers)) if line]


def test_a_question_has_an_answer(door):
    assert ask(door[0], ECHO, a=1, b="한국어\n") == {"a": 1, "b": "한국어\n"}


def test_one_connection_may_ask_again(door):
    asked = b'{"verb":"echo"}\n{"verb":"nothing"}\n{"verb":"echo","arguments":{"x":null}}\n'
    first, second, third = send(door[0], asked, answers=3)
    assert first == {"ok": {}}
    assert second["error"]["kind"] == "UsageError"
    assert third == {"ok": {"x": None}}


def test_the_agents_error_is_the_clients_error(door):
    with pytest.raises(UnknownTenant, match="No tenant answers to nix") as raised:
        ask(door[0], TENANTS, match="nix")
    assert raised.value.hint == "cotenant top --once"


def test_a_fault_in_the_agent_is_an_answer_too(door):
    with pytest.raises(CotenantError, match="A fault in the agent: RuntimeError"):
        ask(door[0], Verb("broken", str))
    assert ask(door[0], ECHO) == {}


def test_wrong_arguments_are_told(door):
    with pytest.raises(UsageError, match='"tenants" was asked in a wrong way'):
        ask(door[0], TENANTS, nonsense=1)


@pytest.mark.parametrize(
    "raw",
    [
        b"\n", b"hello\n", b"[1]\n", b'{"verb":1}\n', b'{"verb":"echo","more":1}\n', b"\xff\xfe\n",
        b"{" * 60_000 + b"\n", b"[" * 60_000 + b"\n", b'{"verb":"__class__"}\n',
        b"GET / HTTP/1.1\n",
    ],
)  # fmt: skip
def test_what_is_no_request_is_told_so_and_does_no_harm(door, raw):
    [answer] = send(door[0], raw)
    assert answer["error"]["kind"] == "UsageError"
    assert ask(door[0], ECHO) == {}


def test_a_request_that_is_too_long_ends_the_connection(door):
    [answer] = send(door[0], b"x" * (LONGEST_REQUEST + 10), answers=2)
    assert "at most 65536 bytes" in answer["error"]["sentence"]
    assert door[1].refused == 1
    assert ask(door[0], ECHO) == {}


@settings(max_examples=50)
@given(st.binary(max_size=300))
def test_no_line_at_all_stops_the_server(raw):
    server = Answers(HANDLERS)
    try:
        answered = asyncio.run(server._answer(raw, 1, 0))
    except CotenantError as error:
        answered = answers.failure(error)
    assert answered.endswith(b"\n") and answered.count(b"\n") == 1


def test_an_answer_that_takes_long_is_waited_for_and_others_are_not(tmp_path):
    begun, ready = threading.Event(), threading.Event()

    async def slow(word: str) -> dict[str, object]:
        begun.set()
        await asyncio.to_thread(ready.wait, 20)
        return {"word": word}

    path = tmp_path / "a.sock"
    with serving(path, {"echo": slow, "status": lambda: {"well": True}}):
        found: list[object] = []
        waiting = threading.Thread(target=lambda: found.append(ask(path, ECHO, word="x")))
        waiting.start()
        assert begun.wait(20)
        assert ask(path, Verb("status", dict[str, object])) == {"well": True}
        ready.set()
        waiting.join(20)
    assert found == [{"word": "x"}]


def test_only_root_and_the_agents_own_user_change_anything(door, monkeypatch):
    assert ask(door[0], RELOAD) == "done"
    monkeypatch.setattr(answers, "peer", lambda connection: (1, os.geteuid() + 1000, 1000))
    with pytest.raises(NeedsRoot, match="Only root may reload"):
        ask(door[0], RELOAD)
    assert ask(door[0], ECHO) == {}


def test_a_client_that_hangs_up_or_says_nothing_is_let_go(door, monkeypatch):
    with monkeypatch.context() as hasty:
        hasty.setattr(answers, "IDLE_SECONDS", 0.1)
        for part in (b"", b'{"verb"'):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(door[0]))
                client.sendall(part)
                client.settimeout(5)
                assert client.recv(100) == b""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(door[0]))
    assert ask(door[0], ECHO) == {}


def test_an_answer_is_not_kept_when_its_client_is_gone(tmp_path):
    """Not until the collector of garbage comes by, either: large answers are few objects to it."""
    size, path = 1 << 20, tmp_path / "a.sock"
    with serving(path, {"large": lambda: b'"' + b"x" * size + b'"'}):
        gc.disable()
        tracemalloc.start()
        try:
            for _ in range(20):
                assert len(ask(path, Verb("large", str))) == size
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            gc.enable()
    assert held < 5 * size


def test_a_client_that_never_reads_is_let_go(tmp_path, monkeypatch):
    asked = threading.Event()

    def big() -> str:
        asked.set()
        return "x" * 20_000_000

    with serving(tmp_path / "a.sock", {"big": big}) as server:
        with socket.socket(socket.AF_UNIX) as client, monkeypatch.context() as hasty:
            hasty.setattr(answers, "SLOW_SECONDS", 0.2)
            client.connect(str(tmp_path / "a.sock"))
            client.sendall(b'{"verb":"big"}\n')
            assert asked.wait(10)
            deadline = time.monotonic() + 10
            while server._tasks and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not server._tasks
        assert len(ask(tmp_path / "a.sock", Verb("big", str))) == 20_000_000


def test_too_many_at_once_are_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "MOST_CONNECTIONS", 2)
    with serving(tmp_path / "a.sock", HANDLERS):
        held = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        try:
            for client in held:
                client.connect(str(tmp_path / "a.sock"))
                client.sendall(b'{"verb":"echo"}\n')
                client.recv(100)
            with pytest.raises(CotenantError, match="Too many"):
                ask(tmp_path / "a.sock", ECHO)
        finally:
            for client in held:
                client.close()


def test_without_an_agent_the_client_says_what_to_type(tmp_path):
    with pytest.raises(AgentSilent, match="No agent answers on") as raised:
        ask(tmp_path / "none.sock", SNAPSHOT)
    assert raised.value.hint == "sudo cotenant agent"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "stale.sock"))
    stale.close()
    with pytest.raises(AgentSilent, match="No agent answers on"):
        ask(tmp_path / "stale.sock", SNAPSHOT)
    assert not is_there(tmp_path / "stale.sock")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (b"", "hung up"),
        (b'{"ok":', "hung up"),
        (b"not json\n", "speaks otherwise"),
        (b'{"ok":{"now":3}}\n', "speaks otherwise"),
        (b"{}\n", "speaks otherwise"),
        (None, "did not answer within"),
    ],
)
def test_an_agent_that_lies_or_hangs_is_silent(tmp_path, said, sentence):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "a.sock"))
    listener.listen()
    given_up = threading.Event()

    def play() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            if said is None:
                given_up.wait(30)
            else:
                connection.sendall(said)

    thread = threading.Thread(target=play)
    thread.start()
    try:
        with pytest.raises(AgentSilent, match=sentence):
            ask(tmp_path / "a.sock", SNAPSHOT, timeout_s=10 if said is not None else 0.3)
    finally:
        given_up.set()
        thread.join(30)
        listener.close()


def test_an_error_of_an_unknown_kind_is_an_error_all_the_same(tmp_path):
    async def answering(line, pid, uid):
        return b'{"error":{"kind":"SystemExit","sentence":"bye","hint":null}}\n'

    with serving(tmp_path / "a.sock", {}) as server:
        server._answer = answering
        with pytest.raises(CotenantError, match="bye"):
            ask(tmp_path / "a.sock", SNAPSHOT)


# --- what goes over the wire


def test_a_snapshot_comes_back_as_it_was():
    now, before = make(50, second=1), make(50)
    assert plain(over_the_wire(Moment(now, before))) == plain(Moment(now, before))


def test_none_stays_none_and_numbers_keep_all_their_digits():
    tenant = Tenant(1, "a", Kind.CONTAINER, "/a", {0: 2**64 - 1, 11: 3}, main_pid=None)
    nothing: list[Any] = [None] * (len(Memory.__struct_fields__) - 2)
    memory = Memory(2**64 - 1, 0, *nothing)
    sample = Sample(tenant, 2**63, memory=memory)
    snapshot = msgspec.structs.replace(make(1), samples=(sample,), lost=Lost(births=2**64 - 1))
    back = over_the_wire(Moment(snapshot)).now.samples[0]
    assert back.tenant.cgroups == {0: 2**64 - 1, 11: 3}
    assert back.memory == memory
    assert back.cpu is None and back.tenant.main_pid is None


def test_any_name_gets_across():
    back = over_the_wire(Moment(make(len(HOSTILE), names=HOSTILE)))
    assert [s.tenant.name.replace("\\udcff", "\udcff") for s in back.now.samples] == list(HOSTILE)


def over_the_wire(moment: Moment) -> Moment:
    return msgspec.json.decode(encoded(moment), type=Moment)


def plain(moment: Moment) -> object:
    return msgspec.to_builtins(moment, str_keys=True)


def test_a_request_on_the_wire_is_what_the_documentation_shows():
    assert msgspec.json.encode(Request("status")) == b'{"verb":"status","arguments":{}}'
    assert isinstance(make(1), Snapshot)


# --- the seat


def test_only_one_agent_sits_on_a_socket(tmp_path):
    seat = Seat(tmp_path / "run" / "a.sock")
    assert (tmp_path / "run" / "a.sock").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o755
    with pytest.raises(InUse, match=rf"Another agent runs here \(pid {os.getpid()}"):
        Seat(tmp_path / "run" / "a.sock")
    seat.close()
    assert list((tmp_path / "run").iterdir()) == []
    Seat(tmp_path / "run" / "a.sock").close()


def test_what_a_dead_agent_left_behind_is_replaced(tmp_path):
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "a.sock"))
    stale.close()
    (tmp_path / "a.sock.lock").write_text("")
    Seat(tmp_path / "a.sock").close()


def test_a_group_that_may_read_can_open_the_socket(tmp_path):
    import grp

    name = grp.getgrgid(os.getgid()).gr_name
    seat = Seat(tmp_path / "a.sock", name)
    assert (tmp_path / "a.sock").stat().st_mode & 0o777 == 0o660
    seat.close()
    with pytest.raises(UsageError, match='There is no group "nogroup-at-all"'):
        Seat(tmp_path / "b.sock", "nogroup-at-all")
    assert not (tmp_path / "b.sock").exists()


def test_a_place_where_no_socket_can_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CotenantError, match="Cannot make"):
        Seat(tmp_path / "file" / "a.sock")


def test_a_port_in_use_names_who_has_it():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InUse, match=rf"taken by .* \(pid {os.getpid()}\)"):
            sockets.listen(f"127.0.0.1:{port}")


def test_addresses():
    assert sockets.split_address("[::1]:7070") == ("::1", 7070)
    assert sockets.is_loopback("127.8.8.8") and sockets.is_loopback("::1")
    assert sockets.is_loopback("localhost") and not sockets.is_loopback("0.0.0.0")
    with pytest.raises(UsageError, match="no address of this host"):
        sockets.listen("192.0.2.1:7070")
    sockets.listen("[::1]:0").close()
