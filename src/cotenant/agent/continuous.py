"""Continuous profiling inside the daemon: a thread of its own that samples, names, and hands over.

Naming reads files and the memory of processes, and may take its time; the loop must not wait for
it. So all of the profile sense lives in this thread. The loop tells who lives here (`follow`); the
thread hands finished profiles to whoever keeps and sends them.
"""

from __future__ import annotations

import logging
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from cotenant.agent.log import ALWAYS
from cotenant.agent.profiler import LEAST_S, Profiler, Wanted, cache_directory
from cotenant.agent.watch import MOST_DEPARTED
from cotenant.config import Settings
from cotenant.config.profile import Profiling
from cotenant.errors import CotenantError, UnknownTenant
from cotenant.kernel.capabilities import lacks
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.kernel.cost import Cost
from cotenant.kernel.memory import give_back, keep
from cotenant.model import Profile, ProfileType, Tenant
from cotenant.tenants.select import find

log = logging.getLogger("cotenant.agent")

Took = Callable[[Profile], None]

SAMPLING = ("enabled", "hz", "types", "include", "exclude", "window_s", "debuginfod")
"""Settings of `[profile]` that this thread goes by; with others, it begins anew."""


class Continuous:
    """Samples as `settings.profile` wants it; `start()`, then `close()`.

    `took` is called in the thread, with each profile as its window ends. `told` hears what came of
    the start. Where profiling cannot be had, that is said once and the agent goes on without.
    Once `settled` returns, `follow` was told of all who were here when that was called.
    """

    def __init__(
        self,
        settings: Settings,
        hierarchies: Hierarchies,
        took: Took,
        told: Callable[[str, str, float], None],
        settled: Callable[[], None],
    ) -> None:
        self._settings = settings.profile
        self._hierarchies = hierarchies
        self._took = took
        self._told = told
        self._settled = settled
        self._tenants: Sequence[Tenant] = ()
        self._departed: deque[Tenant] = deque(maxlen=MOST_DEPARTED)
        self._ruled: Sequence[Tenant] = ()
        self._end = threading.Event()
        self._changed = threading.Event()
        """The settings did, or it is the end."""
        self._thread: threading.Thread | None = None
        self._profiler: Profiler | None = None
        self.windows = 0

    def start(self) -> None:
        """Begins, if the settings want it."""
        self._thread = threading.Thread(target=self._run, name="profile", daemon=True)
        self._thread.start()

    def configure(self, settings: Settings) -> None:
        """Takes over other settings; where they are of sampling, a new window begins with them."""
        before, self._settings = self._settings, settings.profile
        if any(getattr(before, name) != getattr(self._settings, name) for name in SAMPLING):
            self._changed.set()

    def follow(self, tenants: Sequence[Tenant], departed: Iterable[Tenant]) -> None:
        """Takes over who lives here now, and who died since it was told last."""
        self._tenants = tenants
        self._departed.extend(departed)

    def costs(self) -> list[Cost]:
        """What its programs in the kernel cost; those that never ran are left out."""
        profiler = self._profiler
        return [cost for cost in profiler.costs() if cost.runs] if profiler else []

    @property
    def memory_bytes(self) -> int:
        """Kernel memory of its maps; 0: it is off."""
        return self._profiler.memory_bytes if self._profiler else 0

    def close(self) -> None:
        """Ends sampling; what the last window began is handed over."""
        self._end.set()
        self._changed.set()
        if self._thread:
            self._thread.join()

    # --- in the thread

    def _run(self) -> None:
        while not self._end.is_set():
            self._changed.clear()
            if self._end.is_set():  # it was that, which is told no more
                break
            if self._settings.enabled:
                self._profile(self._settings)
            else:
                self._told("profile", "off, as the configuration says", 0.0)
            self._changed.wait()

    def _profile(self, settings: Profiling) -> None:
        """Until these settings are no longer in force, or where it cannot be had."""
        began = time.monotonic()
        self._ruled = ()
        for lack in lacks():
            log.warning("profile: %s", lack.words, extra=ALWAYS)
        wanted = Wanted(
            types=tuple(ProfileType(word) for word in settings.types),
            hz=settings.hz,
            tenants=() if settings.include else None,
            debuginfod=settings.debuginfod,
        )
        try:
            with Profiler(
                self._hierarchies, wanted, self._present, cache_directory(), self._settle
            ) as profiler:
                self._rule(profiler, settings)
                while not profiler.prepare():
                    if self._changed.wait(LEAST_S):  # the loop's turn, or the end
                        return
                keep()
                profiler.start()
                self._profiler = profiler
                what = f"{', '.join(settings.types)} at {settings.hz} Hz"
                self._told("profile", what, time.monotonic() - began)
                self._sample(profiler, settings)
        except (CotenantError, OSError) as error:
            self._told("profile", f"off: {str(error).rstrip('.')}", time.monotonic() - began)
        finally:
            self._profiler = None

    def _settle(self) -> None:
        if not self._end.is_set():  # else nobody tells any more
            self._settled()

    def _present(self) -> Sequence[Tenant]:
        """Who lives here now, and who did since this was asked last."""
        departed: list[Tenant] = []
        while self._departed:  # the loop adds to it
            departed.append(self._departed.popleft())
        return [*departed, *self._tenants] if departed else self._tenants

    def _sample(self, profiler: Profiler, settings: Profiling) -> None:
        poll = select.poll()
        poll.register(profiler.fileno(), select.POLLIN)
        due = time.monotonic() + settings.window_s
        while not self._changed.is_set():
            poll.poll(profiler.pause_s * 1000)
            self._rule(profiler, settings)
            profiler.step()
            if time.monotonic() >= due:
                due += settings.window_s
                self._hand_over(profiler)
            self._changed.wait(LEAST_S)
        self._hand_over(profiler)

    def _hand_over(self, profiler: Profiler) -> None:
        """A window's profiles go to whoever keeps them; what making them took goes back."""
        for profile in profiler.take():
            self.windows += 1
            try:
                self._took(profile)
            except OSError as error:
                log.warning("profile: a window was not kept: %s", error)
        give_back()

    def _rule(self, profiler: Profiler, settings: Profiling) -> None:
        """Keeps include and exclude true while tenants come and go."""
        tenants = self._tenants
        if tenants is self._ruled or not (settings.include or settings.exclude):
            return
        self._ruled = tenants
        rates = dict.fromkeys(_meant(settings.include, tenants), 1)
        profiler.set_rates(rates | dict.fromkeys(_meant(settings.exclude, tenants), 0))


def _meant(words: Sequence[str], tenants: Sequence[Tenant]) -> list[Tenant]:
    found: list[Tenant] = []
    for word in words:
        try:
            found += find(word, tenants)
        except UnknownTenant:
            continue  # nobody of that name lives here now
    return found
