"""The request loop: a client that asks so long as it is told to, and tells each answer's time."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from cotenant.bench.requests import LOOP, Requests, _connected, _wait_for
from cotenant.errors import CotenantError


def test_it_tells_the_time_of_every_request(tmp_path: Path) -> None:
    server, control = tmp_path / "server", tmp_path / "control"
    words = [sys.executable, "-I", "-S", str(LOOP)]
    with subprocess.Popen([*words, "serve", str(server)]) as serving:
        _wait_for(server)
        with subprocess.Popen([*words, "ask", str(server), str(control)]) as asking:
            _wait_for(control)
            requests = Requests(_connected(control), "a loop")
            for milliseconds in (300, 600):  # more than one, also where the first takes long
                start = time.perf_counter_ns()
                times = requests.ask(milliseconds)
                took_ns = time.perf_counter_ns() - start
                assert len(times) > 1 and all(ns > 0 for ns in times)
                assert sum(times) < took_ns
                assert took_ns > milliseconds * 1_000_000
            asking.kill()
            with pytest.raises((CotenantError, OSError)):
                requests.ask(20)
            requests.close()
        serving.kill()
