"""Where a verb gets its snapshots: from the running agent, or by sensing itself where none runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.structs import replace

from cotenant.cli.talk import say
from cotenant.config import NamedTenant, Settings, load
from cotenant.errors import AgentSilent, CotenantError, UnknownTenant, UsageError
from cotenant.kernel import cgroupfs
from cotenant.meter.usage import usages, whole
from cotenant.model import Delay, NoiseReport, Snapshot, Tenant, Usage
from cotenant.tenants.procs import Processes
from cotenant.tenants.select import find

if TYPE_CHECKING:
    from cotenant.agent.neighbours import Neighbours
    from cotenant.kernel.cgroupfs import Hierarchies


class Reading(Struct, frozen=True):
    """A snapshot and what follows from it and the one before: all that a screen shows at once."""

    snapshot: Snapshot
    usages: list[Usage]
    whole: Usage
    noise: NoiseReport | None = None
    """Who made whom wait in the last seconds; None where that is not sensed."""

    @property
    def delays(self) -> dict[int, Delay]:
        """What each tenant waited, by its key."""
        return {delay.tenant.key: delay for delay in self.noise.delays} if self.noise else {}


Choice = Callable[[Sequence[Tenant]], set[int]]
"""Says which tenants are wanted, by their keys."""

Waits = Literal["now", "later"]

Pair = tuple[Snapshot, Snapshot | None]
"""The newest snapshot and, where there is one, the one before it."""


class Source:
    """Gives snapshots, and readings with the rates since the one before.

    `how` says whose they are. `choice` leaves out the tenants that are not wanted.
    """

    def __init__(
        self,
        take: Callable[[], Pair],
        how: str,
        close: Callable[[], None] = lambda: None,
        choice: Choice | None = None,
        noise: Callable[[Snapshot], NoiseReport | None] | None = None,
    ) -> None:
        self.how = how
        self._noise = noise
        self.close = close
        self._take = take
        self._choice = choice
        self._last: Snapshot | None = None
        self._before: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        """One collection, taken now or the agent's newest; only the tenants that are wanted.

        Where some are chosen, what died and what is nobody's is none of them.
        """
        now, _ = self._take()
        if self._choice is None:
            return now
        keys = self._choice([sample.tenant for sample in now.samples])
        kept = tuple(sample for sample in now.samples if sample.tenant.key in keys)
        return replace(now, samples=kept, finals=(), unattributed=None)

    def read(self) -> Reading:
        """A snapshot with its usages; the first one of a watch of our own has no rates.

        Rates are those since our own last reading, or since the agent's sample before. Where the
        agent's newest is the one we have, they stay as they were.
        """
        now, before = self._take()
        if self._last is None or now.at_ns > self._last.at_ns:
            follows = self._last is not None and _same_keys(self._last, now)
            self._before, self._last = self._last if follows else before, now
        rows = usages(now, self._before)
        if self._choice is not None:
            keys = self._choice([sample.tenant for sample in now.samples])
            rows = [row for row in rows if row.tenant.key in keys]
        return Reading(
            now, rows, whole(now, self._before), self._noise(now) if self._noise else None
        )


def _same_keys(before: Snapshot, now: Snapshot) -> bool:
    """False where an agent was started anew in between: its keys mean other tenants."""
    paths = {sample.tenant.key: sample.tenant.path for sample in before.samples}
    return all(paths.get(s.tenant.key, s.tenant.path) == s.tenant.path for s in now.samples)


def settings_for(
    config: Path | None, pid: int | None = None, name: str | None = None
) -> tuple[Settings, bool]:
    """Settings with the tenant that `--pid N --as NAME` names, and whether there is one."""
    if (pid is None) != (name is None):
        raise UsageError("--pid and --as go together.", "cotenant metrics --pid 4711 --as batch")
    settings = load(config)
    if pid is None or name is None:
        return settings, False
    own = NamedTenant(name=name, pid=pid)
    return replace(settings, tenants=(*settings.tenants, own)), True


def open_source(
    settings: Settings,
    *,
    tenants: Sequence[str] = (),
    alone: bool = False,
    once: bool = False,
    waits: Waits | None = None,
) -> Source:
    """The agent where one answers, else a watch of our own; says on stderr which it is.

    `tenants`: only those that these words mean. `alone`: do not ask the agent (it does not know a
    name given on the command line). `once`: one snapshot is all that will be asked for. `waits`:
    readings tell of waits, too, where that can be: from the first on, or from the second.
    """
    choice = chooser(tenants, settings) if tenants else None
    source = (None if alone else _agent(settings, choice, waits)) or _watch(
        settings, choice, once, waits
    )
    say(f"cotenant: {source.how}")
    return source


def _agent(settings: Settings, choice: Choice | None, waits: Waits | None) -> Source | None:
    from cotenant.web import control

    def take() -> Pair:
        moment = control.ask(settings.socket, control.SNAPSHOT)
        return moment.now, moment.before

    def noise(snapshot: Snapshot) -> NoiseReport | None:
        from cotenant.noise.verdict import SPAN

        try:
            return control.ask(settings.socket, control.NOISE, windows=SPAN)
        except CotenantError:  # it senses no waits
            return None

    try:
        status = control.ask(settings.socket, control.STATUS)
    except AgentSilent as silence:
        if os.path.exists(settings.socket):
            say(f"cotenant: {silence}")
        return None
    for complaint in status.complaints:
        say(f"cotenant: {complaint}")
    how = f"from the agent (pid {status.pid}, {status.tier})"
    return Source(take, how, choice=choice, noise=noise if waits else None)


def _watch(settings: Settings, choice: Choice | None, once: bool, waits: Waits | None) -> Source:
    from cotenant.agent import Watch

    watch = Watch(settings, once=once)
    for complaint in watch.registry.complaints:
        say(f"cotenant: {complaint}")
    how = f"sensed by itself ({watch.meter.tier})"
    if waits is None:
        return Source(lambda: (watch.snapshot(), None), how, watch.close, choice)
    ears = _Ears(watch.hierarchies, settings.noise_budget / 100, waits)

    def close() -> None:
        ears.close()
        watch.close()

    return Source(lambda: (watch.snapshot(), None), how, close, choice, ears.noise)


class _Ears:
    """A noise sense beside a watch of our own; it says nothing where there can be none.

    Loading its programs takes a good part of a second, so `later` opens it at the second reading:
    the first one is on screen by then.
    """

    def __init__(self, hierarchies: Hierarchies, budget: float, waits: Waits) -> None:
        self._hierarchies = hierarchies
        self._budget = budget
        self._pause = 0 if waits == "now" else 1
        self._neighbours: Neighbours | None = None

    def noise(self, snapshot: Snapshot) -> NoiseReport | None:
        """What was heard until this snapshot."""
        if self._pause == 0:
            self._open()
        self._pause -= 1
        if self._neighbours is None:
            return None
        self._neighbours.look(snapshot)
        report = self._neighbours.report()
        return report if report.seconds else None

    def _open(self) -> None:
        from cotenant.agent.neighbours import Neighbours

        try:
            self._neighbours = Neighbours(self._hierarchies, budget=self._budget)
        except CotenantError:  # `cotenant noise` says why
            self._neighbours = None

    def close(self) -> None:
        """Detaches the programs."""
        if self._neighbours is not None:
            self._neighbours.close()


def chooser(words: Sequence[str], settings: Settings) -> Choice:
    """Keys of the tenants that the words mean.

    Raises UnknownTenant for a word that means none at first; later its tenant may be gone.
    """
    known: set[str] = set()
    host_root = Path(settings.host_root)
    paths = any(word.startswith("/") for word in words)
    mounts = [tree.mount for tree in cgroupfs.find(host_root).trees] if paths else []

    def cgroup_of(pid: int) -> str | None:
        return Processes(host_root).cgroup_of(pid)

    def choose(tenants: Sequence[Tenant]) -> set[int]:
        keys: set[int] = set()
        for word in words:
            try:
                keys.update(tenant.key for tenant in find(word, tenants, cgroup_of, mounts))
            except UnknownTenant:
                if word not in known:
                    raise
            known.add(word)
        return keys

    return choose
