"""Boots one kernel in QEMU with virtme-ng, runs a command in it and brings back what came of it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from tests.vm.errors import VmError
from tests.vm.kernels import Kernel

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
GUEST_JOB = "/run/cotenant-vm/job"
DISK_BYTES = 8 << 30  # sparse: only what a test writes takes space
BOOT_LIMIT_SECONDS = 180.0
POLL_SECONDS = 0.2
# Variables of the caller that a test inside may look at.
PASSED_ON = ("CI", "TERM", "COLUMNS", "PYTEST_ADDOPTS")


@dataclass(frozen=True)
class Job:
    """What to run in a VM: the command, its limits, and the folder for all that comes of it."""

    kernel: Kernel
    command: str
    folder: Path
    memory: str = "2G"
    cpus: int = 2
    limit_seconds: float = 600.0


@dataclass(frozen=True)
class Ran:
    """What came of a job; `status` and the times are None where it did not get that far."""

    status: int | None
    boot_seconds: float | None
    run_seconds: float | None
    trouble: str | None


def install_vng(cache: Path) -> Path:
    """The `vng` command, in a virtual environment of its own; made again when the pins change."""
    folder, pins = cache / "venv", HERE / "requirements.txt"
    stamp = folder / "requirements.txt"
    if stamp.exists() and stamp.read_text() == pins.read_text():
        return folder / "bin" / "vng"
    shutil.rmtree(folder, ignore_errors=True)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(folder / "bin" / "pip"), "install", "-q", "--require-hashes", "-r", str(pins)],
    ):
        if subprocess.run(command, check=False).returncode != 0:
            raise VmError(
                f"virtme-ng could not be installed: this failed: {shlex.join(command)}",
                "read pip's words above; a venv needs: apt-get install python3-venv",
            )
    shutil.copy(pins, stamp)
    return folder / "bin" / "vng"


def missing_packages() -> list[str]:
    """The Debian packages of packages.txt that this machine lacks."""
    lines = (HERE / "packages.txt").read_text().splitlines()
    names = [line for line in lines if line and not line.startswith("#")]
    tools = {"qemu-system-x86": "qemu-system-x86_64", "e2fsprogs": "mkfs.ext4"}
    folders = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [name for name in names if not shutil.which(tools.get(name, name), path=folders)]


def run_job(job: Job, vng: Path, show: Callable[[str], None], over: Event) -> Ran:
    """Boot, run, and end the VM; every line the command prints goes to `show` as it comes.

    `over`: once it is set, the VM is ended whatever it does.
    """
    _prepare(job)
    environment = {**os.environ, "PATH": f"{vng.parent}:/usr/sbin:/sbin:{os.environ['PATH']}"}
    with (job.folder / "console.log").open("wb") as console:
        # A session of its own, so that ending it reaches vng and its qemu, and nothing else.
        process = subprocess.Popen(
            _vng_command(job, vng),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            cwd=CHECKOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            return _Follower(job, process, show, over).follow()
        finally:
            _end(process)
            (job.folder / "disk.img").unlink(missing_ok=True)


def _prepare(job: Job) -> None:
    job.folder.mkdir(parents=True, exist_ok=True)
    modules = job.kernel.tree / "lib" / "modules" / job.kernel.release
    variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    variables |= {
        "COTENANT_VM_KERNEL": job.kernel.name,
        "COTENANT_VM_CHECKOUT": str(CHECKOUT),
        "COTENANT_VM_MODULES": str(modules.resolve()),
        "COTENANT_VM_JUNIT": f"{GUEST_JOB}/junit.xml",
    }
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
    (job.folder / "environment.sh").write_text("".join(lines))
    (job.folder / "command.sh").write_text(job.command + "\n")
    (job.folder / "output.log").touch()
    disk = job.folder / "disk.img"
    with disk.open("wb") as file:
        file.truncate(DISK_BYTES)
    tool = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin") or "mkfs.ext4"
    subprocess.run([tool, "-q", "-F", str(disk)], check=True)


def _vng_command(job: Job, vng: Path) -> list[str]:
    disk = str(job.folder / "disk.img").replace(",", ",,")
    qemu = (
        # One thread runs all CPUs in turn. With a thread for each, which is QEMU's way, a CPU may
        # go on with code that another has overwritten: what was translated of a page is dropped
        # before a store into it, and may be translated again until that store is done
        # (notdirty_write(), accel/tcg/cputlb.c; QEMU's issue 4669, open in 11.1). Linux patches its
        # own code by way of int3, and a CPU that meets one too late panics: "Oops: int3", here at
        # boot (sched_clock_cpu) and while Docker ran (get_page_from_freelist). That it was this
        # race is believed; ftrace, switched on and off under load, brings it about within a dozen
        # times with a thread for each CPU, and with one thread not at all.
        "-accel tcg,thread=single"
        # The machine's root once more, for the guest to mount with a page cache (see guest.sh).
        " -fsdev local,id=cotenanthost,path=/,readonly=on,security_model=none,multidevs=remap"
        " -device virtio-9p-pci,fsdev=cotenanthost,mount_tag=cotenanthost"
        # Thrown away afterwards, so nothing need ever reach this machine's disk.
        f" -drive if=none,id=cotenantdisk,format=raw,cache=unsafe,file={shlex.quote(disk)}"
        " -device virtio-blk-pci,drive=cotenantdisk"
    )
    return [
        *(str(vng), "--run", str(job.kernel.image), "--disable-kvm", "--force-9p", "--verbose"),
        *("--user", "root", "--memory", job.memory, "--cpus", str(job.cpus)),
        # TCG's TSCs do agree, but Linux will not believe it and falls back to a clock whose every
        # reading leaves the VM and takes a lock.
        *("--append", "tsc=reliable"),
        # Four levels of page tables are walked faster than five, and are what most hosts have.
        *("--append", "no5lvl"),
        # Docker insists on loading a profile where AppArmor is on, and its tools are not here.
        *("--append", "apparmor=0"),
        f"--rwdir={GUEST_JOB}={job.folder}",
        f"--qemu-opts={qemu}",
        *("--", f"bash {shlex.quote(str(HERE / 'guest.sh'))}"),
    ]


class _Follower:
    """Follows one VM through the files of its job until it ends or runs out of time."""

    def __init__(
        self,
        job: Job,
        process: subprocess.Popen[bytes],
        show: Callable[[str], None],
        over: Event,
    ) -> None:
        self.job = job
        self.process = process
        self.show = show
        self.over = over
        self.started = time.monotonic()
        self.booted: float | None = None
        self.read = 0
        self.rest = b""

    def follow(self) -> Ran:
        """What came of the job."""
        trouble: str | None = None
        while trouble is None and not (self.job.folder / "status").exists():
            trouble = self._look()
            self._show_new_output()
            self.over.wait(POLL_SECONDS)
        self._show_new_output()
        if self.rest:
            self.show(self.rest.decode(errors="replace"))
        status = self._status()
        now = time.monotonic()
        return Ran(
            status=status,
            boot_seconds=None if self.booted is None else self.booted - self.started,
            run_seconds=None if self.booted is None else now - self.booted,
            trouble=None if status is not None else f"{trouble}; its console: {self._console()}",
        )

    def _look(self) -> str | None:
        """Note a boot; a sentence when the VM has ended or taken too long."""
        now = time.monotonic()
        if self.over.is_set():
            return "it was ended from outside"
        if self.booted is None and (self.job.folder / "booted").exists():
            self.booted = now
        if self.process.poll() is not None and not (self.job.folder / "status").exists():
            return "the VM ended before the command did"
        if self.booted is None and now - self.started > BOOT_LIMIT_SECONDS:
            return f"the VM did not boot within {BOOT_LIMIT_SECONDS:.0f} s"
        if self.booted is not None and now - self.booted > self.job.limit_seconds:
            return f"the command was still running after {self.job.limit_seconds:.0f} s"
        return None

    def _status(self) -> int | None:
        try:
            return int((self.job.folder / "status").read_text())
        except (OSError, ValueError):
            return None

    def _show_new_output(self) -> None:
        with (self.job.folder / "output.log").open("rb") as file:
            file.seek(self.read)
            new = file.read()
        self.read += len(new)
        *lines, self.rest = (self.rest + new).split(b"\n")
        for line in lines:
            self.show(line.decode(errors="replace").rstrip("\r"))

    def _console(self) -> str:
        path = self.job.folder / "console.log"
        lines = path.read_text(errors="replace").splitlines()[-8:]
        return "\n    ".join([str(path), *lines])


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the VM's session: by itself if it is powering off, else made to."""
    for sign, patience in ((None, 3.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0)):
        if sign is not None:
            try:
                os.killpg(process.pid, sign)
            except ProcessLookupError:
                return
        try:
            process.wait(patience)
            break
        except subprocess.TimeoutExpired:
            continue
    # vng may be gone before its qemu.
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
