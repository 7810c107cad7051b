"""What becomes of profiles in the agent: kept for an hour, sent to servers, handed out when asked.

    profiles = Profiles(settings.profile, node, pids)
    profiles.take(profile)                 # from the sense: a window of one type; never waits
    profiles.tick(tenants)                 # once a sample: asks Go programs for theirs
    profiles.query("web", from_s, until_s, "cpu", known)
    profiles.close()

Writing files and sending are done by threads of their own, so that neither a slow disk nor a server
that hangs holds up the agent's loop.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from cotenant.agent.profile_store import Store
from cotenant.agent.pull_http import Pids
from cotenant.agent.pulls import Pulls
from cotenant.agent.pushes import Pushes
from cotenant.config.profile import Profiling
from cotenant.errors import HostCannot, UnknownTenant
from cotenant.export import (
    flame_html,
    flame_svg,
    folded,
    pprof,
    profile_families,
    profile_json,
    speedscope,
)
from cotenant.model import Profile, Tenant
from cotenant.tenants import select
from cotenant.web.profiles import Form

MOST_WAITING = 8
"""Windows that wait to be written; past it, the oldest go."""
GOODBYE_S = 2.0
"""So long the end waits for a slow disk."""

FORMS = {
    "pprof": Form(pprof.render, "application/octet-stream", ".pb.gz"),
    "json": Form(profile_json.render, "application/json", ".json"),
    "folded": Form(folded.render, "text/plain; charset=utf-8", ".folded"),
    "html": Form(flame_html.render, "text/html; charset=utf-8", ".html"),
    "svg": Form(flame_svg.render, "image/svg+xml", ".svg"),
    "speedscope": Form(speedscope.render, "application/json", ".speedscope.json"),
}
"""How a profile is handed out, by the word that asks for it."""

log = logging.getLogger("cotenant.agent")


class Profiles:
    """Store, pushes and pulls in one hand. `pids`: processes of a tenant in the host's network."""

    def __init__(self, settings: Profiling, node: str, pids: Pids = lambda _: ()) -> None:
        self._settings = settings
        self._store = _store(settings)
        self._pushes = Pushes(settings.push if settings.enabled else (), node)
        self._pulls = Pulls(settings, self.take, pids)
        self._inbox: deque[Profile] = deque()
        self._missed = 0
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="profiles", daemon=True)
        self._thread.start()

    def take(self, profile: Profile) -> None:
        """There is a window more: it is kept and sent. Returns at once."""
        self._pushes.offer(profile)
        with self._wake:
            self._inbox.append(profile)
            if len(self._inbox) > MOST_WAITING:
                self._inbox.popleft()
                self._missed += 1
            self._wake.notify()

    def tick(self, tenants: Iterable[Tenant]) -> None:
        """Asks Go programs for their profiles, where it is time for that."""
        if self._settings.enabled:
            self._pulls.tick(tenants)

    def query(
        self,
        tenant: str | None,
        from_s: float,
        until_s: float,
        type: str,
        known: Callable[[str], Sequence[Tenant]] | None = None,
    ) -> Profile:
        """What is kept of a time. To be called in a thread: it may take a second.

        `tenant` is a TENANT of the command line, held against those in the files; one that is in
        none of them must be known to `known`, which raises UnknownTenant. Raises HostCannot where
        nothing is kept.
        """
        if not self._settings.keep_s:
            raise HostCannot(
                "The agent keeps no profiles, as its configuration says.",
                "set profile.keep_s, or cotenant profile --tenant NAME",
            )
        if tenant is None:
            return self._store.query(None, from_s, until_s, type)
        if known is not None and tenant.startswith("pid:"):
            tenant = known(tenant)[0].name
        met, word = False, tenant

        def match(tenants: Sequence[Tenant]) -> Iterable[Tenant]:
            nonlocal met
            try:
                found = select.find(word, tenants)
            except UnknownTenant:
                return ()
            met = True
            return found

        found = self._store.query(match, from_s, until_s, type)
        if not met and known is not None:
            known(tenant)  # idle, perhaps: its profile is empty; or it raises
        return found

    def lines(self) -> bytes:
        """Exposition lines, each with the newline before it."""
        return profile_families.render(
            self._store.counts, self._missed, self._pushes.counts(), self._pulls.row()
        )

    def configure(self, settings: Profiling) -> None:
        """Takes over what changed: bounds, servers, who is asked, another directory."""
        before, self._settings = self._settings, settings
        if settings.directory != before.directory:
            self._store = _store(settings)
        else:
            self._store.configure(settings.keep_bytes, settings.keep_s)
        self._pushes.configure(settings.push if settings.enabled else ())
        self._pulls.configure(settings)

    def close(self) -> None:
        """Writes what waits to be written; what waits to be sent is given up."""
        self._pulls.close()
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._pushes.close()
        self._thread.join(GOODBYE_S)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._inbox and not self._stopping:
                    self._wake.wait()
                if not self._inbox:
                    return
                profile = self._inbox.popleft()
            if not self._settings.keep_s:
                continue
            try:
                self._store.add(profile)
            except OSError as error:
                log.error("profiles: a window was not written: %s", error)
            except Exception:
                log.exception("profiles: a fault in keeping a window")


def _store(settings: Profiling) -> Store:
    return Store(Path(settings.directory), most_bytes=settings.keep_bytes, most_s=settings.keep_s)
