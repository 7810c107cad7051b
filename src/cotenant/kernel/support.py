"""What this host offers, as facts: probed one by one, never guessed from the kernel's version.

A probe that this process may not make says so (`State.UNKNOWN`); it never claims that a thing is
missing.
"""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from cotenant.errors import CotenantError
from cotenant.kernel.btf import TYPEDEF, Btf
from cotenant.kernel.capabilities import CAPABILITIES, NOTHING, held, lacks
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.kernel.libbpf import library

AUTOGROUP = Path("/proc/sys/kernel/sched_autogroup_enabled")


class State(StrEnum):
    """How a thing stands on this host."""

    OK = "ok"
    DEGRADED = "degraded"
    MISSING = "missing"
    UNKNOWN = "unknown"


class Finding(Struct, frozen=True):
    """One thing looked at: how it stands, what its absence costs, and what to do about it."""

    what: str
    state: State
    found: str
    costs: str = ""
    do: str = ""


def findings(hierarchies: Hierarchies) -> list[Finding]:
    """Everything about the kernel and this process that the senses depend on."""
    looks: tuple[Callable[[], Finding], ...] = (
        kernel,
        lambda: cgroups(hierarchies),
        lambda: controllers(hierarchies),
        capabilities,
        profiling,
        bpf_library,
        type_information,
        births,
        lambda: pressure(hierarchies),
        lambda: stamps(hierarchies),
        clocks,
        lambda: autogroup(hierarchies),
        descriptors,
    )
    return [look() for look in looks]


def kernel() -> Finding:
    """Which kernel, and whether it is a real one: WSL2 has its own."""
    release = platform.release()
    found = f"Linux {release}, {platform.machine()}"
    if "microsoft" in release.lower():
        return Finding(
            "kernel",
            State.DEGRADED,
            f"{found}: WSL2",
            "containers of Docker Desktop live in another virtual machine and are not seen",
            "run cotenant inside the distribution that runs the containers",
        )
    return Finding("kernel", State.OK, found)


def cgroups(hierarchies: Hierarchies) -> Finding:
    """Which cgroup trees are mounted."""
    if not hierarchies.trees:
        return Finding(
            "cgroups",
            State.MISSING,
            "no cgroup tree is mounted",
            "nothing can be metered",
            "mount -t cgroup2 none /sys/fs/cgroup",
        )
    mounts = _places([tree.mount for tree in hierarchies.trees])
    if hierarchies.layout == "v1":
        return Finding(
            "cgroups",
            State.DEGRADED,
            f"v1 without a v2 tree: {mounts}",
            "CPU time is read from files, PSI and packets per cgroup are not measured",
            "mount -t cgroup2 none /sys/fs/cgroup/unified",
        )
    return Finding("cgroups", State.OK, f"{hierarchies.layout}: {mounts}")


def _places(mounts: Sequence[Path]) -> str:
    """One mount by its path, several by the directory they are all in; else each."""
    above = os.path.commonpath(mounts)
    if len(mounts) > 1 and above != "/":
        return f"{len(mounts)} trees below {above}"
    return ", ".join(str(mount) for mount in mounts)


def controllers(hierarchies: Hierarchies) -> Finding:
    """Which of the controllers that are read are there."""
    wanted = ("cpu", "memory", "pids", "blkio" if hierarchies.of("blkio") else "io")
    missing = [name for name in wanted if not hierarchies.of(name)]
    if not missing:
        return Finding("controllers", State.OK, ", ".join(wanted))
    return Finding(
        "controllers",
        State.DEGRADED,
        f"without {', '.join(missing)}",
        f"figures of {', '.join(missing)} are not measured",
        f"echo '+{' +'.join(missing)}' > /sys/fs/cgroup/cgroup.subtree_control",
    )


def capabilities() -> Finding:
    """Which of the capabilities that metering can use this process holds."""
    has = held()
    missing = [known for bit, known in CAPABILITIES.items() if not has >> bit & 1]
    if not missing:
        return Finding("capabilities", State.OK, "every one that is used")
    return Finding(
        "capabilities",
        State.DEGRADED,
        f"without {', '.join(name for name, _ in missing)}",
        "; ".join(f"{name}: {use}" for name, use in missing),
        "sudo cotenant check",
    )


def profiling() -> Finding:
    """Which of the capabilities that profiles take this process lacks, and what that costs."""
    missing = lacks()
    if not missing:
        return Finding("profiling", State.OK, "every capability that it takes")
    costs = {lack.costs: "" for lack in missing}
    for lack in missing:
        costs[lack.costs] += f"{', ' if costs[lack.costs] else ''}{lack.name}"
    return Finding(
        "profiling",
        State.MISSING if NOTHING in costs else State.DEGRADED,
        f"without {', '.join(lack.name for lack in missing)}",
        "; ".join(f"{names}: {cost}" for cost, names in costs.items()),
        "sudo cotenant check",
    )


def bpf_library() -> Finding:
    """Whether libbpf can be loaded."""
    try:
        version = library().libbpf_version_string().decode()
    except CotenantError as error:
        return Finding(
            "libbpf", State.MISSING, str(error), "files are read instead", error.hint or ""
        )
    return Finding("libbpf", State.OK, version)


def type_information() -> Finding:
    """Whether the kernel describes its own types, without which no program can be fitted to it."""
    path = Path("/sys/kernel/btf/vmlinux")
    if path.exists():
        return Finding("type information", State.OK, str(path))
    return Finding(
        "type information",
        State.MISSING,
        f"there is no {path}",
        "no program can be fitted to this kernel: files are read instead",
        "use a kernel built with CONFIG_DEBUG_INFO_BTF=y",
    )


