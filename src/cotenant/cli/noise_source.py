"""Where `noise` gets its reports: from the running agent, or by sensing itself where none runs."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec.structs import replace

from cotenant.cli.source import Choice, chooser
from cotenant.cli.talk import say
from cotenant.config import Settings
from cotenant.errors import AgentSilent, CotenantError
from cotenant.model import HOST, KERNEL, Delay, LongWait, NoiseReport, Tenant, Waits
from cotenant.noise.verdict import SPAN
from cotenant.web.control import NOISE, STATUS, TENANTS, ask

MEANWHILE_S = 0.1

Told = Callable[[int, int], None]
Meanwhile = Callable[[], object]


class NoiseSource(Protocol):
    """Gives reports. `how` says whose they are."""

    how: str

    def wait(
        self, seconds: float, told: Told | None = None, meanwhile: Meanwhile | None = None
    ) -> None:
        """Lets so much time pass, sensing meanwhile where that is its own task.

        `told` hears every second or so how far that is: so many steps of so many. `meanwhile` is
        called several times a second.
        """

    def look(self) -> None:
        """Ends a window, where sensing is its own task: to be called once a second."""

    def last(self, seconds: float) -> NoiseReport:
        """What was seen in the last so many seconds, SPAN windows at most."""

    def whole(self, seconds: float) -> NoiseReport:
        """What was seen in the last so many seconds, which is all since `forget` or the start."""

    def forget(self) -> None:
        """What `whole` tells begins now."""

    def close(self) -> None:
        """Ends what it began."""


def open_noise(settings: Settings, tenants: Sequence[str] = (), *, reach_s: float) -> NoiseSource:
    """The agent where one answers and looks back `reach_s` far; else a sense of our own.

    Says on stderr which it is. `tenants`: only those that these words mean.
    """
    choice = chooser(tenants, settings) if tenants else None
    source = _agent(settings, choice, reach_s) or Own(settings, choice)
    say(f"cotenant: {source.how}")
    return source


def _agent(settings: Settings, choice: Choice | None, reach_s: float) -> NoiseSource | None:
    try:
        status = ask(settings.socket, STATUS)
        if reach_s > SPAN:
            say(f"cotenant: the agent looks back {SPAN} s, which is too short here")
            return None
        ask(settings.socket, NOISE, windows=1)
    except AgentSilent as silence:
        if os.path.exists(settings.socket):
            say(f"cotenant: {silence}")
        return None
    except CotenantError as error:  # an older agent, or one that does not sense waits
        say(f"cotenant: the agent (pid {status.pid}) tells nothing of waits: {error}")
        return None
    how = f"from the agent (pid {status.pid})"
    source = _Agents(settings.socket, how, choice)
    source.last(1)  # a word that means nobody is told at once
    return source


class _Agents:
    """What the agent senses."""

    def __init__(self, socket: str, how: str, choice: Choice | None) -> None:
        self.how = how
        self._socket, self._choice = socket, choice

    def look(self) -> None:
        pass

    def wait(
        self, seconds: float, told: Told | None = None, meanwhile: Meanwhile | None = None
    ) -> None:
        _pass(seconds, self.look, told, meanwhile)

    def whole(self, seconds: float) -> NoiseReport:
        return self.last(seconds)

    def forget(self) -> None:
        pass

    def last(self, seconds: float) -> NoiseReport:
        windows = min(max(round(seconds), 1), SPAN)
        report = ask(self._socket, NOISE, windows=windows)
        if self._choice is None:
            return report
        tenants = ask(self._socket, TENANTS)
        return focused(report, self._choice(_with_host(tenants)))

    def close(self) -> None:
        pass


class Own:
    """A sense of our own, which begins now. Raises NoBpf where the kernel lacks what it takes."""

    def __init__(self, settings: Settings, choice: Choice | None = None) -> None:
        from cotenant.agent import Watch
        from cotenant.agent.neighbours import Neighbours

        self._choice = choice
        self._watch = Watch(settings)
        try:
            for complaint in self._watch.registry.complaints:
                say(f"cotenant: {complaint}")
            self._neighbours = Neighbours(
                self._watch.hierarchies, budget=settings.noise_budget / 100
            )
        except BaseException:
            self._watch.close()
            raise
        self.how = f"sensed by itself ({self._watch.meter.tier})"
        self._sums: dict[int, Delay] = {}
        self._shares: dict[int, int | None] = {}
        self.look()
        try:
            self._wanted()
        except BaseException:
            self.close()
            raise

    def look(self) -> None:
        """Ends a window: takes in what everybody waited since the last look."""
        snapshot = self._watch.snapshot()
        self._tenants = [sample.tenant for sample in snapshot.samples]
        self._shares |= {
            s.tenant.key: s.throttle.shares if s.throttle else None for s in snapshot.samples
        }
        first = self._neighbours.waits is None
        self._neighbours.look(snapshot)
        if not first:
            self._add(self._neighbours.report(1).delays)

    def _add(self, window: Sequence[Delay]) -> None:
        from cotenant.noise.blame import merged

        for delay in window:
            past = self._sums.get(delay.tenant.key)
            self._sums[delay.tenant.key] = merged((past, delay)) if past else delay

    def wait(
        self, seconds: float, told: Told | None = None, meanwhile: Meanwhile | None = None
    ) -> None:
        """Lets so much time pass and looks at least once a second, at even distances."""
        _pass(seconds, self.look, told, meanwhile)

    def last(self, seconds: float) -> NoiseReport:
        """What was seen in the last so many seconds, SPAN windows at most."""
        return self._focused(self._neighbours.report(max(math.ceil(seconds), 1)))

    def forget(self) -> None:
        """What `whole` tells begins now."""
        self._sums = {}

    def whole(self, seconds: float = 0) -> NoiseReport:
        """What was seen since `forget` or the start, however long that is ago."""
        from cotenant.noise.blame import fair_shares

        joined = sorted(
            self._sums.values(), key=lambda delay: -delay.share("tenant") * delay.waited_ns
        )
        fair = fair_shares(joined, self._shares)
        report = replace(
            self._neighbours.report(),
            seconds=max((delay.seconds for delay in joined), default=0.0),
            delays=tuple(joined),
            fairness={d.tenant.key: d.ran_ns / fair[d.tenant.key] for d in joined
                      if fair.get(d.tenant.key)},
        )  # fmt: skip
        return self._focused(report)

    def counters(self) -> Waits:
        """The counters themselves, since the beginning."""
        assert self._neighbours.waits is not None
        return self._neighbours.waits

    def tell_events(self, least_ns: int) -> int | None:
        """From now on `events` tells single waits this long; a descriptor to wait at."""
        self._neighbours.noise.tell_events(least_ns)
        return self._neighbours.noise.fileno()

    def events(self) -> list[LongWait]:
        """Single long waits since the last call, of the victims that are wanted."""
        told = self._neighbours.noise.events()
        keys = self._wanted()
        return [wait for wait in told if keys is None or wait.victim.key in keys]

    def _wanted(self) -> set[int] | None:
        return self._choice(_with_host(self._tenants)) if self._choice else None

    def _focused(self, report: NoiseReport) -> NoiseReport:
        keys = self._wanted()
        return report if keys is None else focused(report, keys)

    def close(self) -> None:
        """Detaches the programs."""
        self._neighbours.close()
        self._watch.close()


def _pass(
    seconds: float, look: Callable[[], None], told: Told | None, meanwhile: Meanwhile | None
) -> None:
    looks = max(math.ceil(seconds), 1)
    began = time.monotonic()
    for done in range(1, looks + 1):
        if told:
            told(done - 1, looks)
        while (left := began + seconds * done / looks - time.monotonic()) > 0:
            time.sleep(min(left, MEANWHILE_S) if meanwhile else left)
            if meanwhile:
                meanwhile()
        look()


def focused(report: NoiseReport, keys: set[int]) -> NoiseReport:
    """What those tenants waited, and the findings in which they suffer or are to blame."""
    findings = {}
    for name in ("findings", "ended"):
        findings[name] = tuple(
            finding
            for finding in getattr(report, name)
            if finding.victim.key in keys
            or any(part.culprit and part.culprit.key in keys for part in finding.delay.parts[:3])
        )
    delays = tuple(delay for delay in report.delays if delay.tenant.key in keys)
    return replace(report, delays=delays, **findings)


def _with_host(tenants: Sequence[Tenant]) -> list[Tenant]:
    """With those whom no cgroup stands for: a word may mean them, too."""
    return [*tenants, HOST, KERNEL]
