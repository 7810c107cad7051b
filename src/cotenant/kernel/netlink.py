"""Network interface counters and names by raw rtnetlink: what the one-second loop can afford.

One RTM_GETSTATS dump returns 64-bit counters of every interface of this namespace, at 0.13 ms for
200; pyroute2 takes 70 ms for the same. The formats are those of include/uapi/linux/netlink.h,
if_link.h and net_namespace.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from cotenant.errors import KernelRefused

RTM_NEWLINK, RTM_GETLINK = 16, 18
RTM_NEWNSID, RTM_GETNSID = 88, 90
RTM_NEWSTATS, RTM_GETSTATS = 92, 94
_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3
_IFLA_IFNAME, _IFLA_LINK, _IFLA_LINKINFO, _IFLA_STATS64 = 3, 5, 18, 23
_IFLA_LINK_NETNSID, _IFLA_TARGET_NETNSID = 37, 46
_INFO_KIND = 1
_NETNSA_NSID, _NETNSA_PID = 1, 2
_STATS_LINK_64 = 1
_BUFFER = 1 << 20
_HEADER = struct.Struct("=IHHII")
_COUNTERS = struct.Struct("=8Q")
_STATS_MESSAGE = struct.Struct("=BBHII")
_LINK_MESSAGE = struct.Struct("=BBHiII")
_TIMEOUT_S = 2


class Counters(NamedTuple):
    """First eight words of struct rtnl_link_stats64, as the interface's own side counts them."""

    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int
    rx_errors: int
    tx_errors: int
    rx_dropped: int
    tx_dropped: int


class Link(NamedTuple):
    """An interface: `number` is its index here.

    `peer_nsid` and `peer_index` tell where the other end of a veth is.
    """

    number: int
    name: str
    kind: str
    peer_index: int | None
    peer_nsid: int | None
    counters: Counters | None


class Netlink:
    """A route socket in the network namespace of the caller."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        # The kernel keeps the time: settimeout() would poll before each call.
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", _TIMEOUT_S, 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._socket.bind((0, 0))
        self._sequence = 0
        self._answer = memoryview(bytearray(_BUFFER))  # kept: recv() would map as much each time

    def counters(self) -> dict[int, Counters]:
        """Counters of every interface of this namespace, by interface index."""
        body = _STATS_MESSAGE.pack(0, 0, 0, 0, 1 << (_STATS_LINK_64 - 1))
        found = {}
        for message in self._ask(RTM_GETSTATS, body, _DUMP):
            index = _STATS_MESSAGE.unpack_from(message)[3]
            if len(message) >= _STATS_MESSAGE.size + 4 + _COUNTERS.size:
                found[index] = Counters(*_COUNTERS.unpack_from(message, _STATS_MESSAGE.size + 4))
        return found

    def links(self, nsid: int | None = None) -> list[Link]:
        """Interfaces of this namespace, or of the one known here as `nsid` (Linux 4.20)."""
        body = _LINK_MESSAGE.pack(0, 0, 0, 0, 0, 0)
        if nsid is not None:
            body += _attribute(_IFLA_TARGET_NETNSID, struct.pack("=i", nsid))
        return [_link(message) for message in self._ask(RTM_GETLINK, body, _DUMP)]

    def nsid_of(self, pid: int) -> int | None:
        """What this namespace calls the network namespace of process `pid`; None: no name yet."""
        body = b"\0\0\0\0" + _attribute(_NETNSA_PID, struct.pack("=I", pid))
        for message in self._ask(RTM_GETNSID, body, 0):
            value = dict(_attributes(message[4:])).get(_NETNSA_NSID)
            if value:
                number = int(struct.unpack("=i", value)[0])
                return number if number >= 0 else None
        return None

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def _ask(self, kind: int, body: bytes, flags: int) -> Iterator[bytes]:
        self._sequence += 1
        length = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(length, kind, _REQUEST | flags, self._sequence, 0) + body)
        while True:
            data = bytes(self._answer[: self._socket.recv_into(self._answer)])
            at = 0
            while at + _HEADER.size <= len(data):
                length, answer, _flags, sequence, _port = _HEADER.unpack_from(data, at)
                if length < _HEADER.size:
                    raise KernelRefused(f"rtnetlink answered request {kind} with nonsense.")
                message = data[at + _HEADER.size : at + length]
                at += (length + 3) & ~3
                if sequence != self._sequence:
                    continue
                code = struct.unpack_from("=i", message)[0] if len(message) >= 4 else 0
                # A dump that is refused ends with the error in its last message.
                if answer == _ERROR or (answer == _DONE and code < 0):
                    raise KernelRefused(f"rtnetlink refused request {kind}: error {-code}.")
                if answer == _DONE:
                    return
                yield message
            if not flags & _DUMP:
                return


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4 or at + length > len(data):
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3


def _link(message: bytes) -> Link:
    index = _LINK_MESSAGE.unpack_from(message)[3]
    found = dict(_attributes(message[_LINK_MESSAGE.size :]))
    info = dict(_attributes(found.get(_IFLA_LINKINFO, b"")))
    stats = found.get(_IFLA_STATS64)
    return Link(
        index,
        found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace"),
        info.get(_INFO_KIND, b"").rstrip(b"\0").decode(errors="replace"),
        _number(found.get(_IFLA_LINK)),
        _number(found.get(_IFLA_LINK_NETNSID)),
        Counters(*_COUNTERS.unpack_from(stats)) if stats and len(stats) >= _COUNTERS.size else None,
    )


def _number(value: bytes | None) -> int | None:
    return struct.unpack("=i", value)[0] if value and len(value) == 4 else None
