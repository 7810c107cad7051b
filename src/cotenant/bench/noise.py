"""`cotenant bench noise`: what it costs to sense who makes whom wait, side by side with peers."""

from __future__ import annotations

import statistics
from functools import partial

from msgspec import Struct

from cotenant.bench import hooks, perf, slowdown
from cotenant.bench.form import Result, Row, bar, rounded
from cotenant.bench.hooks import EMPTY, OFF, Cost, Turn
from cotenant.bench.host import facts
from cotenant.bench.patience import Patience
from cotenant.bench.peers import runqlat
from cotenant.bench.requests import HOGS, beside_hogs
from cotenant.bench.slowdown import Loads
from cotenant.bench.stage import Told, stage
from cotenant.bench.turns import Own
from cotenant.bench.turns import take_turns as timed
from cotenant.errors import CotenantError
from cotenant.kernel import cgroupfs
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.noise.programs import Level
from cotenant.noise.read import Noise

PEERS = runqlat.NAMES
COUNT, HISTOGRAM, BLAME = (f"cotenant {level.name.lower()}" for level in Level)
MOST_NS = {HISTOGRAM: 130.0, BLAME: 160.0}
LEAST_TIMES = 1.0
"""A peer must cost at least what cotenant's histogram does."""
MOST_MEMORY_MB = 64.0
"""Twice what its books may take (noise/programs.py): tasks and pairs come on top."""
TURN_SECONDS, START_SECONDS = 2.5, 4.0
"""What a turn of one way takes on a busy host: a way of our own, and a peer that is started."""


class Plan(Struct, frozen=True):
    """What to measure: against these peers, with so many turns of each way.

    `pipe_times`: rounds of the pipe in a turn. `slow_rounds`: turns of each state of the slow-down;
    0 leaves it out. What would not end within `most_seconds` of all is left out.
    """

    peers: tuple[str, ...] = PEERS
    rounds: int = 9
    pipe_times: int = 30_000
    slow_rounds: int = 10
    loads: Loads = Loads(0, 8, 10_000, 100, 2000)
    most_seconds: int = 480


def run(plan: Plan, told: Told) -> Result:
    """Everything in the plan. A stage that fails is in `skipped`, with the reason.

    Raises HostCannot where there is no perf, NoBpf where this kernel does not have the sense.
    """
    perf.need()
    hierarchies = cgroupfs.find()
    result = Result("noise", facts(hierarchies), "")
    with Noise(hierarchies, Level.BLAME) as noise:
        result.rows.append(_memory(noise, plan, told))
    peers = _peers(plan, result, told)
    patience = Patience(plan.most_seconds)
    told.say("bench: sched pipe, the ways in turn")
    with stage("cost of a switch", result):
        patience.need(_seconds(plan, len(peers)))
        result.rows += _costs(plan, hierarchies, peers, result, told)
    if plan.slow_rounds:
        _slowdown(plan, hierarchies, patience, result, told)
    _judge(result)
    result.method = method(plan)
    return result


def method(plan: Plan) -> str:
    """How it was measured, in sentences."""
    loads = plan.loads
    return (
        f"`taskset -c {loads.cpu} perf bench sched pipe -l {plan.pipe_times}`: every round is two "
        f"switches and two wake-ups. The ways take turns (A B C, A B C ...), {plan.rounds} turns "
        f"each; each is attached for its turn alone. In a turn the pipe runs {hooks.RUNS} times "
        "for microseconds per round (their median), which is what users feel; then once with the "
        "kernel's statistics of BPF programs (BPF_ENABLE_STATS) on, for nanoseconds per switch. "
        "These are run_time_ns of all programs of the way at the scheduler's hooks, divided by "
        "the switches: the cost of one sched_switch and one sched_wakeup (and of the rare "
        "sched_wakeup_new and sched_migrate_task) together. Net: for each run of each program, "
        "what a program that does nothing was charged at the same hook in the same round is "
        "taken off. So the peers, with a program at both hooks, are let off two empty programs "
        "per switch, cotenant one, as it needs none at sched_wakeup. Figures are medians of the "
        "rounds. The statistics see a program alone: what the kernel does before it runs, as for "
        "bpftrace's tracepoints (perf events, which have their arguments put together first), "
        "shows only in the microseconds. cotenant keeps a histogram for every tenant, and with "
        "blame who ran meanwhile; the peers keep one histogram of the host. bcc = libbpf-tools' "
        "runqlat as Debian builds it. ebpf_exporter = the real one with a runqlat of ours "
        "(peers/runqlat/ebpf_exporter), as it ships none since v2. bpftrace = "
        "peers/runqlat/runqlat.bt. Map kB: kernel memory of the way's maps. Slow-down: off, the "
        "sense with blame collected every second (noise), and the agent as it comes, in turn, "
        f"{plan.slow_rounds} turns each of {loads.runs} runs of sched pipe ({loads.pipe_times} "
        f"rounds, one CPU), {loads.runs} runs of sched messaging (40 processes, "
        f"{loads.messaging_times} messages), and {loads.requests_ms / 1e3:g} s of requests to a "
        f"server, one at a time, with {HOGS} CPU hogs on the same CPU, each in a cgroup of its "
        "own. p50 and p99 are over all runs of all turns; for requests, over all requests. The "
        "machine is shared: ratios say more than figures."
    )


def _seconds(plan: Plan, peers: int) -> float:
    return plan.rounds * (5 * TURN_SECONDS + peers * START_SECONDS)


