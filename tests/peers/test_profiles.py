"""Profiles and the rest of the world: a real Go server is asked, a receiver that has Pyroscope's
own messages takes what is pushed. Both are built with Go the first time: `make test-peers`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from peers.pyroscope import build
from tests.kernel.conftest import docker, docker_image, within
from tests.unit.profiles.made import MAIN, POD, WEB, Stacks, profile
from tests.unit.profiles.test_pushes import until

from cotenant.agent.pushes import Pushes
from cotenant.config.profile import PushTarget
from cotenant.export import pprof
from cotenant.model import Frame, FrameKind
from cotenant.web.control import PROFILE, STATUS, ask
from cotenant.web.sockets import listen

pytestmark = pytest.mark.kernel
__all__ = ["docker_image"]

GO_SERVER = Path(__file__).parent / "goserver"
NOW = time.time()


class Receiver:
    """The receiver, running. `query` gives each series that has these labels."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [build()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        self.url = f"http://{self.process.stdout.readline().strip()}"

    def query(self, **labels: str) -> list[dict[str, Any]]:
        words = urllib.parse.urlencode(labels)
        with urllib.request.urlopen(f"{self.url}/query?{words}", timeout=10) as answer:
            found = json.load(answer)
        assert isinstance(found, list)
        return found

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            pipe.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.stop()


@contextmanager
def pushing(receiver: Receiver, **more: Any) -> Iterator[Pushes]:
    pushes = Pushes([PushTarget(url=receiver.url, **more)], "node-1")
    try:
        yield pushes
    finally:
        pushes.close()


ODD: Stacks = {
    replace(WEB, name="odd \udcff\n", namespace="né"): {
        (MAIN, Frame("operator<<\x00\ud800 <é>", FrameKind.NATIVE, module="/\udcfe")): 3,
        tuple([Frame("deep", FrameKind.PYTHON)] * 1500): 2,
    }
}


def test_what_is_pushed_is_taken_and_queried_back(receiver):
    one = profile(from_s=NOW - 30)
    with pushing(receiver, tenant_id="team", external_labels={"cluster": "eu"}) as pushes:
        for part in (one, replace(one, from_s=NOW - 15, until_s=NOW)):
            pushes.offer(part)
        until(lambda: pushes.counts()[0].sent == 4)
    [web] = receiver.query(service_name="web", __name__="process_cpu")
    assert web == {
        "labels": {
            "__name__": "process_cpu", "service_name": "web", "node": "node-1", "tenant": "web",
            "cluster": "eu", "pyroscope_spy": "cotenant",
        },
        "org_id": "team",
        "type": "cpu:nanoseconds:cpu:nanoseconds",
        "stacks": {"main;Server.serve;hash_all": 600_000_000,
                   "main;Server.serve;vfs_read": 200_000_000},
        "pushes": 2,
        "samples": 80,
    }  # fmt: skip
    [pod] = receiver.query(namespace="shop", pod="api-7", container="app")
    assert pod["labels"]["service_name"] == "shop/app"
    assert pod["stacks"] == {"main;hash_all": 100_000_000}


@pytest.mark.parametrize(
    ("kind", "unit", "name", "type_"),
    [
        ("off-cpu", "nanoseconds", "off_cpu", "off_cpu:nanoseconds:off_cpu:nanoseconds"),
        ("alloc", "bytes", "memory", "alloc_space:bytes:space:bytes"),
        ("faults", "count", "page_faults", "faults:count:faults:count"),
        ("go/mutex", "nanoseconds", "mutex", "delay:nanoseconds:delay:nanoseconds"),
    ],
)
def test_each_type_is_taken_under_its_name(receiver, kind, unit, name, type_):
    with pushing(receiver) as pushes:
        pushes.offer(profile(type=kind, unit=unit, from_s=NOW))
        until(lambda: pushes.counts()[0].sent == 2)
    assert {one["type"] for one in receiver.query(__name__=name)} == {type_}


def test_names_that_are_no_text_and_stacks_too_deep_are_taken(receiver):
    with pushing(receiver) as pushes:
        pushes.offer(profile(ODD, from_s=NOW))
        until(lambda: pushes.counts()[0].sent == 1)
        assert pushes.counts()[0].cut == 1
    [one] = receiver.query()
    assert one["labels"]["namespace"] == "né"
    assert sorted(stack.count(";") for stack in one["stacks"]) == [1, 999]


def test_more_than_a_server_takes_at_once_arrives_whole(receiver):
    frames = [Frame(f"f{number}", FrameKind.NATIVE) for number in range(200)]
    many: Stacks = {WEB: {(a, b): 1 for a in frames for b in frames}}
    with pushing(receiver) as pushes:
        pushes.offer(profile(many, from_s=NOW))
        until(lambda: pushes.counts()[0].sent == 4)
    [one] = receiver.query(service_name="web")
    assert (len(one["stacks"]), one["samples"]) == (40_000, 40_000)


