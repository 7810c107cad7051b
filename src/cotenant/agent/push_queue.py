"""What waits to be sent to one server: bounded in bytes, the oldest goes first. No I/O."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple


class Parcel(NamedTuple):
    """One profile ready to be sent, and when it was made, on the monotonic clock."""

    body: bytes
    made: float


class Queue:
    """Parcels in the order in which they came; `dropped` counts those that found no room.

    One thread's; the figures may be read by another.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self.dropped = 0
        self._parcels: deque[Parcel] = deque()

    def __len__(self) -> int:
        return len(self._parcels)

    def add(self, parcel: Parcel) -> None:
        """Takes one in; the oldest are dropped for it, or it is, where it alone is too large."""
        if len(parcel.body) > self.most_bytes:
            self.dropped += 1
            return
        self._parcels.append(parcel)
        self.bytes += len(parcel.body)
        while self.bytes > self.most_bytes:
            self._take()
            self.dropped += 1

    def first(self, most_bytes: int, most: int) -> list[Parcel]:
        """The oldest ones, as many as fit into one request; at least one where there is any."""
        found: list[Parcel] = []
        size = 0
        for parcel in self._parcels:
            size += len(parcel.body)
            if found and (size > most_bytes or len(found) == most):
                break
            found.append(parcel)
        return found

    def remove(self, count: int) -> None:
        """So many of the oldest are done with."""
        for _ in range(count):
            self._take()

    def forget(self, before: float) -> int:
        """Takes away those made before that time; how many these were."""
        count = 0
        while self._parcels and self._parcels[0].made < before:
            self._take()
            count += 1
        return count

    def _take(self) -> None:
        self.bytes -= len(self._parcels.popleft().body)
