"""A finding in one sentence, with its arithmetic: for screens, logs and JSON alike."""

from __future__ import annotations

from cotenant.model import Finding, Part

LEAST_SHARE = 0.01
"""Parts below it are not named one by one."""
_REASONS = {
    "self": "itself",
    "throttled": "its own quota",
    "idle": "waking an idle CPU",
    "irq": "interrupts",
    "steal": "the hypervisor",
    "unknown": "unknown",
}


def sentence(finding: Finding) -> str:
    """Who waited how long, and for whom.

    For instance: api waited 2.7 s in the last 10 s (p99 14 ms, usual 0.3 ms): 49 % batch-7, 48 %
    batch-9, 1 % itself; not throttled, no steal.
    """
    delay = finding.delay
    usual = (
        f"usual {duration(finding.usual_p99_ns)}"
        if finding.usual_p99_ns is not None
        else "its usual not known yet: over 2 ms, most of it for others"
    )
    no_steal = "steal not measured" if "steal" in delay.unmeasured else "no steal"
    p99 = duration(delay.p99_ns) if delay.p99_ns is not None else "-"
    parts = ", ".join(
        f"{percent(part.ns / delay.waited_ns)} {name_of(part)}"
        for part in delay.parts
        if part.ns >= LEAST_SHARE * delay.waited_ns > 0
    )
    return (
        f"{delay.tenant.name} waited {duration(delay.waited_ns)} in the last "
        f"{delay.seconds:.0f} s (p99 {p99}, {usual}): {parts}; "
        f"{_how_much(delay.share('throttled'), 'throttled', 'not throttled')}, "
        f"{_how_much(delay.share('steal'), 'steal', no_steal)}"
    )


def name_of(part: Part) -> str:
    """A culprit's name, or the reason in words."""
    return part.culprit.name if part.culprit else _REASONS[part.reason]


def percent(share: float) -> str:
    """`49 %`; below a half percent `0 %`."""
    return f"{share * 100:.0f} %"


def duration(ns: float) -> str:
    """Two or three figures and a unit: `0.3 ms`, `14 ms`, `2.7 s`."""
    for unit, size in (("s", 1e9), ("ms", 1e6)):
        if ns >= size:
            value = ns / size
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{ns / 1e6:.1f} ms" if ns >= 1e5 else f"{ns / 1e3:.0f} us"


def _how_much(share: float, what: str, none: str) -> str:
    return f"{percent(share)} {what}" if share >= LEAST_SHARE else none
