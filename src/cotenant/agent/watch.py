"""Registry and meter in one hand: who lives here and what they use, sensed by this process."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from msgspec.structs import replace

from cotenant.config import Settings
from cotenant.kernel.cgroupfs import find
from cotenant.meter.read import Meter
from cotenant.model import Snapshot, Tenant
from cotenant.tenants.registry import Changes, Registry

NAMES_WAIT_S = 0.25
"""How long a verb that looks once waits for runtimes to tell names."""
MOST_DEPARTED = 1 << 10
"""Of those who died, so many are remembered for whoever asks."""
WALK_SHARE = 0.05
"""Where events do not tell all, walks take at most this share of one CPU's time."""

Told = Callable[[str, str, float], None]


class Watch:
    """Senses the tenants of this host: `snapshot()` as often as wanted, then `close()`.

    `listen`: follow who comes and goes for long (the daemon), instead of looking once or a few
    times. `once`: one look only, so nothing is counted meanwhile. `told` hears of each part that
    was opened: its name, what came of it, seconds.
    Raises HostCannot where the host lacks what `settings.tier` asks for.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        listen: bool = False,
        once: bool = False,
        wait_s: float = NAMES_WAIT_S,
        told: Told | None = None,
    ) -> None:
        self._rescan_s = settings.rescan_interval_s
        self._lost_births = 0
        self._walk_s = 0.0
        self._departed: deque[Tenant] = deque(maxlen=MOST_DEPARTED)
        self._say = told or (lambda part, result, seconds: None)
        host_root = Path(settings.host_root)
        with ExitStack() as opened:
            began = time.monotonic()
            self.hierarchies = find(host_root)
            # The meter first: what is born from here on is told by an event or seen by the walk.
            self.meter = Meter(
                self.hierarchies,
                None if settings.tier == "auto" else settings.tier,
                host_root=host_root,
                space_period_s=settings.space_interval_s,
                counting=not once,
            )
            opened.callback(self.meter.close)
            self._say("meter", f"{self.meter.tier} tier", time.monotonic() - began)
            began = time.monotonic()
            self.registry = Registry(
                self.hierarchies,
                settings,
                host_root,
                listen=listen,
                watched=self.meter.tidings.watched,
            )
            opened.callback(self.registry.close)
            self.walk(wait_s)
            self._say("tenants", self._found(), time.monotonic() - began)
            self._opened = opened.pop_all()

    def _found(self) -> str:
        unknown = self.registry.unknown
        return f"{len(self.registry.tenants)} found" + (f", {unknown} unknown" if unknown else "")

    def walk(self, wait_s: float = 0.0) -> None:
        """Looks at every cgroup of the host; waits up to `wait_s` for their names."""
        began = time.monotonic()
        self._introduce(self.registry.scan(wait_s))
        self._walked_at = time.monotonic()
        if not wait_s:
            self._walk_s = self._walked_at - began

    def follow(self) -> None:
        """Takes in births, deaths and names that came since the last call; never waits."""
        self._introduce(self.registry.settle())
        events = self.meter.events()
        if events:
            self._introduce(self.registry.apply(events))

    def snapshot(self) -> Snapshot:
        """Every tenant, now; walks first where that is due."""
        self.follow()
        if self._walk_is_due():
            self.walk()
        found = self.meter.collect(self.registry.tenants)
        if found.lost.births != self._lost_births:
            self._lost_births = found.lost.births
            self.walk()
        return replace(found, lost=replace(found.lost, unknown=self.registry.unknown))

    def configure(self, settings: Settings) -> None:
        """Takes over what can change while it runs: named tenants, pace of the walks."""
        self._rescan_s = settings.rescan_interval_s
        self.registry.configure(settings)

    def _walk_is_due(self) -> bool:
        """Every minute; where not all is told, every time, as far as the walks are cheap enough."""
        pause = self._rescan_s
        if not self.meter.tidings.all_told:
            pause = min(pause, self._walk_s / WALK_SHARE)
        return time.monotonic() - self._walked_at >= pause

    def _introduce(self, changes: Changes) -> None:
        """Makes the meter know them, so that one who dies before the next sample has a final."""
        met: list[Tenant] = [*changes.born, *changes.changed, *changes.died]
        if met:
            self.meter.expect(met)
        if changes.died:
            self.meter.tidings.depart(changes.died)
            self._departed += changes.died

    def departed(self) -> list[Tenant]:
        """Who died since last asked; of very many, the last ones."""
        departed = list(self._departed)
        self._departed.clear()
        return departed

    def close(self) -> None:
        """Detaches every program, closes every file, stops the threads that ask for names."""
        self._opened.close()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
