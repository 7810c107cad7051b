"""Others' run-queue latency tools, from `peers/runqlat` of a checkout: the wheel has them not."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cotenant.bench.hooks import Sense, hooked
from cotenant.errors import CotenantError, HostCannot
from cotenant.kernel.runs import map_bytes_of, programs_of

NAMES = ("bcc", "ebpf_exporter", "bpftrace")
CHECKOUT = Path(__file__).parents[4]
START_SECONDS = 60.0
SETTLE_SECONDS = 0.3
"""Between the last program loaded and all of them attached."""
END_SECONDS = 20

# Of a peer we need nothing but its programs: it is to end with us, it may mount what it needs for
# itself alone, and it is to tell nobody on the network.
_BEFORE = (
    "setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private",
)  # fmt: skip
_QUIET = {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "none"}


class Peer:
    """A peer as a way to sense: a process of its own, while the block of `attached` runs.

    Making it fetches or builds what is missing. Raises CotenantError where it cannot be had.
    """

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        self.name = name
        self._words = [*_BEFORE, *_commands()[name](say)]

    @contextlib.contextmanager
    def attached(self) -> Iterator[Sense]:
        """It senses while the block runs. Raises CotenantError when it does not come up."""
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | _QUIET,
                cwd="/",
                start_new_session=True,
            )
            try:
                if not _comes_up(process):
                    log.seek(0)
                    said = log.read().decode(errors="replace").strip().splitlines()[-1:]
                    raise CotenantError(
                        f"{self.name} does not come up: {' '.join(said) or 'it says nothing'}"
                    )
                memory = map_bytes_of(process.pid)
                yield Sense(lambda: programs_of(process.pid), memory)
            finally:
                _end(process)


def _comes_up(process: subprocess.Popen[bytes]) -> bool:
    """True once it holds programs for switches and for wake-ups."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        there = {each.hook for each in hooked(programs_of(process.pid))}
        if {"sched_switch", "sched_wakeup"} <= there:
            time.sleep(SETTLE_SECONDS)
            return process.poll() is None
        time.sleep(0.05)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _commands() -> dict[str, Callable[[Callable[[str], None]], list[str]]]:
    """The commands of the package `peers.runqlat` of the checkout that this code is part of."""
    if not (CHECKOUT / "peers/runqlat/__init__.py").is_file():
        raise HostCannot("The peers are built from a checkout of cotenant, and this is none.")
    for tool in ("setpriv", "unshare"):
        if shutil.which(tool) is None:
            raise HostCannot(f"There is no `{tool}` here.", "sudo apt-get install util-linux")
    if str(CHECKOUT) not in sys.path:
        sys.path.append(str(CHECKOUT))
    commands: dict[str, Callable[[Callable[[str], None]], list[str]]]
    commands = importlib.import_module("peers.runqlat").COMMANDS
    return commands