def test_what_the_server_refuses_is_counted_and_said(receiver, caplog):
    with pushing(receiver) as pushes:
        pushes.offer(profile(from_s=time.time() - 7200))  # NOW may be minutes ago: Go was built
        until(lambda: pushes.counts()[0].refused == 2)
    assert "its time is 2h0m" in caplog.text
    assert receiver.query() == []


def test_otlp_is_taken_and_queried_back(receiver):
    with pushing(receiver, kind="otlp") as pushes:
        pushes.offer(profile(from_s=NOW))
        pushes.offer(profile(ODD, from_s=NOW))
        until(lambda: pushes.counts()[0].sent == 3)
    [web] = receiver.query(**{"service.name": "web"})
    assert web["type"] == "samples:count:cpu:nanoseconds"
    assert web["stacks"] == {"main;Server.serve;hash_all": 30, "main;Server.serve;vfs_read": 10}
    [pod] = receiver.query(**{"k8s.pod.name": POD.pod or ""})
    assert pod["labels"]["service.name"] == "shop/app"


class Agent:
    """An agent of its own, on free ports, that pushes to the receiver and asks every 2 s."""

    def __init__(self, place: Path, receiver: Receiver) -> None:
        self.socket = place / "agent.sock"
        with listen("127.0.0.1:0") as free:
            self.http = f"127.0.0.1:{free.getsockname()[1]}"
        (place / "c.toml").write_text(
            f'noise = false\nsocket = "{self.socket}"\nhttp = "{self.http}"\n'
            f'[profile]\ndirectory = "{place}/profiles"\npull_interval_s = 2\n'
            f'[[profile.push]]\nurl = "{receiver.url}"\nservice_name = "go/{{tenant}}"\n'
        )
        self.log = place / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cotenant", "agent", "--config", place / "c.toml"],
                stderr=log,
            )

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://{self.http}{path}", timeout=30) as answer:
            found = answer.read()
        assert isinstance(found, bytes)
        return found

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(15) == 0


def test_a_real_go_server_is_asked_kept_served_and_pushed(tmp_path, receiver, docker_image):
    binary = build(GO_SERVER, "goserver")
    docker("rm", "-f", "tn-go", check=False)
    docker(
        "run", "-d", "--name", "tn-go", "--network", "none", "-v", f"{binary}:/goserver:ro",
        "--label", "cotenant.io/pprof-port=6060",
        "--label", "cotenant.io/pprof-types=cpu,heap,goroutine,allocs",
        docker_image, "/goserver", "127.0.0.1:6060",
    )  # fmt: skip
    agent = Agent(tmp_path, receiver)
    try:
        pushed = lambda: {one["type"] for one in receiver.query(service_name="go/tn-go")}  # noqa: E731
        assert within(60, lambda: len(pushed()) >= 4), agent.log.read_text()
        assert pushed() == {
            "cpu:nanoseconds:cpu:nanoseconds", "inuse_space:bytes:space:bytes",
            "goroutine:count:goroutine:count", "alloc_space:bytes:space:bytes",
        }  # fmt: skip
        # Long enough that the shares are known: some 400 samples.
        assert within(60, lambda: spun(agent)[0] > 4e9)
        long, short = spun(agent)[1:]
        assert abs(long / (long + short) - 0.75) < 0.06
        heap = pprof.parse(agent.get("/api/profile?tenant=tn-go&type=go/heap"))
        held = sum(s.value for s in heap.stacks if "main.holdMemory" in names(heap, s.frames))
        assert 24 << 20 < held < 40 << 20
        assert heap.tenants[0].name == "tn-go"
        over_socket = ask(agent.socket, PROFILE, tenant="tn-go", type="go/cpu")
        assert "main.spinLong" in {frame.name for frame in over_socket.frames}
        page = agent.get("/metrics").decode()
        assert 'cotenant_profile_pulled_total{outcome="ok"}' in page
        assert 'outcome="sent"' in page
        assert ask(agent.socket, STATUS).samples > 0
    finally:
        agent.stop()
        docker("rm", "-f", "tn-go", check=False)
    assert os.stat(tmp_path / "profiles").st_mode & 0o777 == 0o700


def names(found: Any, frames: tuple[int, ...]) -> set[str]:
    return {found.frames[frame].name for frame in frames}


def spun(agent: Agent) -> tuple[int, int, int]:
    """CPU time of the Go server as its own profiles tell it: all, spinLong's, spinShort's."""
    found = pprof.parse(agent.get("/api/profile?tenant=tn-go&type=go/cpu"))
    total = sum(stack.value for stack in found.stacks)
    parts = [
        sum(s.value for s in found.stacks if f"main.{name}" in names(found, s.frames))
        for name in ("spinLong", "spinShort")
    ]
    return total, parts[0], parts[1]
