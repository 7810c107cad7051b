"""What one tenant costs when there are few and when there are many."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from cotenant.bench.form import Bar, Row, bar, rounded
from cotenant.bench.patience import Patience, TimeIsUp
from cotenant.bench.tenants import Ground, ground
from cotenant.bench.turns import Progress, Times, take_turns
from cotenant.bench.ways import Product
from cotenant.kernel.cgroupfs import Hierarchies

STEPS = (10, 50, 200, 1000, 5000)
FLAT_TO = 1000
MOST_SPREAD = 1.2
MOST_OVER_BARE = 5.0
STEP_SECONDS, TENANT_SECONDS = 5.0, 0.01
"""What making, measuring and removing take, once and for each tenant."""


def measure(
    hierarchies: Hierarchies,
    steps: Sequence[int],
    rounds: int,
    patience: Patience,
    told: Callable[[str], Progress],
) -> tuple[list[Row], list[Bar]]:
    """Grow one set of plain cgroups from step to step, and time both ways at each.

    Ends before the step for which no time is left: the rows tell how far it came.
    """
    rows: list[Row] = []
    costs: dict[int, dict[str, float]] = {}
    with ground(hierarchies, "cgroup", told("removing cgroups")) as made:
        for number in steps:
            try:
                patience.need(STEP_SECONDS + number * TENANT_SECONDS)
            except TimeIsUp:
                break
            made.tell(told(f"{number} cgroups: making them"))
            made.grow(number)
            tier, times = _times(hierarchies, made, rounds, told(f"{number} cgroups: turn"))
            costs[number] = {way: statistics.median(t.cpu_ns) for way, t in times.items()}
            rows.append(_row(number, costs[number]) | {"tier": tier, "turns": rounds})
    return rows, _bars(costs)


def _times(
    hierarchies: Hierarchies, made: Ground, rounds: int, told: Progress
) -> tuple[str, dict[str, Times]]:
    product = Product(hierarchies, made.owns, made.number)
    try:
        return product.tier, take_turns(product.ways(), rounds, told)
    finally:
        product.close()


def _row(number: int, cost: dict[str, float]) -> Row:
    bare = cost.get("bare")
    return {
        "part": "scaling",
        "tenants": number,
        "cpu_ms": rounded(cost["cotenant"] / 1e6),
        "cpu_us_per_tenant": rounded(cost["cotenant"] / number / 1e3),
        "bare_cpu_ms": None if bare is None else rounded(bare / 1e6),
        "bare_us_per_tenant": None if bare is None else rounded(bare / number / 1e3),
        "times_bare": None if bare is None else rounded(cost["cotenant"] / bare),
    }


def _bars(costs: dict[int, dict[str, float]]) -> list[Bar]:
    """Flat: the dearest tenant against the cheapest, of all steps up to 1000.

    What every collection costs however few there are makes tenants dear at 10; what the kernel's
    walk costs makes them dear at 1000. Rows of both tell which.
    """
    each = [cost["cotenant"] / number for number, cost in costs.items() if number <= FLAT_TO]
    bars = []
    if len(each) > 1:
        name = f"CPU per tenant, dearest against cheapest up to {FLAT_TO}"
        bars.append(bar(name, max(each) / min(each), "times", "<=", MOST_SPREAD))
    bars += [
        bar(f"CPU of a collection of {number}", cost["cotenant"] / cost["bare"], "times bare", "<=",
            MOST_OVER_BARE, "bare")
        for number, cost in costs.items()
        if number > FLAT_TO and "bare" in cost
    ]  # fmt: skip
    return bars
