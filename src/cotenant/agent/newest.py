"""The newest sample, and everything that is made from it when someone asks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable

from msgspec.structs import replace

from cotenant.agent.cost import Tally
from cotenant.config import Settings
from cotenant.errors import CotenantError
from cotenant.export import prometheus, records, text
from cotenant.export.noise import Sheet
from cotenant.export.own import BpfCost
from cotenant.export.protobuf import Converter
from cotenant.kernel.cost import Cost
from cotenant.model import Lost, Sample, Snapshot
from cotenant.web.answers import encoded
from cotenant.web.control import Moment

MOST_FINALS = 1000


class Newest:
    """Keeps the last two snapshots and the dead of late. What it makes raises before the first."""

    def __init__(self, settings: Settings, tally: Tally) -> None:
        self._tally = tally
        self._page = prometheus.Page(
            keep_finals_s=settings.keep_finals_s, runtime_labels=settings.runtime_labels
        )
        self._converter = Converter()
        self._now: Snapshot | None = None
        self._before: Snapshot | None = None
        self._finals: deque[Sample] = deque(maxlen=MOST_FINALS)
        self._moment: bytes | None = None

    def take(self, snapshot: Snapshot) -> None:
        """There is a newer one."""
        self._before, self._now = self._now, snapshot
        self._moment = None
        self._finals.extend(snapshot.finals)
        self._page.note(snapshot)

    @property
    def snapshot(self) -> Snapshot:
        """The newest one."""
        if self._now is None:
            raise CotenantError("There is no sample yet.", "try again in a second")
        return self._now

    @property
    def lost(self) -> Lost:
        """What is missing as of the newest one."""
        return Lost() if self._now is None else self._now.lost

    def number(self) -> int | None:
        """Tells one snapshot from the other; None before the first."""
        return None if self._now is None else self._now.at_ns

    def age_s(self) -> float:
        """Seconds since the newest one was taken."""
        return 0.0 if self._now is None else time.monotonic() - self._now.at_ns / 1e9

    def text(self) -> bytes:
        """In ebpf-mon's form."""
        return text.render(self.snapshot)

    def json(self) -> bytes:
        """As one JSON object."""
        return records.render(self.snapshot)

    def exposition(
        self, scrapes: int, programs: Iterable[Cost], sheet: Sheet, more: bytes = b""
    ) -> bytes:
        """As Prometheus reads it, with what the agent itself costs; counts what rendering took.

        `more`: exposition lines of other parts, each with the newline before it.
        """
        began = time.thread_time_ns()
        page = self._text_page(scrapes, programs) + more + sheet.render() + b"\n"
        self._rendered(began)
        return page

    def protobuf(
        self, scrapes: int, programs: Iterable[Cost], sheet: Sheet, more: bytes = b""
    ) -> bytes:
        """The same for scrapers that take protobuf, with the waits as native histograms."""
        began = time.thread_time_ns()
        page = self._text_page(scrapes, programs) + more + sheet.render(histogram=False)
        message = self._converter.convert(page) + sheet.native()
        self._rendered(began)
        return message

    def _text_page(self, scrapes: int, programs: Iterable[Cost]) -> bytes:
        """All but the noise sense's lines, without the last newline."""
        bpf = tuple(BpfCost(cost.program, cost.runs, cost.timed, cost.ns) for cost in programs)
        page = self._page.render(self.snapshot, self._tally.cost(scrapes, bpf))
        return page.removesuffix(b"\n") + self._tally.config_lines()

    def _rendered(self, began_ns: int) -> None:
        self._tally.renders += 1
        self._tally.render_ns += time.thread_time_ns() - began_ns

    def moment(self, finals_s: float = 0.0) -> bytes:
        """JSON of this one and the one before; `finals_s`: with those who died that long back."""
        if finals_s > 0:
            now = self.snapshot
            oldest = now.at_ns - int(finals_s * 1e9)
            dead = tuple(final for final in self._finals if final.at_ns >= oldest)
            return encoded(Moment(replace(now, finals=dead), self._before))
        if self._moment is None:
            self._moment = encoded(Moment(self.snapshot, self._before))
        return self._moment
