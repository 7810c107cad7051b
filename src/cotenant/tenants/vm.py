"""Virtual machines: QEMU (libvirt, Proxmox, by hand), Firecracker, Cloud Hypervisor, Kata.

By path where libvirt or a jailer made the cgroup; else by the command line of its main process.
Untried on the real thing: libvirt, Proxmox, the jailer and Kata (recorded layouts).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

from cotenant.model import Kind
from cotenant.tenants.facts import Facts, Files, Question, text
from cotenant.tenants.procs import Processes
from cotenant.tenants.systemd import unescape

_LIBVIRT_DIR = re.compile(r"(?:(qemu|lxc)-\d+-)?(.+)\.libvirt-(qemu|lxc)")
_MACHINE = re.compile(r"machine-(.+)\.scope")
_DRIVER = re.compile(r"(qemu|lxc)-\d+-(.+)")
_NSPAWN = re.compile(r"systemd-nspawn@(.+)\.service")
_PROXMOX = re.compile(r"(\d+)\.scope")
_VMMS = ("qemu-", "kvm", "firecracker", "cloud-hypervis", "crosvm", "fc_vmm")


class Part(Enum):
    """What a thread of a VM does."""

    VCPU = "vcpu"
    """Runs the guest."""
    VHOST = "vhost"
    """Moves the guest's packets and blocks, in the host's kernel."""
    VMM = "vmm"
    """The rest of the monitor: its main loop, its devices, its I/O threads."""


def libvirt_machine(parent: str, directory: str) -> tuple[Kind, str, str] | None:
    """Kind, runtime and name of the machine whose cgroup is `directory` below `parent`, or None."""
    scope = _MACHINE.fullmatch(directory)
    if scope:
        name = unescape(scope[1])
        driver = _DRIVER.fullmatch(name)
        if driver:
            return (Kind.VM if driver[1] == "qemu" else Kind.CONTAINER), "libvirt", driver[2]
        return Kind.CONTAINER, "nspawn", name
    flat = _LIBVIRT_DIR.fullmatch(directory)
    if flat:
        return (Kind.VM if flat[3] == "qemu" else Kind.CONTAINER), "libvirt", flat[2]
    nspawn = _NSPAWN.fullmatch(directory)
    if nspawn:
        return Kind.CONTAINER, "nspawn", unescape(nspawn[1])
    proxmox = _PROXMOX.fullmatch(directory) if parent == "qemu.slice" else None
    if proxmox:
        return Kind.VM, "proxmox", proxmox[1]
    if parent == "qemu":
        return Kind.VM, "libvirt", directory
    return None


def is_monitor(comm: str) -> bool:
    """Whether a process of that name (`/proc/PID/comm`) is a virtual machine monitor."""
    return comm.startswith(_VMMS)


def from_command(arguments: Sequence[str]) -> Facts | None:
    """What a monitor's command line says of its VM; None when it is no monitor we know.

    QEMU: `-name guest=web,debug-threads=on` or `-name web`; Firecracker: `--id web`.
    """
    if not arguments:
        return None
    program = arguments[0].rpartition("/")[2]
    if not is_monitor(program):
        return None
    runtime = "qemu" if program.startswith(("qemu", "kvm")) else program.partition("-")[0]
    word = _option(arguments, "-name" if runtime == "qemu" else "--id")
    if word and runtime == "qemu":
        pairs = [part.partition("=") for part in word.split(",")]
        guest = [value for key, _, value in pairs if key == "guest"]
        word = guest[0] if guest else pairs[0][0]
    name = text(word)
    return Facts(kind=Kind.VM, runtime=runtime, id=name, name=name)


def _option(arguments: Sequence[str], name: str) -> str | None:
    for index, word in enumerate(arguments):
        if word in (name, f"-{name}") and index + 1 < len(arguments):
            return arguments[index + 1]
        if word.startswith(f"{name}="):
            return word[len(name) + 1 :]
    return None


class VmSource(Files):
    """Names of VMs by the command line of their monitor."""

    name = "vm"

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def knows(self, question: Question) -> bool:
        """Only tenants whose first process looked like a monitor are asked about with its id."""
        return question.pid is not None

    def ask(self, question: Question) -> Facts | None:
        """Name and kind of the VM; None when the process is no monitor or gone."""
        return from_command(self._processes.arguments(question.pid or 0))


def part_of(comm: str) -> Part:
    """What a VM's thread does, by its name (`/proc/PID/task/TID/comm`).

    QEMU with debug-threads names its vCPUs `CPU 0/KVM` (or `CPU 0/TCG`), Firecracker `fc_vcpu 0`,
    Cloud Hypervisor `vcpu0`; the kernel names its workers `vhost-PID`, `kvm-pit/PID`, `vhost_...`.
    """
    if comm.startswith(("vhost", "kvm-")):
        return Part.VHOST
    if re.match(r"CPU \d+/|fc_vcpu ?\d|vcpu ?\d", comm):
        return Part.VCPU
    return Part.VMM
