"""The columns of the table: what each shows, how wide, and which ones give way first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from cotenant.cli import show
from cotenant.cli.figures import Figures
from cotenant.noise.words import duration

GAP = 2
"""Blank cells between two columns."""

NAME_WIDTH = (16, 28)
"""What the first column gets before a further column may come in: a quarter, but from 16 to 28."""


class Column(Struct, frozen=True):
    """One column. `rank`: the lower, the longer it stays as the terminal narrows.

    `value` is what it sorts by (None: by name), `text` what it shows.
    """

    key: str
    head: str
    width: int
    rank: int
    describes: str
    value: Callable[[Figures], float | None] | None = None
    text: Callable[[Figures], str] | None = None
    live: bool = False
    """True where it needs a history, so that a table printed once has not got it."""
    waits: bool = False
    """True where it needs waits, which are not sensed everywhere."""


def _throttled(row: Figures) -> str:
    return show.percent(row.throttled_share) if row.limit_means else ""


def _limit(row: Figures) -> str:
    if not row.limit_means:
        return ""
    return "∞" if row.unlimited_memory else show.amount(row.memory_limit_bytes)


def _p99(row: Figures) -> str:
    return show.DASH if row.wait_p99_ns is None else duration(row.wait_p99_ns)


def _worst(row: Figures) -> str:
    return show.name(row.worst, WORST_WIDTH) if row.worst else show.DASH


def _bar(row: Figures) -> str:
    return show.meter(row.memory_share, 8)


WORST_WIDTH = 12

COLUMNS: tuple[Column, ...] = (
    Column("name", "TENANT", 0, 0, "Its name; the sign before it tells its kind"),
    Column(
        "cpu",
        "CPU %",
        6,
        1,
        "CPU time as a share of one core: 100 is one core busy",
        lambda row: row.cpu_cores,
        lambda row: show.percent(row.cpu_cores),
    ),
    Column(
        "history",
        "TREND",
        8,
        10,
        "CPU of the last samples; full height is one core or its own peak",
        live=True,
    ),
    Column(
        "throttled",
        "THR %",
        5,
        11,
        "Share of its quota periods in which it was held back",
        lambda row: row.throttled_share,
        _throttled,
    ),
    Column(
        "wait",
        "WAIT99",
        6,
        3,
        "99 of 100 waits for a CPU were shorter, in the last 10 s",
        lambda row: row.wait_p99_ns,
        _p99,
        waits=True,
    ),
    Column(
        "worst",
        "WAITS FOR",
        WORST_WIDTH,
        8,
        "Which neighbour it waited longest for: `cotenant noise` tells more",
        lambda row: row.worst_share,
        _worst,
        waits=True,
    ),
    Column(
        "memory",
        "MEMORY",
        6,
        2,
        "Working set: memory that cannot be given up at once",
        lambda row: row.memory_bytes,
        lambda row: show.amount(row.memory_bytes),
    ),
    Column(
        "share",
        "OF LIMIT",
        8,
        9,
        "Working set as a share of its memory limit",
        lambda row: row.memory_share,
        _bar,
    ),
    Column(
        "limit",
        "LIMIT",
        5,
        12,
        "Its memory limit; ∞: none",
        lambda row: row.memory_limit_bytes,
        _limit,
    ),
    Column(
        "read",
        "READ/s",
        6,
        4,
        "Bytes read from disks per second",
        lambda row: row.read_bytes_rate,
        lambda row: show.amount(row.read_bytes_rate),
    ),
    Column(
        "write",
        "WRITE/s",
        7,
        5,
        "Bytes written to disks per second",
        lambda row: row.written_bytes_rate,
        lambda row: show.amount(row.written_bytes_rate),
    ),
    Column(
        "received",
        "RX/s",
        5,
        6,
        "Bytes received per second",
        lambda row: row.received_bytes_rate,
        lambda row: show.amount(row.received_bytes_rate),
    ),
    Column(
        "sent",
        "TX/s",
        5,
        7,
        "Bytes sent per second",
        lambda row: row.sent_bytes_rate,
        lambda row: show.amount(row.sent_bytes_rate),
    ),
    Column(
        "tasks",
        "TASKS",
        5,
        13,
        "Processes and threads",
        lambda row: row.tasks,
        lambda row: show.count(row.tasks),
    ),
    Column(
        "faults",
        "FAULT/s",
        7,
        14,
        "Page faults per second that waited for a disk",
        lambda row: row.major_faults_rate,
        lambda row: show.count(row.major_faults_rate),
    ),
    Column(
        "space",
        "SPACE",
        5,
        15,
        "Disk space of its writable layer",
        lambda row: row.space_bytes,
        lambda row: show.amount(row.space_bytes),
    ),
)

BY_KEY = {column.key: column for column in COLUMNS}

SORTABLE = tuple(column.key for column in COLUMNS if not column.live)
"""Words that `--sort` takes."""


def fit(width: int, *, live: bool = True, waits: bool = False) -> list[Column]:
    """The columns that a screen of this width has room for, in their order; the name always.

    `live`: there is a history; `waits`: waits are sensed.
    """
    room = width - min(max(width // 4, NAME_WIDTH[0]), NAME_WIDTH[1])
    kept = {COLUMNS[0].key}
    for column in sorted(COLUMNS[1:], key=lambda column: column.rank):
        if (column.live and not live) or (column.waits and not waits):
            continue
        room -= column.width + GAP
        if room < 0:
            break
        kept.add(column.key)
    return [column for column in COLUMNS if column.key in kept]


def name_width(width: int, columns: Sequence[Column]) -> int:
    """What is left of the screen for the first column."""
    return max(width - sum(column.width + GAP for column in columns[1:]), 1)
