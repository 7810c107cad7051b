"""`cotenant bench profile`: what a stack costs, and how many are whole, side by side with peers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from msgspec import Struct

from cotenant.agent import Watch
from cotenant.bench.form import Result, Row, bar
from cotenant.bench.host import facts
from cotenant.bench.patience import Patience
from cotenant.bench.peers import profilers
from cotenant.bench.profiling import chosen, memory, own, rows, tables, tools
from cotenant.bench.profiling.own import What
from cotenant.bench.profiling.product import Product
from cotenant.bench.profiling.ticks import Ticks
from cotenant.bench.profiling.victims import DOES, GO, PYTHON, XZ, Victim, victims
from cotenant.bench.stage import Told, stage
from cotenant.config import Settings
from cotenant.errors import CotenantError
from cotenant.kernel import cgroupfs
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.model import Tenant

PEERS = chosen.PEERS
MIXED, NATIVE, HOST, SLOW = "Python and native", "native", "the host", "the host, slowly"
MOST_KERNEL_US = 15.0
MOST_USER_US = 5.0
MOST_CPU_PERCENT = 0.2
HZ, SLOW_HZ = 99, 19
OPEN_SECONDS = 2.5
"""Opening a profiler of our own on a busy host, tables from the cache."""
TOOL_SECONDS = {Product.name: 8, profilers.DWARF: 12}
"""What a turn of a profiler takes beyond what is watched: it starts, settles, ends, is read."""
TOOL_SECONDS_ELSE = 5


class Plan(Struct, frozen=True):
    """What to measure: against these peers, with so many turns of each way.

    `window_s`: a window of our own line, two a turn. `tool_s`: how long a profiler is watched in a
    turn. `processes`: idle ones beside the agent; 0 leaves it out. What would not end within
    `most_seconds` of all is left out.
    """

    peers: tuple[str, ...] = PEERS
    rounds: int = 3
    window_s: float = 4.0
    tool_s: float = 5.0
    table_rounds: int = 9
    processes: int = 200
    agent_seconds: int = 20
    most_seconds: int = 480


def run(plan: Plan, told: Told) -> Result:
    """Everything in the plan. A stage that fails is in `skipped`, with the reason.

    Raises CotenantError where there is nothing to be profiled, NoBpf where the kernel lacks what
    it takes.
    """
    hierarchies = cgroupfs.find()
    result = Result("profile", facts(hierarchies), method(plan))
    ready = _tools(plan, result, told)
    patience = Patience(plan.most_seconds)
    with stage("unwind tables", result):
        tables.measure(plan.table_rounds, told.progress("unwind tables"), result)
    with victims(hierarchies, told.progress("programs to be profiled"), result) as found:
        result.host["profiled"] = ", ".join(victim.name for victim in found)
        with Ticks() as ticks:
            with stage("what a sample costs", result):
                _own(plan, hierarchies, found, ticks, patience, result, told)
            with stage("profilers side by side", result):
                _side_by_side(plan, ready, found, ticks, patience, result, told)
        if plan.processes:
            with stage("agent with profiling", result):
                _agent(plan, len(found), patience, result, told)
    _judge(result)
    return result


def method(plan: Plan) -> str:
    """How it was measured, in sentences."""
    programs = "; ".join(f"{name} = {does}" for name, does in DOES.items())
    return (
        f"Programs to be profiled, all at work, each in a cgroup of its own: {programs}. "
        f"A sample of ours: in each of {plan.rounds} turns a profiler is opened for the Python "
        "programs alone, the native ones alone, and the whole host at two rates, in turn. It is "
        f"stepped as the agent does, for two windows of {plan.window_s:g} s: the first pays for "
        "names (first user us), the second is measured. Kernel us: what our program times itself, "
        "per sample; counted us: the same by the kernel's statistics of BPF programs, ticks of "
        "idle CPUs and of other groups included; tick us: the whole handler of the clock's timer "
        "(perf_swevent_hrtimer), timed by programs at the timers' tracepoints, those ticks "
        "included. User us: CPU of the thread that drains, counts and names, and makes the "
        "profile, per sample. Each CPU percent: the handler and that thread, of all CPUs' time. "
        "Side by side: each profiler is started, left to settle for "
        f"{tools.SETTLE_SECONDS:g} s, watched for {plan.tool_s:g} s, ended as by Ctrl-C and read "
        f"to text, all at {HZ} Hz in turn, {plan.rounds} turns. cotenant = `cotenant profile` of "
        "the whole host, names included. perf = `perf record -a -e cpu-clock` with `--call-graph "
        "fp` or `dwarf` (8 kB of stack), then `perf script --no-inline`. py-spy and Austin run "
        "beside each of the two Python programs, for Python alone; py-spy stops its target for "
        "each sample, which nobody is charged for here. otel = OpenTelemetry's eBPF profiler for "
        "the whole host, telling a receiver of ours each second, built without a module that only "
        "its tests use and going on where the limit of locked memory cannot be raised. "
        "Kernel us: the clock's handler, per tick; process us: CPU of the profiler while "
        "watched, per sample; reading us: from "
        "then until text is there, per sample of the whole run; start-up is left out for all. "
        "A sample is one stack of one thread on a CPU. Whole: the outermost frame is where "
        "threads start (_start, __libc_start_main and what it calls, clone, clone3, start_thread, "
        "Go's goexit, mstart, mcall, systemstack), by the name the profiler gives or the address, "
        "looked up in one symbol table for all. With the GIL: samples of the server, in which it "
        "is released for moments only; without: of the program that hashes. Shares are of all "
        "turns together, other figures are medians of the turns. Unwind tables: CPU time of one "
        "making, and of having it from the cache on disk. Agent: resident memory, the most of "
        f"{plan.agent_seconds} s, and kernel memory of all its maps, noise and metering included. "
        "The machine is shared: ratios say more than figures."
    )


def _tools(plan: Plan, result: Result, told: Told) -> list[tools.Tool]:
    """Ours and the peers that can be had; why the others cannot is in `skipped`."""
    found: list[tools.Tool] = [Product()] if plan.tool_s else []
    for name in plan.peers if plan.tool_s else ():
        with stage(name, result):
            found.append(chosen.peer(name, told.say))
    return found


def _own(
    plan: Plan,
    hierarchies: Hierarchies,
    found: list[Victim],
    ticks: Ticks,
    patience: Patience,
    result: Result,
    told: Told,
) -> None:
    """A row for each kind of stack and each rate."""
    told.say("bench: our own samples, kinds of stacks in turn")
    whats = [what for what in _whats(found) if what.tenants != ()]
    patience.need(plan.rounds * len(whats) * (2 * plan.window_s + OPEN_SECONDS))
    progress = told.progress("our own samples: round")
    with Watch(Settings()) as watch:
        watch.follow()
        everybody = list(watch.registry.tenants)
    turns: dict[str, list[own.Turn]] = {what.name: [] for what in whats}
    for done in range(1, plan.rounds + 1):
        for what in whats:
            turn = own.take_turn(hierarchies, what, everybody, ticks, plan.window_s)
            turns[what.name].append(turn)
        progress(done, plan.rounds)
    result.rows += [own.row(what, turns[what.name]) for what in whats]


def _whats(found: list[Victim]) -> list[What]:
    def of(names: tuple[str, ...]) -> tuple[Tenant, ...]:
        return tuple(victim.tenant for victim in found if victim.name in names)

    return [
        What(MIXED, HZ, of(PYTHON)),
        What(NATIVE, HZ, of((XZ, GO))),
        What(HOST, HZ),
        What(SLOW, SLOW_HZ),
    ]


def _side_by_side(
    plan: Plan,
    ready: list[tools.Tool],
    found: list[Victim],
    ticks: Ticks,
    patience: Patience,
    result: Result,
    told: Told,
) -> None:
    """Two rows for each profiler."""
    if not ready:
        return
    told.say("bench: profilers side by side, in turn")
    each = sum(plan.tool_s + TOOL_SECONDS.get(t.name, TOOL_SECONDS_ELSE) for t in ready)
    patience.need(plan.rounds * each)

    def staged(folder: Path) -> tools.Stage:
        return tools.Stage(found, HZ, plan.tool_s, ticks, folder)

    def failed(name: str, error: CotenantError) -> None:
        result.skip(name, str(error))

    progress = told.progress("profilers: round")
    result.rows += rows.rows(tools.take_turns(ready, plan.rounds, staged, progress, failed))


def _agent(plan: Plan, working: int, patience: Patience, result: Result, told: Told) -> None:
    patience.need(plan.agent_seconds + memory.SETTLE_SECONDS + plan.processes * 0.05)
    with memory.sleepers(plan.processes, told.progress("idle processes")):
        progress = told.progress("agent: second")
        memory.measure(plan.processes, working, plan.agent_seconds, progress, result)


def _judge(result: Result) -> None:
    """The bars set for what was measured."""
    judge = partial(_bar, result, {str(r["what"]): r for r in result.rows if _is_own(r)})
    judge("a sample in the kernel, Python and native", MIXED, "kernel_us", "us", MOST_KERNEL_US)
    judge("a sample in the kernel, native alone", NATIVE, "kernel_us", "us", MOST_KERNEL_US)
    judge("a sample in user space, names included", HOST, "user_us", "us", MOST_USER_US)
    all_of_it = f"of each CPU at {HZ} Hz, all included"
    judge(all_of_it, HOST, "each_cpu_percent", "%", MOST_CPU_PERCENT)
    result.bars += rows.bars(result.rows)


def _is_own(row: Row) -> bool:
    return row["part"] == own.PART


def _bar(
    result: Result, found: dict[str, Row], name: str, what: str, key: str, unit: str, most: float
) -> None:
    value = found[what].get(key) if what in found else None
    if isinstance(value, float):
        result.bars.append(bar(name, value, unit, "<=", most))
