"""Go programs' own profiles, asked for now and then: by configuration, or by a tenant's label.

    pulls = Pulls(settings.profile, take, pids)
    pulls.tick(tenants)            # from the agent's clock; never waits

Each question has a thread of its own, as it enters the tenant's network (see pull_http.py); at most
16 are under way. What came is handed to `take` at the next turn, a profile for each type with all
tenants in it. Reading strangers' profiles costs CPU time, so the turns are put off until that was
at most a hundredth of the time.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase

from cotenant.agent.pull_http import KINDS, Pids, Question, ask
from cotenant.config.profile import Profiling
from cotenant.errors import CotenantError
from cotenant.export.merge import merge
from cotenant.export.profile_families import PullRow
from cotenant.model import Profile, Tenant

MOST_AT_ONCE = 16
CPU_SHARE = 0.01
DEFAULT_TYPES = ("cpu", "heap", "goroutine")
_GRAFANA = {
    "cpu": ("cpu",), "memory": ("heap", "allocs"), "goroutine": ("goroutine",),
    "mutex": ("mutex",), "block": ("block",),
}  # fmt: skip
"""Grafana's words, `profiles.grafana.com/WORD.scrape`, and Go's."""
_PREFIXES = ("", "annotation.")
"""cri-dockerd keeps a pod's annotations as labels that begin so."""
_PATH = re.compile(r"/[!-~]{0,500}")

log = logging.getLogger("cotenant.agent")

Asked = tuple[Tenant, int, str, str]
"""Tenant, port, path, type."""


class Pulls:
    """Asks for profiles at every turn; `pids` tells the processes of a tenant in the host's net."""

    def __init__(
        self, settings: Profiling, take: Callable[[Profile], None], pids: Pids = lambda _: ()
    ) -> None:
        self._settings = settings
        self._take = take
        self._pids = pids
        self._lock = threading.Lock()
        self._under_way: set[tuple[int, str]] = set()
        self._last: dict[tuple[int, str], float] = {}
        self._came: list[Profile] = []
        self._ok = self._failed = self._tenants = 0
        self._cpu_s = 0.0
        self._due = 0.0
        self._closed = False

    def tick(self, tenants: Iterable[Tenant]) -> None:
        """A turn, where it is time for one: hands over what came, and asks anew."""
        now = time.monotonic()
        if now < self._due or self._closed:
            return
        with self._lock:
            came, self._came = self._came, []
            cpu_s, self._cpu_s = self._cpu_s, 0.0
        self._due = now + max(self._settings.pull_interval_s, cpu_s / CPU_SHARE)
        for profile in _by_type(came):
            self._take(profile)
        questions = list(self._questions(tenants))
        self._tenants = len({one[0].key for one in questions})
        keys = {(one[0].key, one[3]) for one in questions}
        self._last = {key: at for key, at in self._last.items() if key in keys}
        # Those who waited longest first: where there are more than can be asked at once, in turn.
        for asked in sorted(questions, key=lambda one: self._last.get((one[0].key, one[3]), 0.0)):
            self._start(asked, now)

    def _questions(self, tenants: Iterable[Tenant]) -> Iterable[Asked]:
        for tenant in tenants:
            found = dict(_by_label(tenant)) if self._settings.pull_by_label else {}
            for target in self._settings.pull:
                if fnmatchcase(tenant.name, target.tenant):
                    found |= {word: (target.port, target.path) for word in target.types}
            for word, (port, path) in found.items():
                yield tenant, port, path, word

    def _start(self, asked: Asked, now: float) -> None:
        tenant, port, path, word = asked
        key = (tenant.key, word)
        with self._lock:
            if key in self._under_way or len(self._under_way) >= MOST_AT_ONCE:
                return
            self._under_way.add(key)
        self._last[key] = now
        seconds = max(1, int(self._settings.pull_interval_s) - 1)
        question = Question(tenant, port, path, word, seconds)
        threading.Thread(
            target=self._ask, args=(key, question), name=f"pull-{word}", daemon=True
        ).start()

    def _ask(self, key: tuple[int, str], question: Question) -> None:
        """In a thread that ends with it."""
        profile = None
        try:
            profile = ask(question, self._pids)
        except CotenantError as error:
            log.warning("pull: %s", error)
        except Exception:
            log.exception("pull: a fault in asking %s", question.tenant.name)
        with self._lock:
            self._under_way.discard(key)
            self._cpu_s += time.thread_time()
            self._ok += profile is not None
            self._failed += profile is None
            if profile is not None and profile.stacks:
                self._came.append(profile)

    def row(self) -> PullRow | None:
        """What came of it until now; None where nobody is asked, nor ever was."""
        with self._lock:
            if not (self._tenants or self._ok or self._failed):
                return None
            return PullRow(ok=self._ok, failed=self._failed, tenants=self._tenants)

    def configure(self, settings: Profiling) -> None:
        """Other tenants, types or pace, from the next turn on."""
        if settings.pull_interval_s != self._settings.pull_interval_s:
            self._due = 0.0
        self._settings = settings

    def close(self) -> None:
        """Asks no more; what is under way ends by itself."""
        self._closed = True


def _by_type(profiles: Iterable[Profile]) -> Iterable[Profile]:
    kinds: dict[str, list[Profile]] = {}
    for profile in profiles:
        kinds.setdefault(profile.type, []).append(profile)
    return [merge(found) for found in kinds.values()]


def _by_label(tenant: Tenant) -> Iterable[tuple[str, tuple[int, str]]]:
    """What a tenant asks for itself: type, port and path. In the host's network it may not."""
    if tenant.netns is None or not tenant.labels:
        return
    own = _label(tenant.labels, "cotenant.io/pprof-port")
    if own is not None and (port := _port(own)):
        words = (_label(tenant.labels, "cotenant.io/pprof-types") or "").replace(" ", "")
        path = _label(tenant.labels, "cotenant.io/pprof-path") or "/debug/pprof"
        for word in words.split(",") if words else DEFAULT_TYPES:
            if word in KINDS and _PATH.fullmatch(path):
                yield word, (port, path)
        return
    for name, types in _GRAFANA.items():
        front = f"profiles.grafana.com/{name}"
        if _label(tenant.labels, f"{front}.scrape") == "true":
            port = _port(_label(tenant.labels, f"{front}.port") or "")
            for word in types if port else ():
                yield word, (port, "/debug/pprof")


def _label(labels: Mapping[str, str], name: str) -> str | None:
    return next((labels[front + name] for front in _PREFIXES if front + name in labels), None)


def _port(word: str) -> int:
    """A port; 0 where it is none."""
    right = word.isascii() and word.isdigit() and len(word) <= 5 and int(word) <= 65535
    return int(word) if right else 0
