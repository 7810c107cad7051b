"""Who makes whom wait, as Prometheus reads it: a part of the page, or a page of its own.

`Sheet` is told every collection (`note`), as counters must outlive what came and went between two
scrapes, and writes its lines when somebody asks. Rows, as on the rest of the page: a tenant that
died keeps its lines for a while, and yields to a living one with the same labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate

from msgspec import Struct
from msgspec.structs import astuple

from cotenant.buckets import BOUNDS_S
from cotenant.export import labels, native, noise_families, singles
from cotenant.export.block import Block
from cotenant.export.family import Form
from cotenant.export.own import BpfCost
from cotenant.export.pairs import CLASSES, MOST, Pairs
from cotenant.model import Finding, Tenant, Waited, Waits

NAMED_SHARE = 0.1
"""A culprit with a smaller share of the victim's waiting is not named in cotenant_noise_finding."""
LEVELS = ("off", "count", "histogram", "blame")
_NUMBERS = tuple(field for field in Waited.__struct_fields__ if field != "buckets")
COLUMNS: dict[str, int] = {
    source: index
    for index, source in enumerate(
        [f"waited.{field}" for field in _NUMBERS]
        + ["foreign_ns", *(f"by_{name}" for name in CLASSES), "findings"]
    )
}
"""Where in a row the value of each source is."""
_LES = [f"{BOUNDS_S[i]!r}" for i in noise_families.LE] + ["+Inf"]


class Heard(Struct, frozen=True):
    """What the noise sense has to show after one look."""

    waits: Waits
    findings: tuple[Finding, ...] = ()
    began: tuple[Finding, ...] = ()
    programs: tuple[BpfCost, ...] = ()
    host_share: float | None = None
    looks: int | None = None
    look_ns: int | None = None


class _Dead(Struct, frozen=True):
    at_ns: int
    tenant: Tenant
    waited: Waited


def render(heard: Heard, most_pairs: int = MOST) -> bytes:
    """A page of its own, of one look alone: counters since the sense was opened."""
    sheet = Sheet(most_pairs=most_pairs)
    sheet.note(heard)
    return sheet.render().removeprefix(b"\n") + b"\n"


