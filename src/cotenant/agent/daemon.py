"""The agent: samples on the clock, follows births and deaths as they happen, answers at its doors.

`run` opens everything or nothing: the doors first (who else has them is found out at once), then
the senses. From then on all happens in one event loop, in one thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from msgspec.structs import replace

from cotenant import __version__
from cotenant.agent.continuous import Continuous
from cotenant.agent.cost import Tally, cpu_ns, resident_bytes
from cotenant.agent.hearing import Hearing
from cotenant.agent.log import ALWAYS, open_log
from cotenant.agent.newest import Newest
from cotenant.agent.pace import Idle, Pace
from cotenant.agent.profiles import FORMS, Profiles
from cotenant.agent.reload import ConfigFile, changes
from cotenant.agent.watch import Watch
from cotenant.config import Settings
from cotenant.errors import CotenantError
from cotenant.export.noise import Sheet
from cotenant.kernel.cost import Cost
from cotenant.kernel.memory import keep
from cotenant.model import Kind, Profile, Tenant
from cotenant.web import http, profiles
from cotenant.web.answers import Answers, encoded
from cotenant.web.control import Status
from cotenant.web.sockets import Seat, listen, split_address

EVENT_PAUSE_S = 0.005
"""After events were taken in, the next ones wait this long: a storm of them costs little."""
MOST_SETTLE_S = 1.0
"""A window of profiles that ends waits no longer for the loop."""
STALE_SAMPLES = 3
"""Intervals without a sample after which /-/ready says that they stopped."""
COMPLAINT_TICKS = 5
NEAR_S = 0.25
"""A look at the waits that is due so near to a sample is made with it."""
GUESTS = (Kind.CONTAINER, Kind.VM, Kind.UNKNOWN)
"""Who keeps an agent with `exit_when_idle_s` alive."""

log = logging.getLogger("cotenant.agent")

OpenWatch = Callable[[Settings, Callable[[str, str, float], None]], Watch]


def _open_watch(settings: Settings, told: Callable[[str, str, float], None]) -> Watch:
    return Watch(settings, listen=True, wait_s=0.0, told=told)


class Agent:
    """The daemon. `flags` stay over the file at `path` (None: the default one) when it changes."""

    def __init__(
        self,
        settings: Settings,
        flags: Mapping[str, object] | None = None,
        path: Path | None = None,
        open_watch: OpenWatch = _open_watch,
    ) -> None:
        self.settings = settings
        self._file = ConfigFile(path, flags)
        self._open_watch = open_watch
        self._tally = Tally()
        self._newest = Newest(settings, self._tally)
        self._parts: dict[str, str] = {}
        self._complaints: list[str] = []
        self._why = ""
        self._http: http.Server | None = None

    # --- from start to end

    def run(self) -> int:
        """Runs until told to stop or, if so set, nobody has been here for long. The exit code.

        Raises CotenantError where it cannot start: InUse, NeedsRoot, HostCannot, UsageError.
        """
        began = time.monotonic()
        self._began_unix = time.time()
        self._limit = open_log(self.settings.log_level, self.settings.log_format)
        with ExitStack() as held:
            seat = Seat(Path(self.settings.socket), self.settings.socket_group)
            held.callback(seat.close)
            self._told("control socket", str(seat.path), time.monotonic() - began)
            door = None if self.settings.http == "off" else listen(self.settings.http)
            if door is not None:
                held.callback(door.close)
            self._watch = self._open_watch(self.settings, self._told)
            held.callback(self._watch.close)
            if self._watch.meter.why_files is not None:
                why = self._watch.meter.why_files
                log.warning("meter: eBPF is not used: %s", why)
                for note in getattr(why, "__notes__", ()):
                    log.debug("meter: %s", note)
            self._hearing = Hearing(self.settings, self._watch.hierarchies, self._told)
            held.callback(self._hearing.close)
            self._profiles = Profiles(self.settings.profile, os.uname().nodename, self._pids)
            held.callback(self._profiles.close)
            self._continuous = Continuous(
                self.settings,
                self._watch.hierarchies,
                self._profiles.take,
                self._told,
                self._settle,
            )
            held.callback(self._continuous.close)
            asyncio.run(self._live(seat, door, began))
        self._limit.flush(log, all_of_them=True)
        return 0

    async def _live(self, seat: Seat, door: object, began: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._continuous.start()
        self._stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._end, f"{number.name}")
        self._loop.add_signal_handler(signal.SIGHUP, self._reload)
        newest = self._newest
        self._asked = profiles.Profiles(self._query, FORMS)
        answers = Answers(
            {
                "snapshot": newest.moment,
                "tenants": self._tenants,
                "status": self._status,
                "reload": self._reload,
                "noise": self._hearing.report,
                "profile": self._profile,
            }
        )
        self._pages = http.Pages(
            {"prometheus": self._exposition, "text": newest.text, "json": newest.json,
             "protobuf": self._protobuf},
            newest.number, newest.age_s, lambda: STALE_SAMPLES * self._pace.interval_s,
        )  # fmt: skip
        try:
            self._pace = Pace(self.settings.interval_s, time.monotonic())
            self._idle = Idle(self.settings.exit_when_idle_s, time.monotonic())
            self._await_events()
            self._sample()
            self._hear()
            await answers.start(seat.listener)
            await self._open_http(door)
            log.info(
                "agent: ready in %.0f ms, pid %d", (time.monotonic() - began) * 1e3, os.getpid()
            )
            keep()
            await self._keep_time()
        finally:
            await answers.stop()
            if self._http is not None:
                await self._http.stop()
            log.info("agent: stopped (%s) after %d samples", self._why, self._tally.collections)

    async def _open_http(self, door: object) -> None:
        began = time.monotonic()
        if door is None:
            return
        address = self.settings.http
        rule = http.host_rule(split_address(address)[0], lambda: self.settings.http_hosts)
        self._http = http.Server(http.application(self._pages, rule, self._asked))
        await self._http.start(door)  # type: ignore[arg-type]
        self._told("http", f"http://{address}/metrics", time.monotonic() - began)

    def _told(self, part: str, result: str, seconds: float) -> None:
        """The start line of a part."""
        self._parts[part] = f"{result}, {seconds * 1e3:.0f} ms"
        log.info("%s: %s", part, self._parts[part], extra=ALWAYS)

    def _end(self, why: str) -> None:
        self._why = why
        self._stop.set()

    # --- the clock

    async def _keep_time(self) -> None:
        while not self._stop.is_set():
            try:
                async with asyncio.timeout(max(0.0, self._due() - time.monotonic())):
                    await self._stop.wait()
            except TimeoutError:
                if self._due() < self._pace.due:
                    self._hear()
                else:
                    await self._tick()

    def _due(self) -> float:
        """When to wake: for the next sample, or for a look at the waits well before it."""
        heard = self._hearing.due
        return heard if heard < self._pace.due - self._near() else self._pace.due

    def _near(self) -> float:
        return min(NEAR_S, self._pace.interval_s / 2)

    def _hear(self) -> None:
        if (
            time.monotonic() >= self._hearing.due - self._near()
            and self._newest.number() is not None
        ):
            self._hearing.look(self._newest.snapshot)

    async def _tick(self) -> None:
        if self._file.has_changed():
            self._reload()
        self._sample()
        self._hear()
        self._profiles.tick(self._watch.registry.tenants)
        self._pages.drop()
        if self._http is not None:
            await self._http.tick()
        if self._tally.collections % COMPLAINT_TICKS == 0:
            self._complain()
            self._limit.flush(log)
        if self._idle.most_s is not None:
            anybody = any(tenant.kind in GUESTS for tenant in self._watch.registry.tenants)
            if self._idle.is_over(time.monotonic(), anybody=anybody):
                log.info("agent: no container for %g s: it ends", self._idle.most_s)
                self._end("idle")

    def _sample(self) -> None:
        """One collection. One that fails is said and counted late; the next comes all the same."""
        self._pace.step(time.monotonic())
        began = time.perf_counter_ns()
        try:
            found = self._watch.snapshot()
        except (CotenantError, OSError) as error:
            self._pace.late += 1
            log.error("meter: a sample failed: %s", error)
            return
        self._tally.collections += 1
        self._tally.collect_ns += time.perf_counter_ns() - began
        self._tell_profiler()
        self._newest.take(replace(found, lost=replace(found.lost, late=self._pace.late)))

    def _complain(self) -> None:
        complaints = self._watch.registry.complaints
        for complaint in complaints:
            if complaint not in self._complaints:
                log.warning("tenants: " + complaint)  # each a kind of its own
        self._complaints = complaints

    # --- births and deaths

    def _await_events(self) -> None:
        number = self._watch.meter.fileno()
        if number is not None:
            self._loop.add_reader(number, self._take_events, number)

    def _take_events(self, number: int) -> None:
        self._loop.remove_reader(number)
        self._loop.call_later(EVENT_PAUSE_S, self._await_events)
        self._follow()

    def _follow(self) -> None:
        try:
            self._watch.follow()
        except (CotenantError, OSError) as error:
            log.error("tenants: births and deaths were not taken in: %s", error)
        self._tell_profiler()

    def _tell_profiler(self) -> None:
        self._continuous.follow(self._watch.registry.tenants, self._watch.departed())

    def _settle(self) -> None:
        """In the profiler's thread: has it told who is here by now. Its samples come meanwhile."""
        done = threading.Event()

        def follow() -> None:
            self._follow()
            done.set()

        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(follow)
            done.wait(MOST_SETTLE_S)

    # --- the configuration

    def _reload(self) -> str:
        """Takes over what changed in the file, or nothing if it is wrong; says what came of it."""
        try:
            settings = self._file.read()
        except CotenantError as error:
            self._tally.config_problem = str(error)
            log.error("config: %s The settings before it stay in force.", error, extra=ALWAYS)
            return f"{error} The settings before it stay in force."
        self._tally.config_problem = None
        now, later = changes(self.settings, settings)
        self.settings = settings
        self._pace.set_interval(settings.interval_s)
        if "exit_when_idle_s" in now:
            self._idle = Idle(settings.exit_when_idle_s, time.monotonic())
        if {"log_level", "log_format"} & set(now):
            self._limit = open_log(settings.log_level, settings.log_format)
        self._watch.configure(settings)
        self._hearing.configure(settings)
        self._profiles.configure(settings.profile)
        self._continuous.configure(settings)
        said = f"changed {', '.join(now)}" if now else "nothing to change"
        if later:
            said += f"; {', '.join(later)} will be once the agent is started again"
        log.info("config: read again: %s", said, extra=ALWAYS)
        return said

    # --- what the doors show

    def _exposition(self) -> bytes:
        return self._newest.exposition(*self._page_parts())

    def _protobuf(self) -> bytes:
        return self._newest.protobuf(*self._page_parts())

    def _page_parts(self) -> tuple[int, list[Cost], Sheet, bytes]:
        costs, sheet = self._costs(), self._hearing.sheet
        return self._pages.scrapes, costs, sheet, self._profiles.lines()

    def _costs(self) -> list[Cost]:
        return [*self._watch.meter.costs(), *self._hearing.costs(), *self._continuous.costs()]

    def _pids(self, tenant: Tenant) -> list[int]:
        return self._watch.hierarchies.pids(tenant.path)

    def _query(self, tenant: str | None, from_s: float, until_s: float, type: str) -> Profile:
        """In a thread of its own, as it may take a second."""
        return self._profiles.query(tenant, from_s, until_s, type, self._watch.registry.find)

    async def _profile(
        self,
        tenant: str | None = None,
        from_s: float | None = None,
        until_s: float | None = None,
        type: str = "cpu",
    ) -> bytes:
        until = time.time() if until_s is None else float(until_s)
        begin = until - profiles.BEFORE_S if from_s is None else float(from_s)
        return await self._asked.made(tenant, begin, until, type, encoded)

    def _tenants(self, match: str | None = None) -> list[Tenant]:
        registry = self._watch.registry
        return list(registry.tenants) if match is None else registry.find(match)

    def _status(self) -> Status:
        registry = self._watch.registry
        return Status(
            version=__version__,
            pid=os.getpid(),
            started_unix_s=self._began_unix,
            tier=self._watch.meter.tier,
            interval_s=self.settings.interval_s,
            tenants=len(registry.tenants),
            unknown=registry.unknown,
            samples=self._tally.collections,
            late=self._pace.late,
            lost_births=self._newest.lost.births,
            http=None if self._http is None else self.settings.http,
            config=self.settings.path,
            config_problem=self._tally.config_problem,
            complaints=registry.complaints,
            parts=self._parts,
            cpu_s=cpu_ns() / 1e9,
            resident_bytes=resident_bytes(),
        )
