"""Run the kernel tests in VMs: Debian's kernels, pure cgroup v2, this machine's userspace.

python3 tests/vm/run.py [--kernel NAME ...] [--command CMD]
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

# Started as a file, Python would look for the modules beside it by their bare names only.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.vm.boot import Job, Ran, install_vng, missing_packages, run_job
from tests.vm.errors import VmError
from tests.vm.kernels import WANTED, Kernel, Wanted, cache_folder, get_kernel
from tests.vm.verdict import Verdict, judge, read_junit, summary

TESTS = ".venv/bin/python -m pytest -q -p no:cacheprovider --durations=8 tests/kernel"
KERNELS_TESTS = "any_kernel or file_tier"
ONE_VMS_TESTS = "vm_only or one_vm"
KEPT_RUNS = 5
MOST_AT_ONCE = 2
"""VMs side by side: each keeps one CPU busy, all of its own CPUs together, and takes 2 GB."""


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0 when every VM passed, 1 when one did not, 3 when none could run here."""
    options = parse(arguments)
    # Leave by way of every `finally`: a qemu must not outlive a run that was ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cache = cache_folder()
    try:
        kernels, vng = prepare(options, cache)
    except VmError as error:
        print(error, file=sys.stderr)
        return 3
    if options.prepare:
        return 0
    folder = new_run(cache / "runs")
    verdicts = run_all(kernels, options, vng, folder)
    print(f"\n{summary(verdicts)}\nlogs: {folder}", flush=True)
    return 1 if any(verdict.problems for verdict in verdicts) else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    names = [wanted.name for wanted in WANTED]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--kernel", action="extend", nargs="+", choices=names, metavar="NAME",
        help=f"which kernels, of {', '.join(names)} (all)")  # fmt: skip
    add("--command", help=f"what to run inside, by bash, in the checkout ({TESTS} ...)")
    add("--timeout", type=float, default=840.0, metavar="SECONDS", help="for each VM (840)")
    add("--memory", default="2G", help="of each VM (2G)")
    add("--cpus", type=int, default=2, help="of each VM (2)")
    add("--at-once", type=int, default=min(MOST_AT_ONCE, len(os.sched_getaffinity(0))),
        metavar="N", help=f"VMs side by side (a CPU each, {MOST_AT_ONCE} at most)")  # fmt: skip
    add("--refresh", action="store_true", help="ask the mirror again for newer builds")
    add("--prepare", action="store_true", help="only get kernels and tools ready, boot nothing")
    return parser.parse_args(arguments)


def prepare(options: argparse.Namespace, cache: Path) -> tuple[list[Kernel], Path]:
    """Kernels and vng, ready in the cache; one run at a time prepares."""
    missing = missing_packages()
    if missing:
        raise VmError(
            f"this machine lacks what boots a VM: {', '.join(missing)}",
            f"apt-get install {' '.join(missing)}",
        )
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        vng = install_vng(cache)
        return [
            get_kernel(wanted, cache, refresh=options.refresh, say=say)
            for wanted in chosen(options.kernel)
        ], vng


def chosen(names: list[str] | None) -> list[Wanted]:
    """The kernels asked for, in the order of the table."""
    return [wanted for wanted in WANTED if names is None or wanted.name in names]


def run_all(
    kernels: list[Kernel], options: argparse.Namespace, vng: Path, folder: Path
) -> list[Verdict]:
    """Run the command on every kernel, some side by side; whoever is interrupted ends them all."""
    over = Event()

    def run(kernel: Kernel) -> Verdict:
        return run_one(kernel, options, vng, folder / kernel.name, over)

    with ThreadPoolExecutor(options.at_once) as pool:
        try:
            return list(pool.map(run, kernels))
        finally:
            over.set()


def run_one(
    kernel: Kernel, options: argparse.Namespace, vng: Path, folder: Path, over: Event
) -> Verdict:
    """Run the command on one kernel and judge what came of it."""
    command = options.command or default_command(kernel)
    say(f"{kernel.name}: booting {kernel.release}")
    job = Job(kernel, command, folder, options.memory, options.cpus, options.timeout)

    def show(line: str) -> None:
        print(f"[{kernel.name}] {line}\n", end="", flush=True)  # in one piece: others print, too

    try:
        ran = run_job(job, vng, show, over)
    except OSError as error:
        ran = Ran(None, None, None, f"the VM could not be started: {error}")
    counts = read_junit(folder / "junit.xml")
    return judge(kernel, ran, counts, needs_tests=options.command is None)


def default_command(kernel: Kernel) -> str:
    """What must hold on every kernel; below 5.15 what the file tier must pass.

    Not all of tests/kernel: under TCG a process takes a tenth of a second to start, and the tests
    of the verbs, which start many, would take hours and say nothing of the kernel.
    """
    chosen = "file_tier" if kernel.file_tier else KERNELS_TESTS
    if kernel.the_one:
        chosen = f"{chosen} or {ONE_VMS_TESTS}"
    return f'{TESTS} -m "{chosen}" --junitxml="$COTENANT_VM_JUNIT"'


def new_run(runs: Path) -> Path:
    """A folder for this run; all but the last few are removed."""
    runs.mkdir(parents=True, exist_ok=True)
    for old in sorted(runs.iterdir())[: 1 - KEPT_RUNS]:
        shutil.rmtree(old, ignore_errors=True)
    folder = runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    folder.mkdir()
    return folder


def say(sentence: str) -> None:
    """Talk goes to standard error; standard output is for what the VMs print."""
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
