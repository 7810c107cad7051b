"""What OpenTelemetry's profiler tells: calls taken off the wire, stacks judged as all others."""

from __future__ import annotations

import gzip
import socket
import struct

import pytest
from peers.profilers import otel

from cotenant.bench.peers.otel import stacks
from cotenant.bench.peers.profilers import Told
from cotenant.bench.profiling.judge import Starts
from cotenant.bench.profiling.receiver import Receiver, frame, messages, parsed
from cotenant.errors import BadProfile, CotenantError
from cotenant.export.protobuf import block, number

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
STRINGS = ["", "profile.frame.type", "cpython", "native", "libc.so.6", "work", "main.go", "clone3"]


class OnlyClone(Starts):
    """Threads start at address 9 of libc."""

    def of_mapped(self, pid: int, name: str, address: int) -> bool:
        return (pid, name, address) == (41, "libc.so.6", 9)


def request(*samples: bytes, pid: int = 41) -> bytes:
    """Locations: 1 Python, 2 native at 9, 3 native elsewhere, 4 named. Stacks: 1 to 3."""
    kinds = [block(6, number(1, 1) + block(2, block(1, STRINGS[at].encode()))) for at in (2, 3)]
    lines = [block(3, number(1, at)) for at in (1, 2)]
    dictionary = b"".join([
        block(1, b""), block(1, number(4, 4)),
        block(2, b""), block(2, lines[0] + block(4, b"\1")),
        *(block(2, number(1, 1) + number(2, at) + block(4, b"\2")) for at in (9, 8)),
        block(2, lines[1]),
        block(3, b""), block(3, number(1, 5)), block(3, number(1, 7)),
        *(block(5, text.encode()) for text in STRINGS),
        block(6, b""), *kinds,
        block(7, b""), *(block(7, block(1, bytes(path))) for path in ([1, 2], [3], [3, 4])),
    ])  # fmt: skip
    resource = block(1, block(1, b"process.pid") + block(2, number(3, pid)))
    profile = b"".join(block(2, sample) for sample in samples)
    scope = block(2, block(2, profile))
    return block(1, block(1, resource) + scope) + block(2, dictionary)


def sample(stack: int, times: int = 0, value: int = 0) -> bytes:
    out = number(1, stack)
    return out + (block(4, bytes([value])) if value else b"") + block(5, bytes(8 * times))


def test_samples_count_by_their_times_and_end_where_the_last_location_is() -> None:
    told = list(stacks(request(sample(1, 3), sample(2, 1), sample(3, 0, 5)), OnlyClone()))
    assert told == [
        Told(41, 3, True, True),
        Told(41, 1, False, False),
        Told(41, 5, True, False),
    ]


def test_the_same_address_in_another_process_is_another_place() -> None:
    assert list(stacks(request(sample(1, 1), pid=42), OnlyClone())) == [Told(42, 1, False, True)]


def test_what_names_nothing_is_refused() -> None:
    with pytest.raises(BadProfile):
        list(stacks(request(sample(9, 1)), OnlyClone()))
    assert list(stacks(b"", OnlyClone())) == []


def test_messages_are_unpacked_and_broken_ones_refused() -> None:
    squeezed = gzip.compress(b"hello")
    body = struct.pack(">BI", 1, len(squeezed)) + squeezed + struct.pack(">BI", 0, 2) + b"ok"
    assert messages(body) == [b"hello", b"ok"]
    for broken in (body[:-1], body[:3], struct.pack(">BI", 1, 2) + b"no"):
        with pytest.raises(CotenantError, match="gRPC message"):
            messages(broken)


def test_a_call_is_taken_and_answered_as_http2_wants_it() -> None:
    with Receiver() as receiver:
        host, _, port = receiver.address.partition(":")
        with (
            socket.create_connection((host, int(port)), 10) as client,
            client.makefile("rb") as back,
        ):
            client.sendall(PREFACE + frame(4, 0, 0, b"") + frame(6, 0, 0, b"12345678"))
            client.sendall(frame(1, 4, 1, b"whatever"))
            padded = b"\x02" + b"body" + b"\0\0"
            client.sendall(frame(0, 0x8, 1, padded) + frame(0, 0x1, 1, b"-end"))
            seen: list[tuple[int, int]] = []
            while (0, 1) not in seen and len(seen) < 20:
                length, kind, _flags, stream = parsed(back.read(9))
                payload = back.read(length)
                seen.append((kind, stream))
                assert kind != 6 or payload == b"12345678"
            length, kind, flags, stream = parsed(back.read(9))
            assert (kind, flags, stream) == (1, 5, 1)
            assert b"grpc-status\x010" in back.read(length)
        assert receiver.bodies == [b"body-end"]
    assert (4, 0) in seen and (6, 0) in seen and (8, 0) in seen


def test_whoever_speaks_no_http2_is_left_alone() -> None:
    with Receiver() as receiver:
        host, _, port = receiver.address.partition(":")
        with socket.create_connection((host, int(port)), 10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: somebody\r\n\r\n")
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b""
        assert receiver.bodies == []


def test_a_limit_that_cannot_be_raised_no_longer_ends_the_profiler() -> None:
    line = '\treturn nil, fmt.Errorf("failed to set temporary rlimit: %w", err)\n'
    changed = '\t_ = fmt.Errorf("failed to set temporary rlimit: %w", err); return func() {}, nil\n'
    assert otel.going_on(line) == changed
    assert otel.going_on("package rlimit\n") == "package rlimit\n"
