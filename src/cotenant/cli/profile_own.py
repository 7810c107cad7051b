"""A profiler of our own, where it is ours to sample: who is meant, then the sense."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from contextlib import ExitStack

from cotenant.cli.profile_source import Sampler
from cotenant.cli.progress import Progress
from cotenant.cli.source import chooser
from cotenant.cli.talk import say
from cotenant.config import Settings
from cotenant.kernel.capabilities import lacks
from cotenant.model import Profile, ProfileType, Tenant

PREPARED_S = 15.0
"""Whoever waits for a picture waits no longer than this for binaries to be read."""


def open_own(settings: Settings, words: Sequence[str], kind: ProfileType, hz: int) -> Sampler:
    """Samples the tenants that these words mean (none: the whole host) from now on.

    Raises UnknownTenant before anything is loaded; HostCannot where this host cannot, or this
    process may not.
    """
    return _Own(settings, words, kind, hz)


class _Own:
    def __init__(
        self, settings: Settings, words: Sequence[str], kind: ProfileType, hz: int
    ) -> None:
        from cotenant.agent import Watch
        from cotenant.agent.profiler import LEAST_S, Profiler, Wanted, cache_directory

        for lack in lacks():
            say(f"cotenant: {lack.words}")
        self._least_s = LEAST_S
        self.how = "sampled by itself"
        self.sampled = self.complete = 0
        self._due = 0.0
        self._woken = False
        with ExitStack() as opened:
            self._watch = opened.enter_context(Watch(settings))
            for complaint in self._watch.registry.complaints:
                say(f"cotenant: {complaint}")
            wanted = self._wanted(settings, words)
            self._profiler = opened.enter_context(
                Profiler(
                    self._watch.hierarchies,
                    Wanted((kind,), hz, wanted, settings.profile.debuginfod),
                    self._tenants,
                    cache_directory(),
                )
            )
            self._events = select.poll()
            self._events.register(self._profiler.fileno(), select.POLLIN)
            self._prepare()
            self._profiler.start()
            self._opened = opened.pop_all()

    def _wanted(self, settings: Settings, words: Sequence[str]) -> tuple[Tenant, ...] | None:
        if not words:
            return None
        tenants = self._watch.registry.tenants
        keys = chooser(words, settings)(tenants)
        return tuple([tenant for tenant in tenants if tenant.key in keys])

    def _tenants(self) -> Sequence[Tenant]:
        """Who lives here now, and who did since this was asked last."""
        self._watch.follow()
        departed, tenants = self._watch.departed(), self._watch.registry.tenants
        return [*departed, *tenants] if departed else tenants

    def _prepare(self) -> None:
        """Makes the unwind tables of what runs, so that the first stacks are whole, too."""
        progress = Progress("reading binaries")
        most = 0
        end = time.monotonic() + PREPARED_S
        try:
            while not self._profiler.prepare() and time.monotonic() < end:
                left = self._profiler.waiting
                most = max(most, left)
                progress(most - left, most)
        finally:
            progress.end()
        if left := self._profiler.waiting:
            say(f"cotenant: {left} binaries are read while it samples: cut stacks at first")

    def wait(self, seconds: float) -> None:
        least = min(self._least_s, seconds)
        time.sleep(least)
        self._woken |= bool(self._events.poll((seconds - least) * 1000))  # may be told but once

    def step(self) -> None:
        if self._woken or self._events.poll(0) or time.monotonic() >= self._due:
            self._woken = False
            self._profiler.step()
            self._due = time.monotonic() + self._profiler.pause_s
            self._count()

    def stop(self) -> None:
        self._profiler.stop()

    def take(self) -> Profile:
        (taken,) = self._profiler.take()
        self._count()
        return taken

    def awaited(self) -> int:
        return self._profiler.awaited()

    def renamed(self, profile: Profile) -> Profile:
        return self._profiler.renamed(profile)

    def _count(self) -> None:
        self.sampled, self.complete = self._profiler.sampled, self._profiler.complete

    def close(self) -> None:
        self._opened.close()
