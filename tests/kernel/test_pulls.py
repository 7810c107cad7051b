"""Profiles that tenants serve themselves: asked inside their own network, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.unit.profiles.made import HASH, MAIN, WEB, profile, read

from cotenant.agent.pull_http import Question, ask, listens
from cotenant.agent.pulls import Pulls
from cotenant.config.profile import Profiling
from cotenant.errors import CotenantError, RuntimeSilent
from cotenant.export import pprof
from cotenant.model import Kind, Profile, Tenant

pytestmark = pytest.mark.kernel

SERVER = """
import socket, sys, time
family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
listener = socket.create_server((sys.argv[2], int(sys.argv[1])), family=family)
answer = open(sys.argv[3], "rb").read()
print("ready", flush=True)
while True:
    peer, _ = listener.accept()
    print(peer.recv(4096).split(b"\\r\\n")[0].decode(), flush=True)
    try:
        peer.sendall(answer)
        if len(sys.argv) > 4:
            while True:
                time.sleep(0.1)
                peer.sendall(b"x")
    except OSError:
        pass
    peer.close()
"""
GOOD = profile({WEB: {(MAIN, HASH): 4}}, type="go/heap", unit="bytes", period=0)


def head(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.0 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def heap(found: Profile = GOOD) -> bytes:
    return pprof.render(replace(found, type="inuse_space"), labels=False)


class Serving:
    """A process that serves one answer, in a network of its own or in the host's."""

    def __init__(self, place: Path, answer: bytes, *, apart: bool, port: int = 6060,
                 address: str = "127.0.0.1", endless: bool = False) -> None:  # fmt: skip
        file = place / f"answer-{time.monotonic_ns()}"
        file.write_bytes(answer)
        words = [sys.executable, "-c", SERVER, str(port), address, str(file)]
        words += ["endless"] if endless else []
        inside = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]
        self.process = subprocess.Popen(
            [*(inside if apart else []), *words], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n"
        self.netns = os.stat(f"/proc/{self.process.pid}/ns/net").st_ino
        self.tenant = Tenant(
            key=1, name="web", kind=Kind.CONTAINER, path="/web", cgroups={},
            netns=self.netns if apart else None, main_pid=self.process.pid,
        )  # fmt: skip
        self.question = Question(self.tenant, port, "/debug/pprof", "heap", 1)

    def heard(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    made: list[Serving] = []

    def start(answer: bytes, **more) -> Serving:
        made.append(Serving(tmp_path, answer, **({"apart": True} | more)))
        return made[-1]

    yield start
    for one in made:
        one.stop()


def asked(question: Question, pids=lambda tenant: ()) -> Profile:
    """What came, asked in a thread that ends, as the agent does."""
    found: list[Profile] = []
    wrong: list[BaseException] = []

    def run() -> None:
        try:
            found.append(ask(question, pids))
        except BaseException as error:
            wrong.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    if wrong:
        raise wrong[0]
    return found[0]


def test_a_tenant_is_asked_in_its_own_network_and_the_agent_stays_in_its(serve):
    own = os.stat("/proc/self/ns/net").st_ino
    inside = serve(head(heap()), port=6061)
    outside = serve(head(b"the host's"), apart=False, port=6061)
    found = asked(inside.question)
    assert read(found) == {"web": {("main", "hash_all"): 4}}
    assert (found.type, found.unit, found.tenants) == ("go/heap", "bytes", (inside.tenant,))
    assert abs(found.until_s - time.time()) < 60 and found.from_s < found.until_s
    assert inside.heard() == "GET /debug/pprof/heap HTTP/1.0"
    assert os.stat("/proc/self/ns/net").st_ino == own
    outside.stop()


def test_one_that_listens_on_ipv6_only_is_reached_too(serve):
    found = asked(serve(head(heap()), address="::1").question)
    assert read(found)["web"]


def test_another_process_with_its_number_is_not_asked(serve):
    one = serve(head(heap()))
    moved = replace(one.tenant, netns=(one.tenant.netns or 0) + 1)
    with pytest.raises(RuntimeSilent, match="another process has its number"):
        asked(one.question._replace(tenant=moved))


def test_in_the_hosts_network_only_a_process_of_the_tenant_is_asked(serve):
    one = serve(head(heap()), apart=False, port=6062)
    with pytest.raises(RuntimeSilent, match="nothing of it listens on port 6062"):
        asked(one.question)
    with pytest.raises(RuntimeSilent, match="nothing of it listens"):
        asked(one.question, lambda tenant: [os.getpid()])
    assert asked(one.question, lambda tenant: [one.process.pid]).stacks
    assert not listens(6063, [one.process.pid])


def test_a_time_is_asked_for_where_a_profile_is_of_a_time(serve):
    one = serve(head(heap()))
    with pytest.raises(RuntimeSilent):  # heap values are no CPU time
        asked(one.question._replace(type="cpu", seconds=3))
    assert one.heard() == "GET /debug/pprof/profile?seconds=3 HTTP/1.0"


CLAIMS = replace(GOOD, tenants=(replace(WEB, name="somebody-else"),), notes=("believe me",))


def test_a_tenant_cannot_speak_for_another(serve):
    one = serve(head(pprof.render(replace(CLAIMS, type="inuse_space"))))
    found = asked(one.question)
    assert found.tenants == (one.tenant,)
    assert (found.notes, {stack.process for stack in found.stacks}) == ((), {""})


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "does not speak HTTP"),
        (b"SSH-2.0-OpenSSH\r\n", "does not speak HTTP"),
        (head(b"no", "404 Not Found"), "answers 404"),
        (b"HTTP/1.0 302 Found\r\nLocation: http://127.0.0.1:9/\r\n\r\n", "answers 302"),
        (head(b""), "empty"),
        (head(b"\x1f\x8bnonsense"), "cannot be unpacked"),
        (head(heap()[:-9]), "cut off"),
        (head(b"\xff" * 100), "."),
        (head(bytes(2 << 20)), "longer than 1 MiB"),
        (b"HTTP/1.0 200 OK\r\n" + b"x: y\r\n" * 100_000, "longer than 1 MiB|not speak HTTP"),
    ],
)
def test_whatever_it_answers_it_is_a_sentence(serve, answer, said):
    with pytest.raises(RuntimeSilent, match=said):
        asked(serve(answer).question)


