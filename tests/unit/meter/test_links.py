"""Interfaces of tenants, counted from the host's end of each veth pair."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.meter.trees import tenant

from cotenant.errors import KernelRefused
from cotenant.kernel.netlink import Counters, Link
from cotenant.meter.links import Links, is_hosts, mirrored, own
from cotenant.model import Interface

COUNTED = Counters(*range(1, 9))
ETH0 = Link(2, "eth0", "", None, None, COUNTED)


class FakeNetlink:
    """A network as rtnetlink tells it. `asked` counts what is dear: dumps of links."""

    def __init__(self) -> None:
        self.here: list[Link] = [ETH0]
        self.inside: dict[int, list[Link]] = {}
        self.nsids: dict[int, int | None] = {}
        self.asked = 0
        self.closed = False

    def counters(self) -> dict[int, Counters]:
        return {link.number: link.counters for link in self.here if link.counters}

    def links(self, nsid: int | None = None) -> list[Link]:
        self.asked += 1
        if nsid is None:
            return self.here
        if nsid not in self.inside:
            raise KernelRefused("No such namespace.")
        return self.inside[nsid]

    def nsid_of(self, pid: int) -> int | None:
        if pid not in self.nsids:
            raise ProcessLookupError(pid)
        return self.nsids[pid]

    def close(self) -> None:
        self.closed = True

    def add_pair(self, number: int, pid: int, nsid: int, name: str = "eth0") -> None:
        """A veth pair between here and the namespace `nsid` of process `pid`."""
        self.here.append(Link(number, f"veth{number}", "veth", 100 + number, nsid, COUNTED))
        inner = Link(100 + number, name, "veth", number, 0, Counters(*[0] * 8))
        self.inside.setdefault(nsid, [Link(1, "lo", "", None, None, COUNTED)]).append(inner)
        self.nsids[pid] = nsid


@pytest.fixture
def network() -> FakeNetlink:
    return FakeNetlink()


@pytest.fixture
def links(network: FakeNetlink) -> Links:
    return Links(network)  # type: ignore[arg-type]


def contained(key: int = 1, pid: int = 50, **more: Any):
    return tenant(key=key, main_pid=pid, netns=4026530000 + key, **more)


def test_what_is_sent_at_the_hosts_end_is_received_inside():
    seen = mirrored("eth0", Counters(
        rx_packets=1, tx_packets=2, rx_bytes=3, tx_bytes=4, rx_errors=5, tx_errors=6,
        rx_dropped=7, tx_dropped=8,
    ))  # fmt: skip
    assert seen == Interface(
        name="eth0", received_bytes=4, received_packets=2, received_errors=6, received_dropped=8,
        sent_bytes=3, sent_packets=1, sent_errors=5, sent_dropped=7,
    )  # fmt: skip


@given(st.lists(st.integers(0, 1 << 64), min_size=8, max_size=8))
def test_both_ends_tell_the_same_traffic(counts):
    counters = Counters(*counts)
    here, there = own("x", counters), mirrored("x", counters)
    assert (here.received_bytes, here.sent_bytes) == (there.sent_bytes, there.received_bytes)
    assert (here.received_packets, here.sent_packets) == (
        there.sent_packets, there.received_packets)  # fmt: skip


def test_a_tenant_has_its_interface_under_its_own_name(network, links):
    network.add_pair(7, pid=50, nsid=3, name="net1")
    found, _ = links.read([contained()])
    assert found == {1: (mirrored("net1", COUNTED),)}


def test_nothing_is_asked_again_while_nothing_changed(network, links):
    network.add_pair(7, pid=50, nsid=3)
    links.read([contained()])
    asked = network.asked
    for _ in range(5):
        links.read([contained()])
    assert network.asked == asked


def test_a_new_interface_is_learned_and_one_that_left_is_gone(network, links):
    network.add_pair(7, pid=50, nsid=3)
    links.read([contained()])
    network.add_pair(8, pid=50, nsid=3, name="eth1")
    found, _ = links.read([contained()])
    assert [x.name for x in found[1]] == ["eth0", "eth1"]
    network.here = [link for link in network.here if link.number != 7]
    found, _ = links.read([contained()])
    assert [x.name for x in found[1]] == ["eth1"]


def test_a_new_tenant_is_learned(network, links):
    network.add_pair(7, pid=50, nsid=3)
    network.add_pair(8, pid=51, nsid=4)
    links.read([contained()])
    found, _ = links.read([contained(), contained(2, 51)])
    assert set(found) == {1, 2}


def test_one_namespace_of_several_tenants_is_looked_into_once(network, links):
    """A pod's containers share it: each shows the pod's interface."""
    network.add_pair(7, pid=50, nsid=3)
    network.nsids[51] = 3
    found, _ = links.read([contained(1, 50), contained(2, 51)])
    assert found[1] == found[2] != ()
    assert network.asked == 2


def test_a_tenant_in_the_hosts_namespace_has_no_interfaces_of_its_own(network, links):
    found, _ = links.read([tenant(main_pid=50), tenant(key=2, netns=99)])
    assert found == {}


def test_a_namespace_with_only_lo_has_none_and_one_out_of_reach_is_not_measured(network, links):
    network.nsids[50] = None  # both ends of its pair lie elsewhere
    network.nsids[51] = 5
    network.inside[5] = [Link(1, "lo", "", None, None, COUNTED)]
    found, _ = links.read([contained(1, 50), contained(2, 51)])
    assert found == {2: ()}


def test_a_namespace_without_a_pair_here_is_asked_itself(network, links):
    network.nsids[50] = 5
    mac = Link(9, "macvlan0", "macvlan", 2, None, COUNTED)
    network.inside[5] = [Link(1, "lo", "", None, None, COUNTED), mac]
    found, _ = links.read([contained()])
    assert found == {1: (own("macvlan0", COUNTED),)}
    del network.inside[5]
    found, _ = links.read([contained()])
    assert found == {1: ()} and links.missed == 1


def test_without_the_right_to_look_inside_pairs_go_by_the_hosts_name(network, links):
    """CAP_NET_ADMIN is missing: the counters are as good, their name is not."""
    network.add_pair(7, pid=50, nsid=3)
    del network.inside[3]
    found, _ = links.read([contained()])
    assert found == {1: (mirrored("veth7", COUNTED),)}
    assert links.missed == 1


def test_a_namespace_that_may_not_be_looked_into_is_not_said_to_be_empty(network, links):
    network.nsids[50] = 5
    found, _ = links.read([contained()])
    assert found == {}, "not measured: None, not ()"
    assert links.missed == 1


def test_a_process_that_is_gone_is_counted_and_harms_no_other(network, links):
    network.add_pair(7, pid=50, nsid=3)
    found, _ = links.read([contained(2, pid=51), contained()])
    assert set(found) == {1}
    assert links.missed == 1


def test_the_hosts_own_interfaces_are_those_it_talks_to_the_world_with(network, links):
    network.here += [
        Link(1, "lo", "", None, None, COUNTED),
        Link(3, "docker0", "bridge", None, None, COUNTED),
        Link(4, "bond0", "bond", None, None, COUNTED),
    ]
    network.add_pair(7, pid=50, nsid=3)
    _, host = links.read([])
    assert [x.name for x in host] == ["eth0", "bond0"]
    assert host[0] == own("eth0", COUNTED), "not mirrored"


@pytest.mark.parametrize("kind", ["veth", "bridge", "dummy", "ifb", "tun"])
def test_interfaces_of_guests_are_not_the_hosts(kind):
    assert not is_hosts(ETH0._replace(kind=kind))
    assert is_hosts(ETH0)


def test_the_socket_is_closed(network, links):
    links.close()
    assert network.closed
