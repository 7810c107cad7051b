"""Waits as the classic picture: a line per power of two, a bar of stars. Pure but for a comm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum

from cotenant.buckets import octaves, quantile_ns
from cotenant.cli import show
from cotenant.model import NoiseReport, Tenant

STARS = 40
NARROW, WIDE = 10, 20
"""Digits of a bound; wide where 2^32 of the unit is passed."""


class Unit(StrEnum):
    """What a picture counts in."""

    AUTO = "auto"
    NS = "ns"
    US = "us"
    MS = "ms"


_NS = {Unit.NS: 1.0, Unit.US: 1e3, Unit.MS: 1e6}
_PLURAL = {Unit.NS: "nsecs", Unit.US: "usecs", Unit.MS: "msecs"}
COARSE_NS, FINE_NS = 1e9, 1e4
"""`auto` takes ms where the longest of 99 in 100 waits is over the one, ns below the other."""


def pictures(
    report: NoiseReport, unit: Unit, span: str, comm: Callable[[int], str] = lambda pid: ""
) -> Iterator[str]:
    """Blocks of lines, one per tenant that waited. `span` says what time they are of."""
    for delay in report.delays:
        if not delay.waits:
            continue
        yield f"{head(delay.tenant, comm)}\n{span}\n{picture(delay.buckets, unit)}"


def head(tenant: Tenant, comm: Callable[[int], str] = lambda pid: "") -> str:
    """Name, Kubernetes pod, comm of the first process, cgroup id and path; what is known of it."""
    told = [show.name(tenant.name)]
    if tenant.pod:
        told.append("pod " + show.name(f"{tenant.namespace or '-'}/{tenant.pod}"))
    if tenant.main_pid is not None and (name := comm(tenant.main_pid)):
        told.append(f"comm {show.name(name)}")
    if tenant.cgroups:
        # The v2 tree's id where it is there (its number is 0).
        told.append(f"cgroup {tenant.cgroups[min(tenant.cgroups)]}")
    if tenant.path:
        told.append(show.name(tenant.path))
    return " · ".join(told)


def picture(buckets: Sequence[int], unit: Unit = Unit.AUTO) -> str:
    """The picture of waits counted in the buckets of cotenant.buckets; rows from 0 on."""
    if not any(buckets):
        return "     (the distribution is not kept: the programs cost more than their budget)\n"
    unit = chosen(buckets) if unit is Unit.AUTO else unit
    rows = octaves(buckets, _NS[unit])
    digits = NARROW if len(rows) <= 32 else WIDE
    most = max(rows)
    lines = [f"     {_PLURAL[unit]:<{2 * digits - 1}} : count     distribution"]
    for power, count in enumerate(rows):
        lower, upper = (1 << power if power else 0), (2 << power) - 1
        bar = "*" * (STARS * count // most)
        lines.append(f"{lower:>{digits}} -> {upper:<{digits}} : {count:<8} |{bar:<{STARS}}|")
    return "\n".join(lines) + "\n"


def chosen(buckets: Sequence[int]) -> Unit:
    """The unit in which the picture has neither too many rows nor too few."""
    p99 = quantile_ns(buckets, 0.99) or 0.0
    return Unit.MS if p99 > COARSE_NS else Unit.NS if p99 < FINE_NS else Unit.US
