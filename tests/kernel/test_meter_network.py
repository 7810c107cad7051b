"""Network: exact at the interface and at the cgroup, each against its own book."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.kernel.conftest import Cgroup, within
from tests.kernel.metering import at_rest, metering, of, tenant

from cotenant.kernel.cgroupfs import Hierarchies

DATAGRAMS, PAYLOAD = 500, 1000
IP_UDP = 28  # headers at layer 3: IPv4 20, UDP 8
_NUMBERS = itertools.count()
SEND = f"""
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range({DATAGRAMS}): s.sendto(b"x" * {PAYLOAD}, (sys.argv[1], 9))
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@pytest.fixture
def namespace() -> Iterator[str]:
    """A network namespace with one end of a veth pair, 198.18.0.2, peer 198.18.0.1 on the host."""
    number = next(_NUMBERS)
    name = f"ct-net{number}"
    ip("netns", "add", name)
    ip("link", "add", f"ctv{number}", "type", "veth", "peer", "name", "inside", "netns", name)
    ip("addr", "add", "198.18.0.1/30", "dev", f"ctv{number}")
    ip("link", "set", f"ctv{number}", "up")
    for words in (
        ("addr", "add", "198.18.0.2/30", "dev", "inside"),
        ("link", "set", "inside", "up"),
        ("link", "set", "lo", "up"),
    ):
        ip("-n", name, *words)
    yield name
    ip("netns", "del", name)


def inside_counter(pid: int, name: str) -> int:
    """A counter as the tenant itself reads it, from its own /proc/net/dev."""
    lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()
    fields = next(line.split(":")[1].split() for line in lines if "inside:" in line)
    return int(fields[{"received": 0, "sent": 8}[name]])


@pytest.mark.any_kernel
@pytest.mark.claim
def test_interface_counters_are_those_the_tenant_reads(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup], namespace: str
) -> None:
    group = cgroup("/ct-veth")
    process = group.spawn("ip", "netns", "exec", namespace, "sleep", "1000")
    runs = Path(f"/proc/{process.pid}/comm")
    assert within(60, lambda: runs.read_text() == "sleep\n"), "it has not entered its network"
    netns = Path(f"/proc/{process.pid}/ns/net").stat().st_ino
    who = tenant(hierarchies, group.path, process.pid)
    who = type(who)(
        who.key, who.name, who.kind, who.path, who.cgroups, main_pid=process.pid, netns=netns
    )
    with metering(hierarchies) as meter:
        first = of(meter.collect((who,)), who).interfaces
        assert first and [x.name for x in first] == ["inside"]
        sender = group.spawn(
            "ip", "netns", "exec", namespace, sys.executable, "-c", SEND, "198.18.0.1"
        )
        assert sender.wait(60) == 0
        # The kernel's own packets come now and then: of neighbours, of routers.
        last, booked = at_rest(
            lambda: [inside_counter(process.pid, name) for name in ("sent", "received")],
            lambda: of(meter.collect((who,)), who).interfaces,
        )
        assert last
        assert [last[0].sent_bytes, last[0].received_bytes] == booked
    # Ethernet adds 14 bytes; address resolution may add a few packets of its own.
    sent = last[0].sent_bytes - first[0].sent_bytes
    expected = DATAGRAMS * (PAYLOAD + IP_UDP + 14)
    assert expected <= sent < expected + 2000


@pytest.mark.any_kernel
@pytest.mark.claim
def test_cgroup_counters_are_exact_for_a_host_network_tenant(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> None:
    group = cgroup("/ct-udp")
    who = tenant(hierarchies, group.path)
    with metering(hierarchies) as meter:
        meter.collect((who,))
        assert group.spawn(sys.executable, "-c", SEND, "127.0.0.1").wait(60) == 0
        traffic = of(meter.collect((who,)), who).traffic
    assert traffic
    assert traffic.sent_packets == DATAGRAMS
    assert traffic.sent_bytes == DATAGRAMS * (PAYLOAD + IP_UDP)


@pytest.mark.any_kernel
@pytest.mark.claim
def test_a_tenant_keeps_the_traffic_of_a_cgroup_that_died_inside_it(
    hierarchies: Hierarchies, cgroup: Callable[[str], Cgroup]
) -> None:
    outer = cgroup("/ct-udp-outer")
    inner = cgroup("/ct-udp-outer/inner")
    who = tenant(hierarchies, outer.path)
    with metering(hierarchies) as meter:
        meter.collect((who,))
        assert inner.spawn(sys.executable, "-c", SEND, "127.0.0.1").wait(60) == 0
        inner.remove()
        traffic = of(meter.collect((who,)), who).traffic
    assert traffic and traffic.sent_bytes == DATAGRAMS * (PAYLOAD + IP_UDP)
