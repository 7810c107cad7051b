"""Profiles on their way: real requests over the loopback, to servers that do as they like."""

from __future__ import annotations

import gzip
import logging
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise

import pytest
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)
from tests.unit.export.proto import Message
from tests.unit.profiles.made import MAIN, POD, WEB, Stacks, profile, read
from tests.unit.profiles.servers import Answer, Got, serving

from cotenant.agent.push_http import Outcome, outcome
from cotenant.agent.push_queue import Parcel, Queue
from cotenant.agent.pushes import MOST_WAITING, Pushes, chosen
from cotenant.config.profile import BasicAuth, PushTarget
from cotenant.export.profile_families import PushRow
from cotenant.model import Kind, Tenant


@contextmanager
def pushing(*targets: PushTarget) -> Iterator[Pushes]:
    pushes = Pushes(targets, "node-1")
    try:
        yield pushes
    finally:
        pushes.close()


def quick(url: str, **more) -> PushTarget:
    return PushTarget(url=url, **({"min_backoff_s": 0.01, "max_backoff_s": 0.02} | more))


def until(right: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not right():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.005)


def counts(pushes: Pushes) -> PushRow:
    [found] = pushes.counts()
    return found


def services(got: Got) -> list[str]:
    """Service names in a push request."""
    names = []
    for series in Message(got.body).all(1):
        names += [one.text(2) for one in series.all(1) if one.text(1) == "service_name"]
    return names


def test_a_profile_arrives_with_all_that_the_target_says(tmp_path):
    (tmp_path / "password").write_text("s3cret\n")
    with serving() as server:
        target = quick(
            server.url + "/base/",
            tenant_id="team-a",
            headers={"x-team": "sre"},
            external_labels={"cluster": "eu"},
            service_name="ebpf/{namespace}/{container}",
            basic_auth=BasicAuth("me", str(tmp_path / "password")),
        )
        with pushing(target) as pushes:
            pushes.offer(profile())
            server.wait()
            until(lambda: counts(pushes).sent_bytes > 0)  # the last of all that is counted
            found = counts(pushes)
    [got] = server.got
    assert found.sent == 2
    assert got.path == "/base/push.v1.PusherService/Push"
    assert got.headers["content-type"] == "application/proto"
    assert got.headers["x-scope-orgid"] == "team-a"
    assert got.headers["x-team"] == "sre"
    assert got.headers["authorization"] == "Basic bWU6czNjcmV0"
    assert services(got) == ["web", "ebpf/shop/app"]
    assert found.sent_bytes == len(got.body)
    assert (found.queued, found.queue_bytes, found.dropped, found.refused) == (0, 0, 0, 0)


def test_otlp_is_spoken_to_who_wants_it():
    with serving() as server, pushing(quick(server.url, kind="otlp")) as pushes:
        pushes.offer(profile())
        server.wait(2)
        until(lambda: counts(pushes).sent == 2)
    for got in server.got:
        assert got.path == "/v1development/profiles"
        assert got.headers["content-type"] == "application/x-protobuf"
        assert got.headers["content-encoding"] == "gzip"
        request = ExportProfilesServiceRequest.FromString(gzip.decompress(got.body))
        assert len(request.resource_profiles) == 1


def test_a_token_is_read_anew_at_each_push(tmp_path):
    token = tmp_path / "token"
    token.write_text("one")
    with (
        serving() as server,
        pushing(quick(server.url, bearer_token_file=str(token))) as pushes,
    ):
        pushes.offer(profile())
        server.wait()
        until(lambda: counts(pushes).sent == 2)
        token.write_text("two\n")
        pushes.offer(profile())
        server.wait()
    assert [got.headers["authorization"] for got in server.got] == ["Bearer one", "Bearer two"]


def test_a_token_that_is_not_there_yet_is_waited_for(tmp_path, caplog):
    token = tmp_path / "token"
    with (
        serving() as server,
        pushing(quick(server.url, bearer_token_file=str(token), max_retries=1000)) as pushes,
    ):
        pushes.offer(profile())
        until(lambda: counts(pushes).retries >= 2)
        assert not server.got
        token.write_text("late")
        server.wait()
    assert "No such file" in caplog.text


@pytest.mark.parametrize("status", [429, 408, 500, 503])
def test_a_busy_server_is_asked_again_until_it_takes_all(status):
    answers = iter([Answer(status, b"not now")] * 3)
    with (
        serving(lambda got: next(answers, Answer())) as server,
        pushing(quick(server.url)) as pushes,
    ):
        pushes.offer(profile())
        until(lambda: counts(pushes).sent == 2)
        found = counts(pushes)
    assert (found.retries, found.gave_up, len(server.got)) == (3, 0, 4)
    assert len({got.body for got in server.got}) == 1


def test_pauses_double_up_to_the_longest_and_are_not_all_alike():
    times: list[float] = []

    def judge(got: Got) -> Answer:
        times.append(time.monotonic())
        return Answer(503)

    with serving(judge) as server:
        target = quick(server.url, min_backoff_s=0.1, max_backoff_s=0.4, max_retries=4)
        with pushing(target) as pushes:
            pushes.offer(profile())
            server.wait(5)
            until(lambda: counts(pushes).gave_up == 2)
    pauses = [after - before for before, after in pairwise(times)]
    for pause, least in zip(pauses, (0.05, 0.1, 0.2, 0.2), strict=True):
        assert pause >= least * 0.99


