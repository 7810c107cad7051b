"""A child with few capabilities: tries each kind of perf event, prints what worked as JSON.

Argument: a process of another user that runs Python.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

from tests.kernel.perfing import hits, load, offset_of

from cotenant.errors import CotenantError
from cotenant.kernel.mapevents import MapEvents
from cotenant.kernel.maprecords import Mapped
from cotenant.kernel.perf import Clock, online_cpus
from cotenant.profile.processes.maps import Proc

LIBC_OF = "/proc/{}/root/usr/lib/x86_64-linux-gnu/libc.so.6"


def ticks() -> bool:
    """Whether a program runs on a clock: of a CPU that is kept busy, as an idle one's rests."""
    os.sched_setaffinity(0, {0})
    made, clock = load(), Clock(0, 999)
    made.attach_perf("ticked", clock.fileno())
    deadline = time.monotonic() + 20
    while not (found := hits(made)) and time.monotonic() < deadline:
        pass
    made.close()
    clock.close()
    return found > 0


def mappings() -> bool:
    """Whether mappings are told with build ids, of processes of ours at least."""
    events = MapEvents(online_cpus())
    subprocess.run(["true"], check=True)
    told = [each for each in events.drain() if isinstance(each, Mapped)]
    events.close()
    return any(each.build_id for each in told)


def uprobe(pid: int) -> bool:
    """Whether a program can be attached to a function of that process."""
    made = load()
    made.attach_uprobe("reached", pid, LIBC_OF.format(pid), offset_of("malloc"))
    made.close()
    return True


def seeds(pid: int) -> bool:
    """Whether the mappings of that process can be read."""
    seen = Proc().look(pid)
    return seen is not None and seen.mappings is not None


def tried(what: Callable[[], bool]) -> bool | str:
    """What came out, or the class of the error."""
    try:
        return what()
    except CotenantError as error:
        return type(error).__name__


if __name__ == "__main__":
    other = int(sys.argv[1])
    print(
        json.dumps(
            {
                "ticks": tried(ticks),
                "mappings": tried(mappings),
                "own uprobe": tried(lambda: uprobe(os.getpid())),
                "uprobe": tried(lambda: uprobe(other)),
                "seed": tried(lambda: seeds(other)),
            }
        )
    )
