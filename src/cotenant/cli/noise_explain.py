"""`noise --explain`: what the culprits of a finding were running at that very time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from msgspec.structs import replace
from rich.console import Group
from rich.text import Text

from cotenant.cli import show
from cotenant.cli.flame.tree import picked
from cotenant.cli.flame.words import complete_share, nearly, samples
from cotenant.cli.noise_page import named, ranked
from cotenant.cli.palette import TERMINAL, Palette
from cotenant.cli.profile_source import Sampler
from cotenant.cli.profile_text import Stacks, top_stacks
from cotenant.cli.progress import Progress
from cotenant.cli.talk import say
from cotenant.config import Settings
from cotenant.errors import AgentSilent, CotenantError
from cotenant.export.merge import merge
from cotenant.model import (
    RESERVED,
    Finding,
    Frame,
    FrameKind,
    NoiseReport,
    Profile,
    ProfileType,
    Stack,
    Tenant,
)
from cotenant.web.control import PROFILE, STATUS, ask

STACKS = 4
"""What is told of each culprit."""
CULPRITS = 4
"""Whoever is blamed in the findings that are told, at most."""
HZ = 99
TAKE_S = 1.0
KEPT_S = 20.0
"""A finding is of the last 10 s; a sum of profiles older than this is of no use."""
LATE_S = 5.0
"""The agent's window is on disk so long after its end, if it is at all."""
RESERVED_KEYS = frozenset(tenant.key for tenant in RESERVED)


class Running(Protocol):
    """Knows what tenants ran. `how` says from where."""

    how: str

    def step(self) -> None:
        """Takes in what was sampled: to be called several times a second."""

    def of(self, tenant: Tenant, from_s: float, until_s: float) -> Profile | None:
        """What the tenant ran from one time to another, Unix seconds; None: nothing is known."""

    def close(self) -> None:
        """Ends what it began."""


def open_running(settings: Settings) -> Running:
    """What the agent keeps, where one profiles; else samples of our own, from now on."""
    try:
        profiles = ask(settings.socket, STATUS).parts.get("profile", "off")
        if ProfileType.CPU in profiles.partition(" at ")[0].split(", "):
            return _Agents(settings)
    except AgentSilent:
        pass
    except CotenantError as error:  # an older agent
        say(f"cotenant: the agent tells nothing of stacks: {error}")
    return _Beside(settings)


class _Beside:
    """Samples taken beside the noise sense; raises as `open_own` does."""

    how = f"sampled meanwhile at {HZ} Hz"

    def __init__(self, settings: Settings) -> None:
        from cotenant.cli.profile_own import open_own

        self._sampler: Sampler = open_own(settings, (), ProfileType.CPU, HZ)
        self._parts: list[Profile] = []
        self._due = time.monotonic() + TAKE_S

    def step(self) -> None:
        self._sampler.step()
        if time.monotonic() >= self._due:
            self._take()

    def _take(self) -> None:
        self._due = time.monotonic() + TAKE_S
        part = self._sampler.take()
        self._parts.append(part)
        self._parts = [one for one in self._parts if one.until_s > part.until_s - KEPT_S]

    def of(self, tenant: Tenant, from_s: float, until_s: float) -> Profile | None:
        if not self._parts or self._parts[-1].until_s < until_s:
            self._take()
        found = [one for one in self._parts if one.until_s > from_s and one.from_s < until_s]
        return merge(found) if found else None

    def close(self) -> None:
        self._sampler.close()


class _Agents:
    """What the agent kept: whole windows, so somewhat more than was asked for."""

    how = "kept by the agent"

    def __init__(self, settings: Settings) -> None:
        self._socket = settings.socket
        self._window_s = settings.profile.window_s

    def step(self) -> None:
        pass

    def of(self, tenant: Tenant, from_s: float, until_s: float) -> Profile | None:
        """It waits for the window that the end of that time is in."""
        word = tenant.name if tenant.key in RESERVED_KEYS else tenant.path
        progress = Progress("the agent's window ends, second")
        latest = until_s + self._window_s + LATE_S
        try:
            while True:
                found = self._asked(word, from_s, until_s)
                now = time.time()
                if found is not None and found.until_s >= until_s - TAKE_S and found.stacks:
                    return found
                if now >= latest:
                    return found
                progress(max(round(now - until_s), 0), round(latest - until_s))
                time.sleep(min(TAKE_S, max(latest - now, 0)))
        finally:
            progress.end()

    def _asked(self, word: str, from_s: float, until_s: float) -> Profile | None:
        try:
            return ask(self._socket, PROFILE, tenant=word, from_s=from_s, until_s=until_s)
        except CotenantError:  # nobody of that name was sampled (yet)
            return None

    def close(self) -> None:
        pass


def explained(report: NoiseReport, running: Running, palette: Palette = TERMINAL) -> Group:
    """Below a report: what each culprit ran, the heaviest stacks first."""
    return Group(*_parts(report, running, palette))


def _parts(report: NoiseReport, running: Running, palette: Palette) -> Iterator[Text | Stacks]:
    if not report.findings:
        yield Text()
        yield Text("No finding, so there is nothing to explain.", palette.dim)
        return
    for culprit, finding in blamed(report):
        span_s = report.unix_s - finding.delay.seconds, report.unix_s
        found = running.of(culprit, *span_s)
        yield Text()
        name = show.name(culprit.name, 40)
        if found is not None:
            mine = picked(found, culprit.name)
            found = replace(found, stacks=tuple([_python_leaf(s, found.frames) for s in mine]))
        if found is None or not found.stacks:
            yield Text(f"{name}: nothing of what it ran was sampled.", palette.dim)
            continue
        yield Text(f"{name} was running:", f"bold {palette.head}")
        yield top_stacks(found, culprit, STACKS, palette)
        yield Text(_made(found, running.how), palette.dim)


def blamed(report: NoiseReport) -> list[tuple[Tenant, Finding]]:
    """Culprits of the findings, each once: of the finding that is told first, worst first."""
    found: dict[int, tuple[Tenant, Finding]] = {}
    for finding in ranked(report):
        for part in named(finding.delay):
            if part.culprit and len(found) < CULPRITS:
                found.setdefault(part.culprit.key, (part.culprit, finding))
    return list(found.values())


def _python_leaf(stack: Stack, frames: Sequence[Frame]) -> Stack:
    """The stack without what its interpreter does for its last Python function.

    So that a function that adds up numbers is one stack, not one for each place in the interpreter.
    """
    last = len(stack.frames)
    while last and _interpreter(frames[stack.frames[last - 1]]):
        last -= 1
    if not last or frames[stack.frames[last - 1]].kind is not FrameKind.PYTHON:
        return stack
    return replace(stack, frames=stack.frames[:last])


def _interpreter(frame: Frame) -> bool:
    module = frame.module.rpartition("/")[2]
    return frame.kind is FrameKind.NATIVE and module.startswith(("python", "libpython"))


def _made(profile: Profile, how: str) -> str:
    """How good that is: samples, time, how much was unwound to its end."""
    begin, end = (
        time.strftime("%H:%M:%S", time.localtime(at)) for at in (profile.from_s, profile.until_s)
    )
    share = complete_share(profile)
    whole = f", unwound fully {nearly(share)}" if share is not None else ""
    return f"{samples(profile):,} samples, {begin} to {end}, {how}{whole}"
