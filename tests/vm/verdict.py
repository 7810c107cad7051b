"""What a test run in a VM amounts to: passed only if everything ran and nothing failed."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from tests.vm.boot import Ran
from tests.vm.kernels import Kernel


@dataclass(frozen=True)
class Counts:
    """pytest's counts and, for each skipped test, its name and reason."""

    passed: int
    failed: int
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """One row of the summary; `problems` is empty exactly when the VM passed."""

    name: str
    release: str
    ran: Ran
    counts: Counts | None
    problems: tuple[str, ...]


def read_junit(path: Path) -> Counts | None:
    """The counts in pytest's JUnit file; None when there is no readable file."""
    try:
        cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return None
    failed, skipped = 0, list[str]()
    for case in cases:
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif skip is not None:
            name = f"{case.get('classname')}::{case.get('name')}"
            skipped.append(f"{name}: {skip.get('message') or 'no reason given'}")
    return Counts(len(cases) - failed - len(skipped), failed, tuple(skipped))


def judge(kernel: Kernel, ran: Ran, counts: Counts | None, *, needs_tests: bool) -> Verdict:
    """The verdict on one VM: what its command left, and what it may not leave."""
    problems: list[str] = []
    if ran.trouble is not None:
        problems.append(ran.trouble)
    elif ran.status != 0:
        problems.append(f"the command ended with status {ran.status}")
    if needs_tests and counts is None:
        problems.append("pytest left no report")
    if counts is not None and counts.passed + counts.failed + len(counts.skipped) == 0:
        problems.append("pytest ran no test")
    if counts is not None:
        problems += [f"skipped inside: {reason}" for reason in counts.skipped]
    return Verdict(kernel.name, kernel.release, ran, counts, tuple(problems))


def summary(verdicts: list[Verdict]) -> str:
    """The table at the end, and below it every problem."""
    head = ("kernel", "release", "boot s", "run s", "passed", "failed", "skipped", "verdict")
    rows: list[tuple[str, ...]] = [head, *(_row(verdict) for verdict in verdicts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    for verdict in verdicts:
        lines += [f"{verdict.name}: {problem}" for problem in verdict.problems]
    return "\n".join(lines)


def _row(verdict: Verdict) -> tuple[str, ...]:
    counts = verdict.counts
    return (
        verdict.name,
        verdict.release,
        _seconds(verdict.ran.boot_seconds),
        _seconds(verdict.ran.run_seconds),
        *(
            ("-", "-", "-")
            if counts is None
            else (str(counts.passed), str(counts.failed), str(len(counts.skipped)))
        ),
        "FAILED" if verdict.problems else "passed",
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