def test_a_server_may_ask_for_a_longer_pause():
    times: list[float] = []

    def judge(got: Got) -> Answer:
        times.append(time.monotonic())
        return Answer(429, headers=(("retry-after", "1"),)) if len(times) == 1 else Answer()

    with (
        serving(judge) as server,
        pushing(quick(server.url, max_backoff_s=5)) as pushes,
    ):
        pushes.offer(profile())
        server.wait(2)
    assert times[1] - times[0] >= 0.99


def test_after_its_retries_a_push_is_given_up_and_the_next_one_tried():
    with (
        serving(lambda got: Answer(500 if "web" in services(got) else 200)) as server,
        pushing(quick(server.url, max_retries=2)) as pushes,
    ):
        pushes.offer(profile({WEB: {(MAIN,): 1}}))
        until(lambda: counts(pushes).gave_up == 1)
        pushes.offer(profile({POD: {(MAIN,): 1}}))
        until(lambda: counts(pushes).sent == 1)
        found = counts(pushes)
    assert found.retries == 2 and len(server.got) == 4


def test_what_is_refused_is_dropped_counted_and_said_once(caplog):
    said = b'{"code":"unauthenticated","message":"who\\nare you?"}'
    with serving(lambda got: Answer(401, said)) as server, pushing(quick(server.url)) as pushes:
        for number in range(3):
            pushes.offer(profile())
            until(lambda: counts(pushes).refused == 2 * (number + 1))  # noqa: B023
        found = counts(pushes)
    assert (found.sent, found.retries, found.queued, len(server.got)) == (0, 0, 0, 3)
    assert caplog.text.count("who are you?") == 1
    assert "\nare you" not in caplog.text


def test_one_bad_profile_does_not_cost_the_others():
    def judge(got: Got) -> Answer:
        return Answer(400, b'{"message":"bad web"}') if "web" in services(got) else Answer()

    with serving(judge) as server, pushing(quick(server.url)) as pushes:
        pushes.offer(profile())
        until(lambda: counts(pushes).sent == 1)
        found = counts(pushes)
    assert found.refused == 1
    assert [services(got) for got in server.got] == [["web", "shop/app"], ["web"], ["shop/app"]]


def test_what_otlp_leaves_out_of_a_push_that_it_took_is_counted():
    partial = b"\x0a\x04\x08\x01\x12\x00"  # partial_success { rejected_profiles: 1 }
    with (
        serving(lambda got: Answer(200, partial)) as server,
        pushing(quick(server.url, kind="otlp")) as pushes,
    ):
        pushes.offer(profile({WEB: {(MAIN,): 1}}))
        until(lambda: counts(pushes).refused == 1)
        assert counts(pushes).sent == 0
    assert server.got


def test_a_server_that_hangs_holds_up_neither_the_caller_nor_another_server():
    with serving(lambda got: server_that_waits(got)) as hung, serving() as other:

        def server_that_waits(got: Got) -> Answer:
            hung.release.wait(60)
            return Answer()

        with pushing(quick(hung.url, timeout_s=60), quick(other.url)) as pushes:
            pushes.offer(profile())
            hung.wait()
            for _ in range(3 * MOST_WAITING):
                began = time.monotonic()
                pushes.offer(profile())
                assert time.monotonic() - began < 30, "the server hangs for twice as long"
            until(lambda: pushes.counts()[1].sent >= 2)
            stuck = pushes.counts()[0]
            assert stuck.sent == 0
            assert stuck.dropped == 2 * (3 * MOST_WAITING - MOST_WAITING)
            hung.release.set()


def test_a_server_that_answers_nothing_is_tried_again_after_the_time_it_has():
    with serving(lambda got: silent(got)) as server:

        def silent(got: Got) -> Answer:
            if len(server.got) == 1:
                server.release.wait(60)
            return Answer()

        with pushing(quick(server.url, timeout_s=2.0)) as pushes:
            pushes.offer(profile())
            until(lambda: counts(pushes).sent == 2)
            assert counts(pushes).retries == 1


