"""What `noise` shows, from top to bottom: findings, victims, who makes whom wait. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from rich.console import Group
from rich.text import Text

from cotenant.cli import show
from cotenant.cli.noise_table import legend, matrix, suffering, victims
from cotenant.cli.palette import TERMINAL, Palette
from cotenant.model import Delay, Finding, NoiseLost, NoiseReport, Part
from cotenant.noise.words import duration, percent, sentence

NAME = 24
"""Cells of a name in a sentence."""
NAMED_SHARE = 0.1
MOST_NAMED = 3
"""Culprits in a finding's headline: the first, and those with at least so much of the waiting."""
MOST_FINDINGS, MOST_ENDED = 4, 2
ROWS = 20
"""Lines of the table of victims where no screen sets bounds; of the matrix, half of it."""
ROOMY = 36
"""From so many lines on, a screen takes the arithmetic of more than one finding."""
TOO_EARLY_S = 2.5
"""Before so long no finding can have begun."""

_LOST = {
    "unseated": "looks at groups without a seat",
    "unstamped": "tasks that ran unqueued",
    "backwards": "waits that would have been negative",
    "unseen": "switches the kernel did not tell of",
    "carried": "tasks moved in mid-wait, wait so far unknown",
    "pairs": "parts of waits without a culprit's room",
    "events": "single long waits untold",
}


class Frame(Struct, frozen=True):
    """What the page tells beside the report: whose it is, how wide, how high, what to press."""

    width: int
    how: str = ""
    height: int | None = None
    keys: str = ""
    now_ns: int | None = None
    """The monotonic clock; None: read it."""


def page(report: NoiseReport, frame: Frame, palette: Palette = TERMINAL) -> Group:
    """The whole page, each line at most `frame.width` cells."""
    width = frame.width
    head = list(_findings(report, frame, palette))
    foot = list(_foot(report, frame, palette))
    shown = suffering(report, [finding.victim.key for finding in ranked(report)])
    rows, cells = _room(frame, len(shown), sum(_lines(part, width) for part in (*head, *foot)))
    parts: list[Any] = [*head, Text()]
    if shown:
        parts.append(victims(shown[:rows], report, width, palette))
        if len(shown) > rows:
            parts.append(Text(f"and {len(shown) - rows} more: --tenant TENANT", palette.dim))
        if frame.height is None:
            parts.append(Text(legend(width), palette.dim))
    if shown and cells and (made := matrix(shown[:cells], report, width, palette)):
        parts += [Text(), *made]
    return Group(*parts, Text(), *foot)


