"""rtnetlink's answers: told apart, cut off, refused; never misread."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotenant.errors import KernelRefused
from cotenant.kernel import netlink
from cotenant.kernel.netlink import (
    RTM_GETLINK,
    RTM_GETNSID,
    RTM_GETSTATS,
    RTM_NEWLINK,
    RTM_NEWNSID,
    RTM_NEWSTATS,
    Counters,
    Link,
    Netlink,
)

ERROR, DONE, DUMP = 2, 3, 0x300


class FakeSocket:
    """A route socket that answers from a list; `asked` holds what was sent."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.asked: list[bytes] = []

    def setsockopt(self, *_: Any) -> None:
        pass

    def bind(self, address: Any) -> None:
        pass

    def send(self, data: bytes) -> int:
        self.asked.append(data)
        return len(data)

    def recv_into(self, buffer: memoryview) -> int:
        if not self.answers:
            raise BlockingIOError("SO_RCVTIMEO is over")
        answer = self.answers.pop(0)
        buffer[: len(answer)] = answer
        return len(answer)

    def close(self) -> None:
        pass


@pytest.fixture
def wire(monkeypatch) -> FakeSocket:
    fake = FakeSocket()
    monkeypatch.setattr(socket, "socket", lambda *_: fake)
    return fake


def message(kind: int, body: bytes, sequence: int = 1) -> bytes:
    data = struct.pack("=IHHII", 16 + len(body), kind, 0, sequence, 0) + body
    return data + b"\0" * (-len(data) % 4)


def attribute(kind: int, value: bytes) -> bytes:
    data = struct.pack("=HH", 4 + len(value), kind) + value
    return data + b"\0" * (-len(data) % 4)


def done(sequence: int = 1) -> bytes:
    return message(DONE, struct.pack("=i", 0), sequence)


def stats(index: int, counters: tuple[int, ...]) -> bytes:
    body = struct.pack("=BBHII", 0, 0, 0, index, 1)
    # Words that newer kernels append to rtnl_link_stats64 are no harm.
    return body + attribute(1, struct.pack("=8Q", *counters) + b"\xff" * 128)


def link(index: int, *attributes: bytes) -> bytes:
    return struct.pack("=BBHiII", 0, 0, 1, index, 0, 0) + b"".join(attributes)


VETH = link(
    7,
    attribute(3, b"veth7\0"),
    attribute(5, struct.pack("=i", 2)),
    attribute(18 | 0x8000, attribute(1, b"veth\0") + attribute(2, b"whatever")),
    attribute(23, struct.pack("=8Q", *range(1, 9))),
    attribute(37, struct.pack("=i", 3)),
)


def test_a_dump_may_come_in_many_pieces(wire):
    first = message(RTM_NEWSTATS, stats(1, tuple(range(8))))
    second = message(RTM_NEWSTATS, stats(2, tuple(range(8, 16))))
    wire.answers = [first + second, message(RTM_NEWSTATS, stats(9, (5,) * 8)), done()]
    found = Netlink().counters()
    assert found == {
        1: Counters(*range(8)), 2: Counters(*range(8, 16)), 9: Counters(*[5] * 8)}  # fmt: skip
    assert wire.answers == []


def test_counters_have_the_kernels_order(wire):
    wire.answers = [message(RTM_NEWSTATS, stats(1, tuple(range(1, 9)))) + done()]
    got = Netlink().counters()[1]
    assert (got.rx_packets, got.tx_packets, got.rx_bytes, got.tx_bytes) == (1, 2, 3, 4)
    assert (got.rx_errors, got.tx_errors, got.rx_dropped, got.tx_dropped) == (5, 6, 7, 8)


def test_only_64_bit_counters_of_every_interface_are_asked_for(wire):
    wire.answers = [done()]
    Netlink().counters()
    length, kind, flags = struct.unpack_from("=IHH", wire.asked[0])
    assert (length, kind, flags) == (len(wire.asked[0]), RTM_GETSTATS, 1 | DUMP)
    assert struct.unpack_from("=BBHII", wire.asked[0], 16)[4] == 1


def test_an_interface_without_64_bit_counters_is_left_out(wire):
    body = struct.pack("=BBHII", 0, 0, 0, 4, 1)
    wire.answers = [
        message(RTM_NEWSTATS, body) + message(RTM_NEWSTATS, stats(5, (1,) * 8)) + done()
    ]
    assert set(Netlink().counters()) == {5}