def births() -> Finding:
    """Whether the kernel tells births and deaths of cgroups."""
    try:
        with Btf.of_kernel() as btf:
            told = btf.find("btf_trace_cgroup_mkdir", TYPEDEF) is not None
            walks = btf.has_function("bpf_iter_cgroup")
    except CotenantError:
        told = walks = False
    if told and walks:
        return Finding("cgroup iterator", State.OK, "with births and deaths")
    return Finding(
        "cgroup iterator",
        State.MISSING,
        "this kernel has none (Linux 6.1)" if not walks else "without births and deaths",
        "files are read instead; of a tenant that lives less than a second figures may be missing; "
        "block IO on cgroup v1 and packets per cgroup are not measured",
        "use Linux 6.1 or newer",
    )


def pressure(hierarchies: Hierarchies) -> Finding:
    """Whether the kernel keeps PSI per cgroup."""
    if not hierarchies.unified:
        return Finding("pressure (PSI)", State.MISSING, "no v2 tree", "not measured per tenant")
    try:
        (hierarchies.unified.mount / "cpu.pressure").read_bytes()
    except FileNotFoundError:
        found, do = "this kernel is built without it", "use a kernel built with CONFIG_PSI=y"
    except PermissionError:
        return Finding(
            "pressure (PSI)",
            State.UNKNOWN,
            "may not be read",
            "not measured",
            "sudo cotenant check",
        )
    except OSError:
        found, do = "switched off", "boot with psi=1"
    else:
        return Finding("pressure (PSI)", State.OK, "per cgroup")
    return Finding("pressure (PSI)", State.MISSING, found, "stall times are not measured", do)


def stamps(hierarchies: Hierarchies) -> Finding:
    """Whether the kernel stamps tasks that wait for a CPU, and whose group they are in."""
    what, nobody = "waits for a CPU", "who makes whom wait is not told"
    try:
        with Btf.of_kernel() as btf:
            stamped = btf.field("task_struct", "sched_info") is not None
    except CotenantError as error:
        return Finding(what, State.MISSING, str(error), nobody, error.hint or "")
    if not stamped:
        do = "use a kernel built with CONFIG_SCHED_INFO=y"
        return Finding(what, State.MISSING, "this kernel does not stamp them", nobody, do)
    tree = hierarchies.of("cpu")
    if tree is None:
        return Finding(
            what,
            State.DEGRADED,
            "stamped, without the cpu controller",
            "CPU weights and quotas are not known"
            if hierarchies.layout == "v2"
            else "all that waits is told as the host",
            "echo '+cpu' > /sys/fs/cgroup/cgroup.subtree_control",
        )
    return Finding(what, State.OK, f"stamped, by cgroup of {tree.mount}")


def clocks() -> Finding:
    """Whether the scheduler's clock tells interrupts and steal apart (kernel/sched/core.c)."""
    what = "interrupts, steal"
    fields = {
        "interrupts": ("prev_irq_time", "CONFIG_IRQ_TIME_ACCOUNTING=y"),
        "steal": ("prev_steal_time", "CONFIG_PARAVIRT_TIME_ACCOUNTING=y"),
    }
    try:
        with Btf.of_kernel() as btf:
            missing = [word for word, (name, _) in fields.items() if not btf.field("rq", name)]
    except CotenantError as error:
        return Finding(what, State.MISSING, str(error), "not told apart", error.hint or "")
    if not missing:
        return Finding(what, State.OK, "told apart from tasks that run")
    return Finding(
        what,
        State.DEGRADED,
        f"without {', '.join(missing)}",
        f"waits for {' and '.join(missing)} are blamed on who ran",
        f"use a kernel built with {', '.join(fields[word][1] for word in missing)}",
    )


def autogroup(hierarchies: Hierarchies) -> Finding:
    """Whether sessions that are in no cgroup of the cpu tree are groups all the same.

    Only where the CPU is scheduled by a v1 tree: on v2 a task is told by its cgroup anyway.
    """
    what = "sessions"
    try:
        on = AUTOGROUP.read_text().strip() == "1"
    except OSError:
        on = False
    tree = hierarchies.of("cpu")
    if not on or tree is None or tree.version == 2:
        return Finding(what, State.OK, "share the CPU by their cgroups")
    return Finding(
        what,
        State.DEGRADED,
        f"share the CPU as groups of their own ({AUTOGROUP.name} is 1)",
        f"those in no cgroup of {tree.mount} are told as one victim and culprit, the host",
        f"put them into cgroups of {tree.mount}",
    )


def descriptors() -> Finding:
    """Whether enough files may be open for the file reader, which keeps a dozen per tenant."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft} open files, {hard} at most"
    if hard >= 65536:
        return Finding("open files", State.OK, found)
    return Finding(
        "open files",
        State.DEGRADED,
        found,
        f"where files are read, those of more than {hard // 24} tenants are opened each time",
        "ulimit -n 65536",
    )


def sockets(name: str, paths: Iterable[Path]) -> list[Finding]:
    """Which sockets of a runtime may be used. One that is absent is no fault."""
    found = []
    for path in {os.path.realpath(one): one for one in paths}.values():
        try:
            path.stat()
        except FileNotFoundError:
            continue
        except OSError:
            found.append(Finding(name, State.UNKNOWN, f"{path} may not be looked at", do="sudo"))
            continue
        # Not the real user's rights: access(2) takes the capabilities away where that is not root.
        if os.access(path, os.R_OK | os.W_OK, effective_ids=True):
            found.append(Finding(name, State.OK, str(path)))
        else:
            found.append(
                Finding(
                    name,
                    State.UNKNOWN,
                    f"{path} may not be opened",
                    "its tenants are named by the start of their id",
                    "sudo cotenant check",
                )
            )
    return found
