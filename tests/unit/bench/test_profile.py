"""Rows and bars of `bench profile`."""

from __future__ import annotations

from cotenant.bench import profile
from cotenant.bench.form import Result
from cotenant.bench.profiling import own, rows
from cotenant.bench.profiling.judge import Seen
from cotenant.bench.profiling.own import Turn, What, Window
from cotenant.bench.profiling.ticks import Ticked
from cotenant.bench.profiling.tools import NOTHING, Took, Watched


def window(us: float, samples: int = 100) -> Window:
    """So many us of user space for each sample, twice as much in the kernel."""
    ns = round(us * 1000) * samples
    ticked = Ticked(samples, ns * 3)
    return Window(1.0, samples, 99, ns, Ticked(samples, ns * 2), Ticked(samples + 10, ns), ticked)


def took(told: int, steady_us: float, end_us: float, read_us: float, ticked: Ticked) -> Took:
    steady_ns, end_ns = round(steady_us * 1e3 * told / 2), round(end_us * 1e3 * told)
    watched = Watched(5.0, 10.0, steady_ns, end_ns, ticked)
    seen = {"web": Seen(10, 9, 10), "hash": Seen(10, 10, 8)}
    return Took(watched, round(read_us * 1e3 * told), told, seen, told * 50)


def test_our_own_turns_come_to_medians_a_sample(monkeypatch) -> None:
    monkeypatch.setattr(own, "online_cpus", lambda: [0, 1])
    turns = [Turn(0.1, window(60), window(us), 5_000_000) for us in (4, 5, 30)]
    found = own.row(What("all", 99), turns)
    assert (found["user_us"], found["first_user_us"], found["kernel_us"]) == (5.0, 60.0, 10.0)
    assert (found["counted_us"], found["tick_us"], found["samples"]) == (5.0, 15.0, 300)
    assert (found["map_mb"], found["tables_ms"], found["whole_percent"]) == (5.0, 100.0, 99.0)
    assert found["each_cpu_percent"] == 100 * 100 * (5_000 + 15_000) / 2e9


def test_a_turn_without_samples_is_no_figure() -> None:
    nothing = Window(1.0, 0, 0, 10, NOTHING, NOTHING, NOTHING)
    found = own.row(What("all", 99), [Turn(0.1, nothing, nothing, 0)])
    assert (found["user_us"], found["kernel_us"], found["each_cpu_percent"]) == (None, None, None)


def test_what_tools_cost_is_compared_with_ours_and_told_by_part() -> None:
    ours = took(1000, 4, 1, 0, Ticked(500, 5_000_000))
    peer = took(1000, 30, 2, 3, NOTHING)
    seen, _, cost, beside = rows.rows({"cotenant": [ours], "py-spy": [peer]})
    assert (cost["kernel_us"], cost["process_us"], cost["reading_us"]) == (10.0, 4.0, 1.0)
    assert (cost["sample_us"], cost["cpu_percent_at_99_hz"]) == (15.0, 0.1485)
    assert (beside["kernel_us"], beside["process_us"], beside["reading_us"]) == (None, 30.0, 5.0)
    assert (beside["times_ours"], beside["bytes_a_sample"]) == (2.333, 50.0)
    assert (seen["whole_percent"], seen["whole_web"], seen["whole_xz"]) == (95.0, 90.0, None)
    assert (seen["python_with_gil"], seen["python_without_gil"]) == (100.0, 80.0)


def test_a_tool_that_told_nothing_has_no_cost() -> None:
    seen, cost = rows.rows({"cotenant": [took(0, 0, 0, 0, NOTHING)]})
    assert "sample_us" not in cost and seen["whole_percent"] == 95.0


def test_bars_of_what_was_measured_and_no_others() -> None:
    result = Result("profile", {}, "")
    profile._judge(result)
    assert result.bars == []
    result.rows = [
        {"part": own.PART, "what": profile.MIXED, "kernel_us": 14.0, "user_us": 9.0},
        {"part": own.PART, "what": profile.HOST, "kernel_us": 9.0, "user_us": 6.0,
         "each_cpu_percent": 0.19},
        *rows.rows({"cotenant": [took(1000, 4, 1, 0, Ticked(500, 5_000_000))]}),
    ]  # fmt: skip
    profile._judge(result)
    assert [(b.value, b.unit, b.bar, b.holds) for b in result.bars] == [
        (14.0, "us", 15.0, True),
        (6.0, "us", 5.0, False),
        (0.19, "%", 0.2, True),
        (95.0, "%", 99.0, False),
        (100.0, "%", 99.0, True),
        (80.0, "%", 99.0, False),
    ]


def test_the_method_names_what_was_done() -> None:
    said = profile.method(profile.Plan(rounds=7, window_s=1.5, tool_s=4.0))
    assert "7 turns" in said and "1.5 s" in said and "watched for 4 s" in said
