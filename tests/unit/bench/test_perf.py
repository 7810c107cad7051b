"""What perf says, read."""

from __future__ import annotations

import pytest

from cotenant.bench import perf
from cotenant.errors import CotenantError, HostCannot

PIPE = """# Running 'sched/pipe' benchmark:
# Executed 20000 pipe operations between two processes

     Total time: 0.078 [sec]

       3.929000 usecs/op
         254517 ops/sec
"""
MESSAGING = """# Running 'sched/messaging' benchmark:
# 20 sender and receiver processes per group
# 1 groups == 40 processes run

     Total time: 0.126 [sec]
"""


def test_a_pipes_round_and_a_run_of_messaging_are_microseconds() -> None:
    assert perf.usecs_per_op(PIPE) == 3.929
    assert perf.total_usecs(MESSAGING) == 126_000.0


def test_what_tells_no_time_is_refused_with_its_last_words() -> None:
    with pytest.raises(CotenantError, match="40 processes run"):
        perf.total_usecs("# 1 groups == 40 processes run\n")


def test_without_perf_the_hint_says_where_it_comes_from(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HostCannot) as refused:
        perf.need()
    assert refused.value.hint == "sudo apt-get install linux-perf"
