"""`cotenant bench meter`: what one collection costs, side by side with every peer.

And what comes around it: a page of /metrics, the agent, `cotenant metrics`, few tenants and many.
"""

from __future__ import annotations

from msgspec import Struct

from cotenant.bench import alone, daemon, page, scale
from cotenant.bench.form import Result, Row, bar, milliseconds, rounded
from cotenant.bench.host import facts
from cotenant.bench.patience import Patience
from cotenant.bench.peers import cadvisor
from cotenant.bench.peers.docker import DockerStats
from cotenant.bench.peers.files import Files
from cotenant.bench.stage import Told, stage
from cotenant.bench.tenants import By, Ground, engine, ground
from cotenant.bench.turns import Times, Way, take_turns
from cotenant.bench.ways import Product
from cotenant.errors import HostCannot, RuntimeSilent
from cotenant.kernel import cgroupfs
from cotenant.kernel.cgroupfs import Hierarchies

PEERS = ("files", "docker", "cadvisor", "cadvisor-full")
MOST_CONTAINERS = 200
FEW_ROUNDS = 3
"""Of Docker's API, a round of which takes a second or two."""
LEAST_TIMES = {"files": 20.0, "cadvisor": 50.0, "cadvisor-full": 50.0}
"""How many times cotenant's CPU time each peer must need, at least."""
MOST_OVER_BARE = 5.0
AROUND_CADVISOR_SECONDS = 75
"""Starting cAdvisor, and removing the tenants afterwards."""


class Plan(Struct, frozen=True):
    """What to measure: so many tenants, against these peers, with so many turns of each way.

    `scale`: the steps of the scaling, none to leave it out. `agent_seconds` and `cadvisor_seconds`:
    how long each of these is watched; 0 leaves the agent out. What would not end within
    `most_seconds` of all is left out.
    """

    number: int = 200
    peers: tuple[str, ...] = PEERS
    rounds: int = 21
    scale: tuple[int, ...] = scale.STEPS
    agent_seconds: int = 45
    cadvisor_seconds: int = cadvisor.SECONDS
    starts: int = 7
    most_seconds: int = 480


def run(plan: Plan, told: Told) -> Result:
    """Everything in the plan. A stage that fails is in `skipped`, with the reason.

    Raises CotenantError where not even the tenants can be made.
    """
    hierarchies = cgroupfs.find()
    patience = Patience(plan.most_seconds)
    result = Result("meter", facts(hierarchies), "")
    by = _how(plan, result)
    with ground(hierarchies, by, told.progress("removing tenants")) as made:
        made.tell(told.progress(f"making {plan.number} tenants"))
        made.grow(plan.number)
        result.host["tenants"] = f"{plan.number}, by {by}"
        _around(plan, hierarchies, made, result, told)
        _cadvisors(plan, made, patience, result, told)
    if plan.scale:
        with stage("scaling", result):
            told.say("bench: few tenants and many, as plain cgroups")
            rows, bars = scale.measure(
                hierarchies, plan.scale, plan.rounds, patience, told.progress
            )
            result.rows += rows
            result.bars += bars
            for number in plan.scale[len(rows) :]:
                result.skip(f"scaling to {number}", "No time is left for it on this busy host.")
    result.method = method(plan, by)
    return result


def method(plan: Plan, by: By) -> str:
    """How it was measured, in sentences."""
    return (
        f"{plan.number} idle tenants ({by}), made for this and removed after it. The ways of one "
        f"collection take turns (A B C, A B C ...), {plan.rounds} turns each ({FEW_ROUNDS} for "
        "docker); a turn is a batch of about 20 ms, so caches are warm for every way. Figures are "
        "medians of the turns. CPU time is user + system of this process (process_time), the "
        "kernel's work in its calls included; for docker also dockerd's and containerd's. Garbage "
        "is collected before each turn, and the collector is on during it. bare = the same "
        "programs and hierarchies, nothing decoded. cotenant = up to named, frozen records. files "
        "= the same values by open, read, parse, close, without network and block devices, which "
        "cotenant has besides. cAdvisor: its own user + system time over "
        f"{plan.cadvisor_seconds} s at 1 s housekeeping and one scrape a second, per scrape. "
        "Memory: resident size of a process of its own for each way after 20 times; allocations: "
        "for Python blocks in the result (what came and went is not counted), for cAdvisor all "
        "mallocs; allocated kB: for Python the peak, for cAdvisor the sum. Scaling: plain cgroups "
        "with a sleeping process each, one set that grows. The agent meters and senses noise; what "
        "its profiles take is told by `bench profile`. The machine is shared: ratios say more than "
        "figures."
    )


def _how(plan: Plan, result: Result) -> By:
    """Containers up to 200, where Docker runs; else plain cgroups."""
    if plan.number > MOST_CONTAINERS:
        return "cgroup"
    try:
        engine()
    except (RuntimeSilent, HostCannot) as error:
        result.skip("tenants as containers", f"{error} Plain cgroups instead.")
        return "cgroup"
    return "docker"