def _peers(plan: Plan, result: Result, told: Told) -> list[hooks.SenseWay]:
    """The peers that can be had; why the others cannot is in `skipped`."""
    found: list[hooks.SenseWay] = []
    for name in plan.peers:
        with stage(name, result):
            found.append(runqlat.Peer(name, told.say))
    return found


def _memory(noise: Noise, plan: Plan, told: Told) -> Row:
    """What the sense holds in the kernel, and what collecting from it costs."""
    collecting = Own("collect", noise.collect)
    took = timed([collecting], plan.rounds, told.progress("collecting: turn"))["collect"]
    return {
        "part": "sense",
        "what": "noise, with blame",
        "map_mb": rounded(noise.memory_bytes / 1e6),
        "collect_cpu_ms": rounded(statistics.median(took.cpu_ns) / 1e6),
        "turns": plan.rounds,
    }


def _costs(
    plan: Plan,
    hierarchies: Hierarchies,
    peers: list[hooks.SenseWay],
    result: Result,
    told: Told,
) -> list[Row]:
    """A row for each way, cheapest of ours first."""
    ways: list[hooks.SenseWay] = [hooks.Nothing(), hooks.Empty()]
    ways += [hooks.Ours(hierarchies, level) for level in Level]
    ways += peers

    def failed(name: str, error: CotenantError) -> None:
        result.skip(name, str(error))

    progress = told.progress("sched pipe: round")
    return rows(
        hooks.take_turns(ways, plan.rounds, plan.loads.cpu, plan.pipe_times, progress, failed)
    )


def rows(turns: dict[str, list[Turn]]) -> list[Row]:
    """A row for each way: its cost, against no sensing and against cotenant's histogram."""
    costs = {
        way: hooks.median_cost(took, turns[EMPTY])
        for way, took in turns.items()
        if way not in (OFF, EMPTY)
    }
    ours = costs.get(HISTOGRAM)
    return [_row(way, took, turns, costs.get(way), ours) for way, took in turns.items()]


def _row(
    way: str,
    took: list[Turn],
    turns: dict[str, list[Turn]],
    cost: Cost | None,
    ours: Cost | None,
) -> Row:
    slower = [
        (turn.usecs / off.usecs - 1) * 100 for turn, off in zip(took, turns[OFF], strict=True)
    ]
    return {
        "part": "sched pipe",
        "way": way,
        "net_ns": rounded(cost.net_ns) if cost else None,
        "at_switch_ns": rounded(cost.switch_ns) if cost else None,
        "gross_ns": rounded(cost.gross_ns) if cost else None,
        "times_ours": rounded(cost.net_ns / ours.net_ns) if cost and ours else None,
        "us_per_round": rounded(statistics.median(turn.usecs for turn in took)),
        "slower_percent": rounded(statistics.median(slower)) if way != OFF else None,
        "map_kb": rounded(took[-1].memory_bytes / 1e3) if cost else None,
        "turns": len(took),
    }


def _slowdown(
    plan: Plan, hierarchies: Hierarchies, patience: Patience, result: Result, told: Told
) -> None:
    """Loads off and on: first those of perf, then requests next to hogs."""

    def failed(name: str, error: CotenantError) -> None:
        result.skip(f"slow-down by {name}", str(error))

    states, loads = slowdown.states(hierarchies), plan.loads
    with stage("slow-down of perf's loads", result):
        told.say("bench: sched pipe and messaging, off and on in turn")
        patience.need(plan.slow_rounds * len(states) * (loads.runs * 0.4 + 2))
        turn = partial(slowdown.of_perf, loads)
        progress = told.progress("slow-down: round")
        result.rows += slowdown.rows(
            slowdown.take_turns(states, turn, plan.slow_rounds, progress, failed)
        )
    with stage("slow-down of requests", result):
        told.say(f"bench: requests next to {HOGS} hogs, off and on in turn")
        patience.need(plan.slow_rounds * len(states) * (loads.requests_ms / 1e3 + 2))
        with beside_hogs(hierarchies, loads.cpu, told.progress("cgroups")) as requests:
            result.host["server"] = requests.server
            turn = partial(slowdown.of_requests, loads, requests)
            progress = told.progress("requests: round")
            result.rows += slowdown.rows(
                slowdown.take_turns(states, turn, plan.slow_rounds, progress, failed)
            )


def _judge(result: Result) -> None:
    """The bars set for what was measured."""
    found = {str(row["way"]): row for row in result.rows if row["part"] == "sched pipe"}
    for way, most in MOST_NS.items():
        if way in found:
            result.bars.append(
                bar(f"a switch and a wake-up, {way}, net of empty programs",
                    _number(found[way], "net_ns"), "ns", "<=", most)
            )  # fmt: skip
    for peer in PEERS:
        if peer in found and HISTOGRAM in found:
            times = _number(found[peer], "times_ours")
            name = f"{peer} against {HISTOGRAM}, net"
            result.bars.append(bar(name, times, "times", ">=", LEAST_TIMES, peer))
    for row in result.rows:
        if row["part"] == "sense":
            megabytes = _number(row, "map_mb")
            result.bars.append(
                bar("kernel memory of its maps", megabytes, "MB", "<=", MOST_MEMORY_MB)
            )


def _number(row: Row, key: str) -> float:
    value = row[key]
    assert isinstance(value, float)
    return value