class Sheet:
    """The noise sense's part of the page. `most_pairs`: so many pairs have blame of their own."""

    def __init__(self, *, keep_finals_s: float = 60.0, most_pairs: int = MOST) -> None:
        self.pairs = Pairs(most_pairs)
        self._keep_ns = int(keep_finals_s * 1e9)
        self._heard: Heard | None = None
        self._dead: dict[int, _Dead] = {}
        self._findings: dict[int, int] = {}
        self._unsorted_ns: dict[int, int] = {}
        self._block = Block(noise_families.TENANT, COLUMNS, _own)
        self._blame = Block(noise_families.BLAME, {"ns": 0}, _two)
        self._finding = Block(noise_families.FINDING, {"one": 0}, _two)
        self._texts: dict[Tenant, str] = {}
        self._pair_texts: dict[tuple[Tenant, Tenant | None], str] = {}
        self._classic: dict[Tenant, tuple[Waited, bytes]] = {}
        self._native: dict[Tenant, tuple[Waited, bytes]] = {}

    def note(self, heard: Heard) -> None:
        """Takes in what was heard. Call it for every look, also those never rendered."""
        waits = heard.waits
        before = self._heard.waits if self._heard else None
        self._heard = heard
        if before is not None:
            self._bury(waits, before)
            if waits.level == "count":
                self._count_unsorted(waits, before)
        kept = waits.waited.keys() | self._dead.keys()
        self.pairs.note(waits, kept)
        for finding in heard.began:
            key = finding.victim.key
            self._findings[key] = self._findings.get(key, 0) + 1
        for book in (self._findings, self._unsorted_ns):
            for key in book.keys() - kept:
                del book[key]

    def render(self, *, histogram: bool = True) -> bytes:
        """Exposition lines, each with the newline before it; without those of the histogram."""
        heard = self._heard
        if heard is None:
            return singles.lines(noise_families.SENSE[0], [((), 0)])
        rows = self._rows()
        out = self._block.render(
            tuple([tenant for tenant, _ in rows]), [self._row(*row) for row in rows]
        )
        if histogram and rows:
            out.append(noise_families.HISTOGRAM[0].header())
            self._classic = _kept(self._classic, rows, self._lines)
            out += [text for _, text in self._classic.values()]
        out += self._blame_lines(heard.waits)
        out += self._finding_lines(heard.findings)
        out += _sense_lines(heard)
        return b"".join(out)

    def native(self) -> bytes:
        """The histogram as one delimited protobuf message; nothing where there is none."""
        if self._heard is None:
            return b""
        rows = self._rows()
        self._native = _kept(self._native, rows, self._message)
        return native.family(
            noise_families.HISTOGRAM[0], [metric for _, metric in self._native.values()]
        )

    # --- rows

    def _rows(self) -> list[tuple[Tenant, Waited]]:
        """Living tenants, then the dead of late; of two with the same labels the first."""
        assert self._heard is not None
        waits = self._heard.waits
        rows = [(waits.tenants[key], waited) for key, waited in waits.waited.items()]
        rows += [(dead.tenant, dead.waited) for dead in reversed(self._dead.values())]
        known = self._texts
        self._texts = {tenant: known.get(tenant) or _own(tenant) for tenant, _ in rows}
        return [rows[index] for index in labels.distinct([self._texts[who] for who, _ in rows])]

    def _row(self, tenant: Tenant, waited: Waited) -> tuple[int | None, ...]:
        key = tenant.key
        return (
            *astuple(waited)[: len(_NUMBERS)],
            self.pairs.foreign.get(key, 0),
            *self.pairs.preempted.get(key, (0,) * len(CLASSES)),
            self._findings.get(key, 0),
        )

    def _bury(self, waits: Waits, before: Waits) -> None:
        """Those who are told no more keep their last values for a while."""
        for key in before.waited.keys() - waits.waited.keys():
            self._dead[key] = _Dead(waits.at_ns, before.tenants[key], before.waited[key])
        over = [
            key
            for key, dead in self._dead.items()
            if key in waits.waited or dead.at_ns <= waits.at_ns - self._keep_ns
        ]
        for key in over:
            del self._dead[key]

    def _count_unsorted(self, waits: Waits, before: Waits) -> None:
        """What was waited while no distribution was kept belongs into no histogram's sum."""
        for key, waited in waits.waited.items():
            was = before.waited.get(key)
            if was is not waited:
                ns = waited.waited_ns - (was.waited_ns if was else 0)
                self._unsorted_ns[key] = self._unsorted_ns.get(key, 0) + ns

    # --- the histogram

    def _sum_ns(self, tenant: Tenant, waited: Waited) -> int:
        return waited.waited_ns - self._unsorted_ns.get(tenant.key, 0)

    def _lines(self, tenant: Tenant, waited: Waited) -> bytes:
        """Classic buckets, sum and count of one tenant."""
        own, name = self._texts[tenant], noise_families.HISTOGRAM[0].name
        sums = list(accumulate(waited.buckets))
        counts = [sums[i] for i in noise_families.LE] + [sums[-1]]
        seconds = singles.number(self._sum_ns(tenant, waited), Form.NANOSECONDS)
        head = f"\n{name}_bucket{{{own},le="
        text = "".join([f'{head}"{le}"}} {count}' for le, count in zip(_LES, counts, strict=True)])
        text += f"\n{name}_sum{{{own}}} {seconds}\n{name}_count{{{own}}} {sums[-1]}"
        return text.encode()

    def _message(self, tenant: Tenant, waited: Waited) -> bytes:
        """The same and the native buckets, as protobuf."""
        seconds = self._sum_ns(tenant, waited) / 1e9
        return native.metric(labels.waiting(tenant), waited.buckets, seconds, noise_families.LE)

    # --- pairs

    def _blame_lines(self, waits: Waits) -> list[bytes]:
        tenants = {key: dead.tenant for key, dead in self._dead.items()} | waits.tenants
        keys, values = [], []
        for victim, culprit, ns in self.pairs.lines():
            keys.append((tenants[victim], None if culprit is None else tenants[culprit]))
            values.append((ns,))
        known = self._pair_texts
        self._pair_texts = {key: known.get(key) or _two(key) for key in keys}
        shown = labels.distinct([self._pair_texts[key] for key in keys])
        return self._blame.render(tuple([keys[i] for i in shown]), [values[i] for i in shown])

    def _finding_lines(self, findings: Iterable[Finding]) -> list[bytes]:
        keys: dict[str, tuple[Tenant, Tenant | None]] = {}
        for finding in findings:
            delay = finding.delay
            for part in delay.parts:
                if part.culprit is not None and part.ns >= NAMED_SHARE * delay.waited_ns:
                    key = (delay.tenant, part.culprit)
                    keys.setdefault(_two(key), key)
        return self._finding.render(tuple(keys.values()), [(1,)] * len(keys))


def _own(tenant: Tenant) -> str:
    return labels.text(labels.waiting(tenant))


def _two(key: tuple[Tenant, Tenant | None]) -> str:
    return labels.text(labels.blamed(*key))


def _kept(
    known: dict[Tenant, tuple[Waited, bytes]],
    rows: list[tuple[Tenant, Waited]],
    make: Callable[[Tenant, Waited], bytes],
) -> dict[Tenant, tuple[Waited, bytes]]:
    """What is written of each row, made anew only where it waited meanwhile."""
    found = {}
    for tenant, waited in rows:
        was = known.get(tenant)
        found[tenant] = was if was and was[0] is waited else (waited, make(tenant, waited))
    return found


def _sense_lines(heard: Heard) -> list[bytes]:
    share = heard.host_share
    values = {
        "level": LEVELS.index(heard.waits.level),
        "looks": heard.looks,
        "look_ns": heard.look_ns,
        "share": None if share is None else round(share * 1e9),
    }
    for field in heard.waits.lost.__struct_fields__:
        values[f"noise_lost.{field}"] = getattr(heard.waits.lost, field)
    runs = [
        ((("program", cost.program),), cost.timed_ns // cost.timed_runs)
        for cost in heard.programs
        if cost.timed_runs
    ]
    return [
        *[singles.lines(one, [((), values[one.series[0].source])]) for one in noise_families.SENSE],
        singles.lines(noise_families.PROGRAM[0], runs),
    ]
