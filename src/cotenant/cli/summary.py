"""The whole host in a few words: what stands above the table, live or printed once."""

from __future__ import annotations

from cotenant.cli import show
from cotenant.cli.figures import figures
from cotenant.cli.source import Reading
from cotenant.model import Kind, Lost

_LOST = {
    "births": "births unseen",
    "unwatched": "directories unwatched",
    "slots": "tenants without a slot",
    "traffic": "packets and requests uncounted",
    "vanished": "vanished in mid-read",
    "held": "counters held",
    "late": "samples late",
    "unknown": "tenants without a name",
}
"""Each counter of Lost in words that follow its number."""


def host(reading: Reading) -> str:
    """Name, cores and kernel of the host."""
    machine = reading.snapshot.machine
    cores = "core" if machine.cores == 1 else "cores"
    return f"{show.name(machine.node, 40)} · {machine.cores} {cores} · Linux {machine.kernel}"


def totals(reading: Reading) -> list[tuple[str, str]]:
    """What the whole host uses, as pairs of a word and a figure."""
    sums = figures(reading.whole)
    machine = reading.snapshot.machine
    return [
        ("CPU", f"{show.percent(sums.cpu_cores)} of {machine.cores * 100} %"),
        ("memory", f"{show.amount(sums.memory_bytes)} of {show.amount(machine.memory_bytes)}"),
        ("read", f"{show.amount(sums.read_bytes_rate)}/s"),
        ("write", f"{show.amount(sums.written_bytes_rate)}/s"),
        ("rx", f"{show.amount(sums.received_bytes_rate)}/s"),
        ("tx", f"{show.amount(sums.sent_bytes_rate)}/s"),
    ]


def tenants(reading: Reading) -> str:
    """How many tenants there are, nested ones told apart."""
    own = nested = 0
    for usage in reading.usages:
        if usage.tenant.parent is not None:
            nested += 1
        elif usage.tenant.kind is not Kind.HOST:
            own += 1
    word = "tenant" if own == 1 else "tenants"
    return f"{own} {word}" + (f" + {nested} nested" if nested else "")


def lost(reading: Reading) -> str:
    """What is known to be missing from these figures, in words; empty when nothing is."""
    counters: Lost = reading.snapshot.lost
    return ", ".join(
        f"{show.count(number)} {words}"
        for field, words in _LOST.items()
        if (number := getattr(counters, field))
    )