def test_a_profile_that_unfolds_without_end_is_refused(serve):
    import gzip

    with pytest.raises(RuntimeSilent, match="larger than 4 MiB"):
        asked(serve(head(gzip.compress(bytes(64 << 20)))).question)


@pytest.mark.slow
def test_one_that_drips_is_left_when_its_time_is_up(serve):
    began = time.monotonic()
    with pytest.raises(RuntimeSilent, match="no answer in time"):
        asked(serve(b"HTTP/1.0 200 OK\r\n\r\n", endless=True).question)
    assert time.monotonic() - began < 30


def test_turns_ask_and_hand_over_without_waiting(serve):
    one = serve(head(heap()))
    labels = {"cotenant.io/pprof-port": "6060", "cotenant.io/pprof-types": "heap"}
    tenant = replace(one.tenant, labels=labels)
    took: list[Profile] = []
    pulls = Pulls(Profiling(pull_interval_s=1.0), took.append)
    deadline = time.monotonic() + 30
    while not took:
        assert time.monotonic() < deadline
        pulls.tick([tenant])
        time.sleep(0.05)
    row = pulls.row()
    assert row is not None and row.ok >= 1 and (row.failed, row.tenants) == (0, 1)
    assert read(took[0]) == {"web": {("main", "hash_all"): 4}}


def test_a_failure_is_counted_and_said(serve, caplog):
    one = serve(head(b"", "500 no"))
    labels = {"cotenant.io/pprof-port": "6060", "cotenant.io/pprof-types": "heap"}
    pulls = Pulls(Profiling(), lambda _: None)
    pulls.tick([replace(one.tenant, labels=labels)])
    deadline = time.monotonic() + 30
    while not (row := pulls.row()) or not row.failed:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "No heap profile of web:6060/debug/pprof: It answers 500." in caplog.text


def test_the_error_is_one_of_ours():
    assert issubclass(RuntimeSilent, CotenantError)
