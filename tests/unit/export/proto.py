"""A reader of Prometheus' protobuf that shares nothing with the writer: fields by their numbers.

Numbers and types are those of io.prometheus.client (prometheus/client_model, metrics.proto).
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

TYPES = {0: "counter", 1: "gauge", 4: "histogram"}
VALUES = {"counter": 3, "gauge": 2}


class Message:
    """Fields of one message: every value under its number, in order."""

    def __init__(self, data: bytes) -> None:
        self.fields: dict[int, list[Any]] = {}
        at = 0
        while at < len(data):
            tag, at = _varint(data, at)
            value: Any
            match tag & 7:
                case 0:
                    value, at = _varint(data, at)
                case 1:
                    value, at = struct.unpack_from("<d", data, at)[0], at + 8
                case 2:
                    length, at = _varint(data, at)
                    assert at + length <= len(data), "cut off"
                    value, at = data[at : at + length], at + length
                case odd:
                    raise AssertionError(f"wire type {odd}")
            self.fields.setdefault(tag >> 3, []).append(value)

    def one(self, number: int, default: Any = None) -> Any:
        found = self.fields.get(number, [default])
        assert len(found) == 1, f"field {number} {len(found)} times"
        return found[0]

    def text(self, number: int) -> str:
        return str(self.one(number), "utf-8")

    def all(self, number: int) -> list[Message]:
        return [Message(data) for data in self.fields.get(number, [])]


class Histogram(NamedTuple):
    waits: int
    sum: float
    classic: dict[float, int]
    schema: int
    zero_threshold: float
    zero_count: int
    buckets: dict[int, int]


class Family(NamedTuple):
    name: str
    help: str
    type: str
    metrics: list[tuple[dict[str, str], float | Histogram]]

    def value(self, **labels: str) -> Any:
        (found,) = [value for own, value in self.metrics if labels.items() <= own.items()]
        return found


def read(page: bytes) -> list[Family]:
    families, at = [], 0
    while at < len(page):
        length, at = _varint(page, at)
        assert at + length <= len(page), "cut off"
        families.append(_family(Message(page[at : at + length])))
        at += length
    assert len({one.name for one in families}) == len(families), "a family twice"
    return families


def _family(message: Message) -> Family:
    kind = TYPES[message.one(3, 0)]
    metrics = []
    for metric in message.all(4):
        labels = {pair.text(1): pair.text(2) for pair in metric.all(1)}
        assert len(labels) == len(metric.all(1)) and all(labels.values())
        value = (
            _histogram(Message(metric.one(7)))
            if kind == "histogram"
            else Message(metric.one(VALUES[kind])).one(1, 0.0)
        )
        metrics.append((labels, value))
    return Family(message.text(1), message.text(2), kind, metrics)


def _histogram(message: Message) -> Histogram:
    buckets: dict[int, int] = {}
    raw, deltas = message.one(13, b""), []
    at = 0
    while at < len(raw):
        value, at = _varint(raw, at)
        deltas.append(_signed(value))
    index, count = 0, 0
    for span in message.all(12):
        index += _signed(span.one(1, 0))
        for _ in range(span.one(2, 0)):
            count += deltas.pop(0)
            assert count >= 0
            buckets[index] = count
            index += 1
    assert not deltas
    classic = {bucket.one(2, 0.0): bucket.one(1, 0) for bucket in message.all(3)}
    return Histogram(
        message.one(1, 0), message.one(2, 0.0), classic, _signed(message.one(5, 0)),
        message.one(6, 0.0), message.one(7, 0), buckets,
    )  # fmt: skip


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _signed(value: int) -> int:
    return (value >> 1) ^ -(value & 1)