def test_an_answer_without_end_is_not_read_to_its_end():
    """Whoever comes is served so: a push that the machine held up for too long comes again."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    stop = threading.Event()

    def drip() -> None:
        while not stop.is_set():
            with suppress(OSError):
                peer, _ = listener.accept()
                with peer:
                    peer.recv(1 << 16)
                    peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
                    while not stop.wait(0.05):
                        peer.sendall(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pushing(quick(url, timeout_s=0.5)) as pushes:
            pushes.offer(profile())
            until(lambda: counts(pushes).sent == 2)
    finally:
        stop.set()
        thread.join()
        listener.close()


def test_what_finds_no_room_is_dropped_oldest_first_and_counted():
    many: Stacks = {
        Tenant(key=n, name=f"t{n:03d}", kind=Kind.CONTAINER, path=f"/{n}", cgroups={}): {(MAIN,): 1}
        for n in range(400)
    }
    state = {"status": 503}
    with serving(lambda got: Answer(state["status"])) as server:
        target = quick(server.url, queue_bytes=1 << 16, max_retries=100_000)
        with pushing(target) as pushes:
            pushes.offer(profile(many))
            until(lambda: counts(pushes).dropped > 0 and counts(pushes).retries > 0)
            held = counts(pushes)
            assert held.queue_bytes <= 1 << 16
            assert held.queued + held.dropped == 400
            state["status"] = 200
            until(lambda: counts(pushes).sent == held.queued)
    arrived = [name for got in server.got for name in services(got)]
    assert arrived[-held.queued :] == [f"t{n:03d}" for n in range(held.dropped, 400)]


def test_targets_get_the_tenants_and_types_that_they_want():
    with serving() as one, serving() as two:
        targets = (
            quick(one.url, tenants=("shop/*",), tenant_id="shop"),
            quick(two.url, types=("go/*",)),
        )
        with pushing(*targets) as pushes:
            pushes.offer(profile())
            pushes.offer(profile({WEB: {(MAIN,): 2}}, type="go/heap", unit="bytes"))
            until(lambda: [found.sent for found in pushes.counts()] == [1, 1])
    assert [services(got) for got in one.got] == [["shop/app"]]
    assert [services(got) for got in two.got] == [["web"]]


def test_what_waits_for_a_server_that_stays_goes_on_waiting():
    state = {"status": 503}
    with serving(lambda got: Answer(state["status"])) as server, serving() as gone:
        stays = quick(server.url, max_retries=100_000)
        with pushing(stays, quick(gone.url)) as pushes:
            pushes.offer(profile())
            until(lambda: pushes.counts()[0].retries > 0)
            pushes.configure([quick(server.url, max_retries=100_000)])
            assert counts(pushes).queued == 2
            state["status"] = 200
            until(lambda: counts(pushes).sent == 2)
    until(lambda: not [t for t in threading.enumerate() if t.name.startswith("push-")])


def test_a_certificate_that_is_not_known_is_refused_unless_told_otherwise(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    words = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run(
        ["openssl", "req", "-x509", *words, "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", key, "-out", certificate], check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(tls=context) as server:
        url = server.url
        with pushing(
            quick(url, max_retries=0, name="unknown"),
            quick(url, tls_ca_file=str(certificate), name="known"),
            quick(url, tls_insecure_skip_verify=True, name="any"),
        ) as pushes:
            pushes.offer(profile())
            until(lambda: [one.sent + one.gave_up for one in pushes.counts()] == [2, 2, 2])
            found = {one.target: one.sent for one in pushes.counts()}
    assert found == {"unknown": 0, "known": 2, "any": 2}


def test_an_agent_that_pushes_nothing_does_not_pay_for_it():
    code = (
        "import sys; from cotenant.agent.pushes import Pushes; Pushes([], 'n').close(); "
        "sys.exit('httpx' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_queue_gives_what_fits_and_forgets_what_is_old():
    queue = Queue(100)
    for number in range(5):
        queue.add(Parcel(b"x" * 30, float(number)))
    assert (len(queue), queue.bytes, queue.dropped) == (3, 90, 2)
    assert [one.made for one in queue.first(60, 9)] == [2.0, 3.0]
    assert [one.made for one in queue.first(10, 9)] == [2.0]
    assert [one.made for one in queue.first(99, 1)] == [2.0]
    assert queue.forget(before=3.5) == 2
    queue.add(Parcel(b"x" * 101, 9.0))
    assert (len(queue), queue.bytes, queue.dropped) == (1, 30, 3)


@pytest.mark.parametrize(
    ("status", "said", "wanted"),
    [
        (200, b"", Outcome(status=200)),
        (204, b"anything", Outcome(status=204)),
        (400, b"plain words", Outcome(refused=-1, status=400, why="plain words")),
        (404, b"", Outcome(refused=-1, status=404, why="status 404")),
        (500, b"[1]", Outcome(again=True, status=500, why="[1]")),
        (422, b'{"message": 3}', Outcome(refused=-1, status=422, why='{"message": 3}')),
        (301, b"", Outcome(refused=-1, status=301, why="status 301")),
        (400, b"[" * 5000, Outcome(refused=-1, status=400, why="[" * 300)),
        (400, b"\xff\n\n a", Outcome(refused=-1, status=400, why="\ufffd a")),
    ],
)
def test_what_an_answer_means(status, said, wanted):
    assert outcome(status, {}, said) == wanted


def test_what_a_target_wants_of_a_profile():
    one = profile()
    assert chosen(one, (), ()) is one
    assert chosen(one, (), ("cpu",)) is one
    assert chosen(one, (), ("go/*", "off-cpu")) is None
    assert chosen(one, ("nobody",), ()) is None
    part = chosen(one, ("w?b",), ())
    assert part is not None and list(read(part)) == ["web"]


@pytest.fixture(autouse=True)
def said(caplog):
    caplog.set_level(logging.INFO, "cotenant.agent")
