"""What an exporter makes for a server that profiles are sent to."""

from __future__ import annotations

from typing import NamedTuple


class Series(NamedTuple):
    """One tenant's profile, ready to be sent, and the service that it is told as."""

    body: bytes
    service: str


class Encoded(NamedTuple):
    """What became of a profile: what to send, stacks that lost frames or did not fit at all."""

    series: list[Series]
    cut: int
    left_out: int