def test_answers_to_an_older_question_are_not_taken(wire):
    route = Netlink()
    wire.answers = [done()]
    route.counters()
    late = message(RTM_NEWSTATS, stats(1, (9,) * 8), sequence=1)
    wire.answers = [late + done(1), message(RTM_NEWSTATS, stats(2, (7,) * 8), 2) + done(2)]
    assert set(route.counters()) == {2}


def test_a_link_tells_its_name_kind_and_other_end(wire):
    wire.answers = [message(RTM_NEWLINK, VETH) + done()]
    assert Netlink().links() == [Link(7, "veth7", "veth", 2, 3, Counters(*range(1, 9)))]


def test_a_plain_link_has_no_other_end(wire):
    wire.answers = [message(RTM_NEWLINK, link(1, attribute(3, b"lo\0"))) + done()]
    assert Netlink().links() == [Link(1, "lo", "", None, None, None)]


def test_another_namespace_is_asked_for_by_its_number(wire):
    wire.answers = [done(), done(2)]
    route = Netlink()
    route.links()
    route.links(5)
    here, there = wire.asked
    assert struct.unpack_from("=H", here, 4) == (RTM_GETLINK,)
    assert there[32:] == struct.pack("=HHi", 8, 46, 5)
    assert len(here) == 32


@pytest.mark.parametrize("number", [0, 3])
def test_a_namespace_has_a_number_once_somebody_here_knows_it(wire, number):
    wire.answers = [message(RTM_NEWNSID, b"\0" * 4 + attribute(1, struct.pack("=i", number)))]
    assert Netlink().nsid_of(4711) == number
    assert struct.unpack_from("=H", wire.asked[0], 4) == (RTM_GETNSID,)
    assert wire.asked[0].endswith(struct.pack("=HHI", 8, 2, 4711))


def test_a_namespace_nobody_here_knows_has_no_number(wire):
    wire.answers = [message(RTM_NEWNSID, b"\0" * 4 + attribute(1, struct.pack("=i", -1)))]
    assert Netlink().nsid_of(4711) is None
    wire.answers = [message(RTM_NEWNSID, b"\0" * 4, 1)]
    assert Netlink().nsid_of(4711) is None


def test_a_refusal_names_the_request_and_the_error(wire):
    wire.answers = [message(ERROR, struct.pack("=i", -1) + b"\0" * 16)]
    with pytest.raises(KernelRefused, match="refused request 18: error 1"):
        Netlink().links()


def test_a_dump_that_is_refused_is_not_taken_for_an_empty_one(wire):
    """The kernel puts the error into the message that ends the dump (netlink_dump)."""
    wire.answers = [message(DONE, struct.pack("=i", -1))]
    with pytest.raises(KernelRefused, match="refused request 18: error 1"):
        Netlink().links(3)


def test_silence_ends(wire):
    wire.answers = [message(RTM_NEWLINK, VETH)]
    route = Netlink()
    with pytest.raises(BlockingIOError):
        route.links()


@pytest.mark.parametrize("end", range(16, len(VETH)))
def test_a_link_cut_off_anywhere_is_not_misread(wire, end):
    """The message says it is whole; its last attribute is not."""
    wire.answers = [message(RTM_NEWLINK, VETH[:end]), done()]
    [found] = Netlink().links()
    assert found.number == 7
    assert found.name in ("veth7", "") and found.kind in ("veth", "")
    assert found.peer_index in (2, None) and found.peer_nsid in (3, None)
    assert found.counters in (Counters(*range(1, 9)), None)


@given(st.binary(max_size=200))
def test_no_attribute_bytes_hang_or_raise(data):
    found = list(netlink._attributes(data))
    assert len(found) <= len(data) // 4


@pytest.mark.parametrize("length", [0, 1, 4, 15])
def test_a_message_whose_length_is_nonsense_does_not_hang(wire, length):
    broken = struct.pack("=IHHII", length, RTM_NEWLINK, 0, 1, 0)
    wire.answers = [broken, done()]
    with pytest.raises(KernelRefused, match="nonsense"):
        Netlink().links()


def test_a_real_socket_waits_two_seconds_and_no_longer():
    netlink = Netlink()
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        value = netlink._socket.getsockopt(socket.SOL_SOCKET, option, 16)
        assert struct.unpack("@ll", value) == (2, 0)
    assert netlink._socket.getblocking(), "else every call would poll first"
    netlink.close()
