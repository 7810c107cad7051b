"""What a user feels: loads of the scheduler with the sense off, with it on, and beside the agent.

In each round every state gets its turn, and in each turn every load is run; percentiles are over
all rounds: of runs for the loads that perf times as a whole, of requests for the loop.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from math import ceil

from msgspec import Struct

from cotenant.bench import perf
from cotenant.bench.daemon import running_agent
from cotenant.bench.form import Row, rounded
from cotenant.bench.hooks import OFF
from cotenant.bench.requests import Requests
from cotenant.bench.turns import Progress
from cotenant.errors import CotenantError
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.noise.programs import Level
from cotenant.noise.read import Noise

COLLECT_SECONDS = 1.0
PIPE, MESSAGING, REQUESTS = "sched pipe, a round", "sched messaging, a run", "request beside hogs"


class Loads(Struct, frozen=True):
    """How much of each load is one turn; `cpu` is the one that pipe and requests run on.

    So many runs of a pipe with `pipe_times` rounds and of messaging (40 processes, each message
    passed `messaging_times` times), and so many ms of requests.
    """

    cpu: int
    runs: int
    pipe_times: int
    messaging_times: int
    requests_ms: int


Taken = dict[str, dict[str, list[float]]]
"""Microseconds by load and state."""

State = Callable[[], contextlib.AbstractContextManager[None]]
Turn = Callable[[], dict[str, list[float]]]
"""One turn of some loads: the microseconds of each."""


def states(hierarchies: Hierarchies) -> dict[str, State]:
    """Off; the sense with blame, collected once a second; the agent as it comes."""
    return {
        OFF: contextlib.nullcontext,
        "noise": lambda: _sensing(hierarchies),
        "agent": _agent,
    }


def take_turns(
    states: dict[str, State],
    turn: Turn,
    rounds: int,
    told: Progress,
    failed: Callable[[str, CotenantError], None],
) -> Taken:
    """Every load in every state, `rounds` times. A state that fails is told and left out."""
    taken: Taken = {}
    gone: set[str] = set()
    for done in range(1, rounds + 1):
        for name, state in states.items():
            if name in gone:
                continue
            try:
                with state():
                    for load, micros in turn().items():
                        taken.setdefault(load, {}).setdefault(name, []).extend(micros)
            except CotenantError as error:
                if name == OFF:
                    raise
                gone.add(name)
                failed(name, error)
        told(done, rounds)
    return taken


def rows(taken: Taken) -> list[Row]:
    """For each load and state: p50, p99, and both against `off`."""
    made: list[Row] = []
    for load, by_state in taken.items():
        p50_off, p99_off = (percentile(by_state[OFF], part) for part in (0.5, 0.99))
        for state, micros in by_state.items():
            p50, p99 = (percentile(micros, part) for part in (0.5, 0.99))
            made.append({
                "part": "slow-down",
                "load": load,
                "state": state,
                "p50_us": rounded(p50),
                "p99_us": rounded(p99),
                "p50_times_off": rounded(p50 / p50_off),
                "p99_times_off": rounded(p99 / p99_off),
                "values": len(micros),
            })  # fmt: skip
    return made


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest of the values that at least this part of them do not exceed (nearest rank)."""
    return sorted(values)[max(0, ceil(part * len(values)) - 1)]


def of_perf(loads: Loads) -> dict[str, list[float]]:
    """One turn of the loads that perf has."""
    return {
        PIPE: [perf.pipe(loads.cpu, loads.pipe_times) for _ in range(loads.runs)],
        MESSAGING: [perf.messaging(1, loads.messaging_times) for _ in range(loads.runs)],
    }


def of_requests(loads: Loads, requests: Requests) -> dict[str, list[float]]:
    """One turn of the request loop."""
    return {REQUESTS: [ns / 1e3 for ns in requests.ask(loads.requests_ms)]}


@contextlib.contextmanager
def _sensing(hierarchies: Hierarchies) -> Iterator[None]:
    """The sense at its fullest, collected as the agent would."""
    with Noise(hierarchies, Level.BLAME) as noise:
        over = threading.Event()

        def collect() -> None:
            while not over.wait(COLLECT_SECONDS):
                noise.collect()

        collecting = threading.Thread(target=collect)
        collecting.start()
        try:
            yield
        finally:
            over.set()
            collecting.join()


@contextlib.contextmanager
def _agent() -> Iterator[None]:
    with running_agent():
        yield