def _room(frame: Frame, count: int, taken: int) -> tuple[int, int]:
    """Rows for the table and for the matrix."""
    if frame.height is None:
        return ROWS, ROWS // 2
    left = max(frame.height - taken - 8, 2)  # heads, blank lines, "and N more"
    cells = min(count, left // 2)
    return max(min(count, left - cells), 1), cells


def _lines(text: Text, width: int) -> int:
    """Lines that a text takes at that width."""
    return -(-text.cell_len // max(width - 8, 1)) or 1  # words wrap early


# --- findings


def _findings(report: NoiseReport, frame: Frame, palette: Palette) -> Iterator[Text]:
    now_ns = time.monotonic_ns() if frame.now_ns is None else frame.now_ns
    if report.level != "blame":
        yield Text(f"▲ {LEVELS[report.level]}", palette.warn)
    if not report.findings:
        yield _quiet(report, palette)
    findings = [safe_finding(finding) for finding in ranked(report)]
    roomy = frame.height is None or frame.height >= ROOMY
    for finding in findings[:MOST_FINDINGS]:
        aside = finding is not findings[0] and _blamed(finding, findings)
        yield Text(f"▲ {headline(finding)}", palette.warn if aside else palette.alarm)
        if finding is findings[0] or (roomy and not aside):
            yield Text(f"{sentence(finding)}.", palette.text)
            yield Text(_evidence(finding, report, now_ns), palette.text)
    if len(findings) > MOST_FINDINGS:
        yield Text(f"and {len(findings) - MOST_FINDINGS} more findings", palette.alarm)
    for finding in reversed(report.ended[-MOST_ENDED:]):
        yield Text(_ended(safe_finding(finding), now_ns), palette.dim)


def ranked(report: NoiseReport) -> list[Finding]:
    """Findings, whoever got least of its fair share first: hogs that share a CPU come last."""
    fairness = report.fairness
    return sorted(report.findings, key=lambda finding: fairness.get(finding.victim.key, 1.0))


def _blamed(finding: Finding, findings: Sequence[Finding]) -> bool:
    """Whether the victim is itself named as a culprit: one line is enough for it."""
    key = finding.victim.key
    return any(
        part.culprit and part.culprit.key == key
        for other in findings
        for part in named(other.delay)
    )


LEVELS = {
    "blame": "",
    "histogram": "Who is to blame is not kept: the programs cost more than their budget.",
    "count": "Neither p99 nor blame are kept: the programs cost more than their budget.",
}


def _quiet(report: NoiseReport, palette: Palette) -> Text:
    if report.seconds < TOO_EARLY_S:
        return Text("○ Too early to tell: a finding takes three windows of a second.", palette.dim)
    return Text(
        f"● Nobody is being delayed by others, as of the last {report.seconds:.0f} s.",
        palette.calm,
    )


def headline(finding: Finding) -> str:
    """Who makes whom wait: `batch-7 (49 %) and batch-9 (48 %) make api wait`; or made, when over.

    The share is of the victim's waiting.
    """
    past = finding.ended_ns is not None
    delay = finding.delay
    told = [f"{p.culprit.name} ({percent(p.ns / delay.waited_ns)})" for p in named(delay)
            if p.culprit]  # fmt: skip
    if not told:
        return f"others {'made' if past else 'make'} {delay.tenant.name} wait"
    verb = "made" if past else "makes" if len(told) == 1 else "make"
    several = " and ".join([", ".join(told[:-1]), told[-1]]) if len(told) > 1 else told[0]
    return f"{several} {verb} {delay.tenant.name} wait"


def named(delay: Delay) -> list[Part]:
    """The tenants most to blame: the first, and those with a good share."""
    parts = [part for part in delay.parts if part.reason == "tenant" and part.ns]
    if not delay.waited_ns:
        return []
    least = NAMED_SHARE * delay.waited_ns
    return parts[:1] + [part for part in parts[1:MOST_NAMED] if part.ns >= least]


def _evidence(finding: Finding, report: NoiseReport, now_ns: int) -> str:
    delay = finding.delay
    ran = [
        f"{part.culprit.name} {fair:.1f}x"
        for part in named(delay)
        if part.culprit and (fair := report.fairness.get(part.culprit.key)) is not None
    ]
    told = []
    own = report.fairness.get(delay.tenant.key)
    if ran and own is not None:
        ran.append(f"{delay.tenant.name} itself {own:.1f}x")
        told.append(f"CPU time against the fair share: {', '.join(ran)}")
    taken = sum(part.preempted for part in delay.parts if part.reason == "tenant")
    if taken:
        told.append(f"others took the CPU from it {taken} times")
    told.append(f"going on for {_ago(now_ns - finding.began_ns)}")
    return f"{'; '.join(told)}."


def _ended(finding: Finding, now_ns: int) -> str:
    ended = finding.ended_ns or now_ns
    lasted = _ago(ended - finding.began_ns)
    return f"○ Over {_ago(now_ns - ended)} ago, after {lasted}: {headline(finding)}"


def _ago(ns: int) -> str:
    return duration(ns) if ns < 60e9 else show.duration(ns / 1e9)


def safe_finding(finding: Finding) -> Finding:
    """The finding with names that do nothing to a screen, short enough for a sentence."""
    delay = finding.delay
    parts = tuple(
        replace(p, culprit=replace(p.culprit, name=show.name(p.culprit.name, NAME)))
        if p.culprit
        else p
        for p in delay.parts
    )
    tenant = replace(delay.tenant, name=show.name(delay.tenant.name, NAME))
    return replace(finding, delay=replace(delay, tenant=tenant, parts=parts))


# --- below the tables


def _foot(report: NoiseReport, frame: Frame, palette: Palette) -> Iterator[Text]:
    cost = "" if report.host_share is None else (
        f"sensing cost {show.percent(report.host_share)} % of the host's CPU time"
    )  # fmt: skip
    told = [frame.keys, f"last {report.seconds:.1f} s", frame.how, cost]
    line = Text(style=palette.dim)
    for word in told:
        if word and line.cell_len + len(word) + 3 <= frame.width:
            line.append(" · " if line else "").append(word)
    yield line
    if missing := lost(report.lost):
        yield Text(show.shorten(f"missing: {missing}", frame.width), palette.dim)


def lost(counters: NoiseLost) -> str:
    """What is missing, in words; empty where nothing is."""
    return ", ".join(
        f"{show.count(number)} {words}"
        for field, words in _LOST.items()
        if (number := getattr(counters, field))
    )
