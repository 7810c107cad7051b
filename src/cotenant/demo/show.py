"""`demo up` and `demo down`: containers where Docker runs, plain cgroups where it does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from cotenant.demo import wire, workloads
from cotenant.demo.cgroups import Cgroups, Progress, give_back
from cotenant.demo.containers import Containers
from cotenant.demo.engine import SUDO, Engine, find_engine
from cotenant.demo.loads import NOISY, SHOWCASE, Load, idle
from cotenant.errors import CotenantError, HostCannot, NeedsRoot, RuntimeSilent
from cotenant.kernel import cgroupfs

STATE = Path("/run/cotenant/demo.json")
By = Literal["docker", "cgroups"]
Say = Callable[[str], None]
"""Takes a sentence for the person who waits."""


class Started(Struct, frozen=True):
    """One demo tenant: its name, what it does, and whether it runs `by` docker or as a cgroup."""

    name: str
    does: str
    by: str


class Party(Struct, frozen=True):
    """What `up` did: those started now, those that were there before, and what could not be."""

    started: list[Started]
    already: list[str]
    skipped: list[str]


class State(Struct):
    """What `down` cannot find out by looking, noted before it is done.

    `controllers` are those enabled at the v2 root, by file; `docker`: containers were made.
    """

    controllers: dict[str, list[str]] = {}
    docker: bool = False


def up(
    number: int | None, by: By | None, say: Say, progress: Progress, *, noisy: bool = False
) -> Party:
    """Start `number` idle tenants, or the showcase; those that are there already are left alone.

    `noisy`: neither of these, but two that make a third one wait.

    `by` None takes Docker, and plain cgroups when Docker does not answer or there is no busybox,
    and says so. Raises NeedsRoot, HostCannot or RuntimeSilent when neither works.
    """
    loads = list(NOISY if noisy else SHOWCASE) if number is None else [
        idle(n, max(2, len(str(number)))) for n in range(1, number + 1)
    ]  # fmt: skip
    if by != "cgroups":
        try:
            return _as_containers(loads, progress)
        except (RuntimeSilent, HostCannot) as error:
            if by == "docker":
                raise
            say(f"{error} Plain cgroups instead.")
    return _as_cgroups(loads, progress)


def down(progress: Progress) -> list[str]:
    """Remove every demo tenant, whoever made it and however that ended; their names.

    Raises RuntimeSilent, or NeedsRoot, when containers may be left because Docker cannot be asked;
    all else is removed by then.
    """
    state = _state()
    removed = _remove_cgroups(state, progress)
    # Known to have made none, it need not be asked; after a restart of the host nobody knows.
    if (engine := find_engine()) is not None and (state.docker or not STATE.exists()):
        try:
            engine.version()
            removed += Containers(engine).remove(progress)
        except RuntimeSilent as error:
            hint = "when Docker is back: cotenant demo down"
            raise RuntimeSilent(f"Demo containers may be left. {error}", hint) from None
    STATE.unlink(missing_ok=True)
    return removed


def _as_containers(loads: list[Load], progress: Progress) -> Party:
    engine = find_engine()
    if engine is None:
        raise RuntimeSilent("Docker does not run here.", "cotenant demo up --cgroups")
    engine.version()
    ground = Containers(engine)
    there = ground.running()
    _remember(State(docker=True, controllers=_state().controllers))
    new = [load for load in loads if load.name not in there]
    pair = [load for load in new if load.side]
    skipped = []
    if new:
        ground.prepare()
        ground.start([load for load in new if not load.side], progress)
    if pair:
        skipped = _start_pair(engine, ground, pair, progress)
    return _party(ground.by, loads, there, skipped)


def _start_pair(
    engine: Engine, ground: Containers, pair: list[Load], progress: Progress
) -> list[str]:
    """Start the pair; where Docker has no bridge, the reason why there is none."""
    try:
        ground.start(pair, progress)
    except (RuntimeSilent, KeyError) as error:
        for load in pair:
            engine.remove(load.name)
        return [f"{load.name}: {error}" for load in pair]
    return []


def _as_cgroups(loads: list[Load], progress: Progress) -> Party:
    ground = Cgroups(cgroupfs.find())
    there = ground.running()
    state = _state()
    # Kept from an earlier `up`: by now they are enabled, so looking would not find them.
    _remember(State(controllers=ground.enabled() | state.controllers, docker=state.docker))
    ground.prepare()
    new = [load for load in loads if load.name not in there]
    skipped: list[str] = []
    if any(load.side for load in new):
        try:
            wire.lay()
        except HostCannot as error:
            skipped = [f"{load.name}: {error}" for load in new if load.side]
            new = [load for load in new if not load.side]
    workloads.FILE.parent.mkdir(mode=0o700, exist_ok=True)
    ground.start(new, progress, wire.at)
    return _party(ground.by, loads, there, skipped)


def _remove_cgroups(state: State, progress: Progress) -> list[str]:
    ground = Cgroups(cgroupfs.find())
    removed = ground.remove(progress)
    wire.take_up()
    shutil.rmtree(workloads.FILE.parent, ignore_errors=True)
    give_back(state.controllers)
    return removed


def _party(by: str, loads: list[Load], there: list[str], skipped: list[str]) -> Party:
    left_out = {sentence.partition(":")[0] for sentence in skipped}
    started = [
        Started(load.name, load.does, by)
        for load in loads
        if load.name not in there and load.name not in left_out
    ]
    return Party(started, [load.name for load in loads if load.name in there], skipped)


def _state() -> State:
    try:
        return msgspec.json.decode(STATE.read_bytes(), type=State)
    except FileNotFoundError:
        return State()
    except (OSError, msgspec.DecodeError):
        return State(docker=True)  # half-written by no fault of ours: then look everywhere


def _remember(state: State) -> None:
    try:
        STATE.parent.mkdir(parents=True, exist_ok=True)
        fresh = STATE.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(state))
        fresh.replace(STATE)
    except OSError as error:
        if isinstance(error, PermissionError):
            raise NeedsRoot("Starting demo tenants needs root.", SUDO) from None
        raise CotenantError(f"{STATE} cannot be written ({error.strerror}).") from None