def _around(plan: Plan, hierarchies: Hierarchies, made: Ground, result: Result, told: Told) -> None:
    """All that is measured on the one set of tenants."""
    product = Product(hierarchies, made.owns, plan.number)
    result.host["tier"] = product.tier
    try:
        told.say("bench: one collection, the ways in turn")
        _collection(plan, hierarchies, made, product, result, told)
        with stage("page", result):
            row, held = page.measure(product, plan.rounds, told.progress("/metrics: turn"))
            result.rows.append(row)
            result.bars.append(held)
    finally:
        product.close()
    if plan.agent_seconds:
        told.say("bench: the agent, then `cotenant metrics`")
        with stage("agent", result):
            watched = told.progress("agent: second")
            rows, bars = daemon.measure_agent(plan.number, plan.agent_seconds, watched)
            result.rows += rows
            result.bars += bars
        with stage("cotenant metrics", result):
            row, held = daemon.measure_start(plan.starts, told.progress("cotenant metrics: run"))
            result.rows.append(row)
            result.bars.append(held)


def _collection(
    plan: Plan,
    hierarchies: Hierarchies,
    made: Ground,
    product: Product,
    result: Result,
    told: Told,
) -> None:
    """The ways of one collection: times in turn, then memory alone, then the bars."""
    ways: list[Way] = [*product.ways()]
    if product.tier == "files":
        result.skip(
            "bare", f"The meter reads files here, so nothing walks. {product.why_files or ''}"
        )
    if "files" in plan.peers:
        ways.append(Files(hierarchies, product.tenants).way())
    times = take_turns(ways, plan.rounds, told.progress("collection: turn"))
    times |= _docker(plan, made, product, result, told)
    paths = [tenant.path for tenant in product.tenants]
    for way in times:
        row = _row(way, times[way])
        if way != "docker":
            with stage(f"memory of {way}", result):
                memory = alone.measure(way, paths)
                row["rss_mb"] = rounded(memory.rss_bytes / 1e6)
                row["allocations"] = memory.blocks
                row["allocated_kb"] = rounded(memory.peak_bytes / 1e3)
        result.rows.append(row)
    _compare(result)


def _docker(
    plan: Plan, made: Ground, product: Product, result: Result, told: Told
) -> dict[str, Times]:
    """Docker's own statistics, in turn with `cotenant` once more, as it needs seconds a round."""
    if "docker" not in plan.peers:
        return {}
    if made.by != "docker":
        result.skip("docker", "The tenants are no containers.")
        return {}
    found: dict[str, Times] = {}
    with stage("docker", result):
        peer = DockerStats(engine(), made.ids)
        try:
            ways: list[Way] = [peer, product.ways()[-1]]
            found = take_turns(ways, FEW_ROUNDS, told.progress("docker stats: turn"))
        finally:
            peer.close()
    return {way: times for way, times in found.items() if way == "docker"}


def _cadvisors(plan: Plan, made: Ground, patience: Patience, result: Result, told: Told) -> None:
    """cAdvisor as ebpf-mon limited it, and as it comes."""
    for name in ("cadvisor", "cadvisor-full"):
        if name not in plan.peers:
            continue
        limited = name == "cadvisor"
        if limited and made.by != "docker":
            result.skip(name, "Limited to Docker, it sees no plain cgroups.")
            continue
        with stage(name, result):
            patience.need(plan.cadvisor_seconds + AROUND_CADVISOR_SECONDS)
            told.say(f"bench: {name}, {plan.cadvisor_seconds} s at one scrape a second")
            seen = made.number if made.by == "docker" else 0
            row = cadvisor.measure(limited, seen, plan.cadvisor_seconds, told.say)
            result.rows.append(row)
            _compare(result)


def _row(way: str, times: Times) -> Row:
    return {
        "part": "collection",
        "way": way,
        "wall_ms": milliseconds(times.wall_ns),
        "cpu_ms": milliseconds(times.cpu_ns),
        "turns": len(times.cpu_ns),
    }


def _compare(result: Result) -> None:
    """How often each way's CPU time is cotenant's, on its row; and the bars set for it."""
    rows = {str(row["way"]): row for row in result.rows if row["part"] == "collection"}
    ours = _number(rows["cotenant"], "cpu_ms")
    done = {each.peer for each in result.bars}
    for way, row in rows.items():
        ratio = _number(row, "cpu_ms") / ours
        row["times_cotenants_cpu"] = rounded(ratio)
        if way in done:
            continue
        if way == "bare":
            result.bars.append(
                bar("CPU of a collection", 1 / ratio, "times bare", "<=", MOST_OVER_BARE, way)
            )
        elif way in LEAST_TIMES:
            name = f"CPU of {way} against cotenant's"
            result.bars.append(bar(name, ratio, "times", ">=", LEAST_TIMES[way], way))


def _number(row: Row, key: str) -> float:
    value = row[key]
    assert isinstance(value, float)
    return value
