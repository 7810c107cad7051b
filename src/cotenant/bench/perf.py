"""`perf bench sched`: two well-known loads of the scheduler, run and read."""

from __future__ import annotations

import re
import shutil
import subprocess

from cotenant.errors import CotenantError, HostCannot

RUN_SECONDS = 120
_USECS_PER_OP = re.compile(r"^\s*([\d.]+)\s+usecs/op\s*$", re.MULTILINE)
_TOTAL_TIME = re.compile(r"Total time:\s*([\d.]+)\s*\[sec\]")

# perf mounts tracefs for the whole host if nobody did: in a mount namespace of its own it is gone
# again with the command. The kernel's own directory for it is there whether it is mounted or not.
_ALONE = ("unshare", "--mount", "--propagation", "private")


def need() -> None:
    """Raises HostCannot where there is no perf."""
    if shutil.which("perf") is None:
        raise HostCannot("There is no perf here, whose loads this measures by.",
                         "sudo apt-get install linux-perf")  # fmt: skip


def pipe(cpu: int, times: int) -> float:
    """Microseconds of one round trip between two processes on one CPU: two switches to and fro."""
    return usecs_per_op(_bench("taskset", "-c", str(cpu), *_words("pipe", "-l", times)))


def messaging(groups: int, times: int) -> float:
    """Microseconds for `groups` of 20 senders and 20 receivers to pass on `times` messages each.

    It is the load known as hackbench. The start of its processes is not in it.
    """
    return total_usecs(_bench(*_words("messaging", "-g", groups, "-l", times)))


def usecs_per_op(said: str) -> float:
    """The figure `usecs/op` of what perf said."""
    return _figure(_USECS_PER_OP, said)


def total_usecs(said: str) -> float:
    """The figure `Total time` of what perf said, in microseconds."""
    return _figure(_TOTAL_TIME, said) * 1e6


def _figure(pattern: re.Pattern[str], said: str) -> float:
    found = pattern.search(said)
    if found is None:
        last = " / ".join(said.split("\n")[-3:]).strip() or "nothing"
        raise CotenantError(f"perf bench does not tell its time; it says: {last}")
    return float(found[1])


def _words(load: str, *words: str | int) -> list[str]:
    return ["perf", "bench", "sched", load, *map(str, words)]


def _bench(*words: str) -> str:
    try:
        done = subprocess.run(
            [*_ALONE, *words], capture_output=True, text=True, check=False, timeout=RUN_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise CotenantError(f"`{' '.join(words)}` hangs.") from None
    except OSError as error:
        raise HostCannot(f"`{words[0]}` cannot be run ({error}).") from None
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise CotenantError(f"`{' '.join(words)}` fails: {' '.join(last) or 'it says nothing'}")
    return done.stdout
