"""`cotenant bench meter`: it measures what it says, in its one form, and removes its tenants."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.conftest import within
from tests.kernel.metering import at_rest, booked_by_version

from cotenant.bench.peers.files import Files
from cotenant.bench.tenants import LABEL, PARENT, ground
from cotenant.bench.ways import Product
from cotenant.kernel.cgroupfs import Hierarchies

RUN = [sys.executable, "-m", "cotenant", "bench"]
SHORT = ["meter", "-n", "5", "--rounds", "3", "--peers", "files", "--agent-seconds", "0"]


def bench(*words: str) -> Any:
    done = subprocess.run([*RUN, *words, "--json"], capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def left(hierarchies: Hierarchies) -> list[str]:
    """Tenants of benchmarks that no longer run."""
    folders = [str(f) for t in hierarchies.trees for f in t.mount.glob(PARENT.format("*")[1:])]
    words = ["docker", "ps", "-aq", "--filter", f"label={LABEL}"]
    return (
        folders + subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()
    )


def asleep(hierarchies: Hierarchies, path: str) -> bool:
    """Whether the shell in that cgroup has become a sleeper."""
    names = [Path(f"/proc/{pid}/comm").read_text() for pid in hierarchies.pids(path)]
    return names == ["sleep\n"]


@pytest.mark.claim
def test_a_short_run_tells_ways_ratios_and_bars(hierarchies: Hierarchies) -> None:
    result = bench(*SHORT, "--scale", "5,20")
    rows = {row["way"]: row for row in result["rows"] if row["part"] == "collection"}
    assert {"bare", "cotenant", "files"} == set(rows), result["skipped"]
    assert rows["bare"]["cpu_ms"] < rows["cotenant"]["cpu_ms"] < rows["files"]["cpu_ms"]
    assert all(row["rss_mb"] > 5 and row["allocations"] >= 0 for row in rows.values())
    scaling = [row["tenants"] for row in result["rows"] if row["part"] == "scaling"]
    assert scaling == [5, 20]
    assert {bar["peer"] for bar in result["bars"]} >= {"bare", "files"}
    assert left(hierarchies) == []


def test_the_peer_that_reads_files_and_the_meter_agree(hierarchies: Hierarchies) -> None:
    with ground(hierarchies, "cgroup", lambda _done, _total: None) as made:
        made.grow(3)
        assert within(60, lambda: all(asleep(hierarchies, path) for path in made.ids))
        product = Product(hierarchies, made.owns, 3)
        try:
            peer = Files(hierarchies, product.tenants)
            found, (read, booked) = at_rest(
                lambda: (
                    peer.once(),
                    {path: booked_by_version(hierarchies, path) for path in made.ids},
                ),
                product.collect,
            )
        finally:
            product.close()
    for sample in found.samples:
        values = read[sample.tenant.name]
        assert sample.memory is not None and sample.pids is not None and sample.cpu is not None
        assert sample.memory.rss == values.get("total_rss", values.get("anon"))
        assert sample.pids.current == values["pids.current"] == 1
        assert sample.vm_bytes == values["vm_bytes"]
        usage_us = values.get("usage_usec")
        usage_ns = values.get("cpuacct.usage") or (usage_us or 0) * 1000
        books = booked[sample.tenant.path].values()
        assert usage_ns in books
        # it joined the trees one after the other, and the meter may read another one than the peer
        assert any(0 <= sample.cpu.usage_ns - ns < 1000 for ns in books)


def test_interrupted_it_still_removes_its_tenants(hierarchies: Hierarchies) -> None:
    with subprocess.Popen(
        [*RUN, *SHORT], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        while not left(hierarchies) and running.poll() is None:
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(running.pid, signal.SIGTERM)
        assert running.wait(180) == 130
    assert left(hierarchies) == []


def test_what_a_killed_one_left_goes_with_the_next(hierarchies: Hierarchies) -> None:
    words = [*RUN, *SHORT, "-n", "1000", "--scale", "none"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        while not left(hierarchies) and running.poll() is None:
            time.sleep(0.05)
        running.kill()
    assert left(hierarchies) != []
    with ground(hierarchies, "cgroup", lambda _done, _total: None):
        pass
    assert left(hierarchies) == []
