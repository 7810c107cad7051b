"""The exposition in protobuf, for scrapers that ask for it: the text page, line by line.

Messages of io.prometheus.client (prometheus/client_model, metrics.proto), each with its length
before it, written by hand: a message is its fields one after the other, a field its number and
wire type in one varint, then the value (protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

import re
import struct

COUNTER, GAUGE, HISTOGRAM = 0, 1, 4
"""MetricType."""
_TYPES = {b"counter": COUNTER, b"gauge": GAUGE}
_VALUE_FIELD = {COUNTER: 3, GAUGE: 2}
"""Where a Metric has its value, by type."""
_LABEL = re.compile(rb'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(rb"\\(.)")
_PLAIN = {b"n": b"\n"}
_DOUBLE = struct.Struct("<d")


_SHORT = [bytes((value,)) for value in range(0x80)]


def varint(value: int) -> bytes:
    """An unsigned integer, seven bits a byte, lowest first."""
    if value < 0x80:
        return _SHORT[value]
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value: int) -> int:
    """A signed integer as an unsigned one: 0, -1, 1, -2 ... become 0, 1, 2, 3 ..."""
    return value << 1 if value >= 0 else (-value << 1) - 1


def number(field: int, value: int) -> bytes:
    """A field that holds an unsigned integer (for signed ones: of its zigzag)."""
    return varint(field << 3) + varint(value)


def double(field: int, value: float) -> bytes:
    """A field that holds a double."""
    return varint(field << 3 | 1) + _DOUBLE.pack(value)


def fixed64(field: int, value: int) -> bytes:
    """A field that holds an unsigned integer in eight bytes."""
    return varint(field << 3 | 1) + value.to_bytes(8, "little")


def block(field: int, content: bytes) -> bytes:
    """A field that holds bytes: a text, a message, or packed numbers."""
    return varint(field << 3 | 2) + varint(len(content)) + content


def label(name: bytes, value: bytes) -> bytes:
    """A LabelPair as a field of a Metric."""
    return block(1, block(1, name) + block(2, value))


def family(name: bytes, help_text: bytes, kind: int, metrics: bytes) -> bytes:
    """One MetricFamily with its length before it; `metrics` are its fields 4."""
    head = block(1, name) + block(2, help_text) + number(3, kind)
    return varint(len(head) + len(metrics)) + head + metrics


class Converter:
    """Makes protobuf of text pages of counters and gauges; keeps label sets from page to page."""

    def __init__(self) -> None:
        self._known: dict[int, dict[bytes, bytes]] = {kind: {} for kind in _VALUE_FIELD}

    def convert(self, page: bytes) -> bytes:
        """The page, family by family, in its order."""
        fresh: dict[int, dict[bytes, bytes]] = {kind: {} for kind in _VALUE_FIELD}
        out: list[bytes] = []
        for part in page.removeprefix(b"# HELP ").split(b"\n# HELP "):
            head, _, rest = part.partition(b"\n# TYPE ")
            name, _, help_text = head.partition(b" ")
            kind, *lines = rest.rstrip(b"\n").split(b"\n")
            of = _TYPES[kind.partition(b" ")[2]]
            metrics = _metrics(lines, len(name), of, self._known[of], fresh[of])
            out.append(family(name, _unescaped(help_text), of, b"".join(metrics)))
        self._known = fresh
        return b"".join(out)


def _metrics(
    lines: list[bytes], at: int, kind: int, known: dict[bytes, bytes], fresh: dict[bytes, bytes]
) -> list[bytes]:
    """Each line as a Metric: all that is before its value is the same every time.

    `at`: where the labels begin. Label sets go from `known` into `fresh`.
    """
    ends = [line.rfind(b" ") for line in lines]
    values = [float(line[end:]) for line, end in zip(lines, ends, strict=True)]
    out = [b""] * (2 * len(lines))
    out[1::2] = map(_DOUBLE.pack, values)
    for i, (line, end) in enumerate(zip(lines, ends, strict=True)):
        series = line[at:end]
        head = fresh.get(series)
        if head is None:
            head = fresh[series] = known.get(series) or _head(series, kind)
        out[2 * i] = head
    return out


def _head(series: bytes, kind: int) -> bytes:
    """A Metric with these labels (`{a="1",b="2"}`), up to the eight bytes of its value."""
    pairs = b"".join([label(name, _unescaped(value)) for name, value in _LABEL.findall(series)])
    value = block(_VALUE_FIELD[kind], double(1, 0.0))
    return varint(4 << 3 | 2) + varint(len(pairs) + len(value)) + pairs + value[:-8]


def _unescaped(value: bytes) -> bytes:
    if b"\\" not in value:
        return value
    return _ESCAPED.sub(lambda found: _PLAIN.get(found[1], found[1]), value)
