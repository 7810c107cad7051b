"""When a finding begins and ends.

Steal cannot be provoked on a test machine: its samples are made.
"""

from __future__ import annotations

import pytest
from tests.unit.noise.made import MS, S, delay, tenant

from cotenant.model import KERNEL, Delay, Finding
from cotenant.noise.verdict import BEGIN, END, Judge, accuses

API, HOG = tenant(1, "api"), tenant(2, "hog")
QUIET = delay(API, [("idle", 100_000)], p99_ns=0.1 * MS)
NOISY = delay(API, [(HOG, 300 * MS), ("self", 10 * MS)], p99_ns=8 * MS)


class Court:
    """A judge and its clock."""

    def __init__(self) -> None:
        self.judge = Judge()
        self.at_ns = 0

    def see(self, window: Delay, times: int = 1) -> tuple[list[Finding], list[Finding]]:
        began: list[Finding] = []
        ended: list[Finding] = []
        for _ in range(times):
            self.at_ns += S
            first, last = self.judge.judge([window], self.at_ns)
            began += first
            ended += last
        return began, ended


def test_three_windows_begin_a_finding_and_five_end_it() -> None:
    court = Court()
    assert court.see(NOISY, BEGIN - 1) == ([], [])
    (found,), ended = court.see(NOISY)
    assert (found.victim, found.rule, found.usual_p99_ns, ended) == (API, "absolute", None, [])
    assert found.began_ns == court.at_ns - 3 * S and found.ended_ns is None
    assert found.delay.culprit and found.delay.culprit.culprit == HOG
    assert court.see(NOISY, 20) == ([], []), "it goes on"
    assert court.see(QUIET, END - 1) == ([], [])
    assert len(court.judge.findings) == 1
    began, (over,) = court.see(QUIET)
    assert (began, over.ended_ns, over.began_ns) == ([], court.at_ns, found.began_ns)
    assert court.judge.findings == []


def test_two_windows_now_and_then_begin_nothing() -> None:
    court = Court()
    for _ in range(20):
        assert court.see(NOISY, 2) == ([], [])
        assert court.see(QUIET) == ([], [])


def test_four_quiet_windows_do_not_end_it() -> None:
    court = Court()
    court.see(NOISY, 3)
    for _ in range(5):
        assert court.see(QUIET, 4) == ([], [])
        assert court.see(NOISY) == ([], [])


def test_after_a_minute_its_own_past_decides() -> None:
    """1.5 ms is below the absolute rule, and fifteen times what this victim is used to."""
    mild = delay(API, [(HOG, 100 * MS)], p99_ns=1.5 * MS)
    court = Court()
    assert court.see(mild, 10) == ([], []), "not by the absolute rule"
    court = Court()
    court.see(QUIET, 60)
    (found,), _ = court.see(mild, 3)
    assert found.rule == "baseline"
    assert found.usual_p99_ns == pytest.approx(0.1 * MS)


def test_who_is_used_to_waiting_is_not_delayed_by_it() -> None:
    usual = delay(API, [("self", 200 * MS)], p99_ns=5 * MS)
    busy = delay(API, [(HOG, 200 * MS)], p99_ns=8 * MS)
    court = Court()
    court.see(usual, 60)
    assert court.see(busy, 20) == ([], []), "not three times the usual"


def test_a_lasting_noise_does_not_become_usual() -> None:
    court = Court()
    court.see(QUIET, 60)
    court.see(NOISY, 3000)
    (still,) = court.judge.findings
    assert still.usual_p99_ns == pytest.approx(0.1 * MS)
    court.see(QUIET, END)
    (again,), _ = court.see(NOISY, BEGIN)
    assert again.usual_p99_ns == pytest.approx(0.1 * MS)


@pytest.mark.parametrize(
    "window",
    [
        delay(API, [("throttled", 900 * MS), (HOG, 50 * MS)], p99_ns=90 * MS),
        delay(API, [("self", 900 * MS), (HOG, 50 * MS)], p99_ns=90 * MS),
        delay(API, [("steal", 400 * MS), (HOG, 600 * MS)], p99_ns=90 * MS),
        delay(API, [(HOG, 5 * MS)], p99_ns=90 * MS),
        delay(API, [(HOG, 300 * MS)], p99_ns=1.9 * MS),
        delay(API, [(HOG, 300 * MS)]),
    ],
    ids=["throttled", "itself", "stolen", "too little", "too short", "no wait ended"],
)
def test_no_neighbour_is_accused_of_what_is_not_its_doing(window: Delay) -> None:
    assert not accuses(window, None)
    assert Court().see(window, 20) == ([], [])


def test_a_little_steal_does_not_excuse_the_neighbour() -> None:
    assert accuses(delay(API, [("steal", 100 * MS), (HOG, 600 * MS)], p99_ns=9 * MS), None)


def test_death_ends_a_finding() -> None:
    court = Court()
    court.see(NOISY, 3)
    began, (over,) = court.judge.judge([], court.at_ns + S)
    assert began == [] and over.ended_ns == court.at_ns + S
    assert court.judge.findings == []
    assert court.judge._victims == {}, "the dead are not remembered"


def test_kernel_threads_are_no_victims() -> None:
    court = Court()
    assert court.see(delay(KERNEL, [(HOG, 900 * MS)], p99_ns=90 * MS), 10) == ([], [])
