"""`cotenant check`: what this host offers, what is missing, what that costs, and what to do."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cotenant.cli.called import as_called
from cotenant.cli.source import settings_for
from cotenant.cli.talk import say, say_notes
from cotenant.errors import CotenantError, HostCannot
from cotenant.kernel import cgroupfs
from cotenant.kernel.capabilities import NOTHING
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.kernel.support import Finding, State, findings, sockets
from cotenant.meter.read import Meter
from cotenant.model import ProfileType
from cotenant.noise.read import Noise
from cotenant.profile.read import Samples

MARKS = {
    State.OK: ("✓", "green"),
    State.DEGRADED: ("~", "yellow"),
    State.MISSING: ("✗", "red"),
    State.UNKNOWN: ("?", "cyan"),
}


def check(
    json_: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Read settings from FILE.")
    ] = None,
) -> int:
    """What this host offers, what is missing, what that costs, and what to do about it.

    Loads and attaches every program, then lets go of it again. Exit code 3 where nothing at all can
    be metered here.
    """
    settings, _ = settings_for(config, None, None)
    hierarchies = cgroupfs.find(Path(settings.host_root))
    found = findings(hierarchies)
    tier, tried = programs(hierarchies)
    found += tried
    found.append(noise(hierarchies, [finding.found for finding in tried]))
    found.append(profiles(hierarchies, [finding.found for finding in tried]))
    found += sockets("docker", [Path(path) for path in settings.docker_sockets])
    found = [replace(finding, do=as_called(finding.do)) for finding in found]
    if json_:
        print(msgspec.json.encode({"tier": tier, "findings": found}).decode())
    else:
        show(found)
        if hierarchies.trees:
            say(f"cotenant: meters this host through the {tier} tier")
        else:
            say("cotenant: nothing can be metered on this host")
    return 0 if hierarchies.trees else HostCannot.exit_code


def programs(hierarchies: Hierarchies) -> tuple[str, list[Finding]]:
    """The tier that opens on this host, and how each part of it came up."""
    meter = Meter(hierarchies)
    try:
        if meter.why_files:
            say_notes(meter.why_files)
            refused = Finding(
                "eBPF programs",
                State.MISSING,
                str(meter.why_files),
                "files are read instead: slower, no packets, no last books of the dead",
                meter.why_files.hint or "",
            )
            return meter.tier, [refused]
        return meter.tier, [
            Finding(f"program {name}", State.OK if ok else State.MISSING, said, costs, do)
            for name, ok, said, costs, do in parts(meter)
        ]
    finally:
        meter.close()


def parts(meter: Meter) -> list[tuple[str, bool, str, str, str]]:
    """What each program of an open meter does: name, whether it came up, words, cost, remedy."""
    coverage = meter.coverage()
    return [
        ("meter", True, f"walks {coverage.trees} cgroup trees", "", ""),
        (
            "memory.stat",
            coverage.states_proven,
            "read in the kernel" if coverage.states_proven else "its layout could not be proven",
            "memory.stat is read as a file of each tenant",
            "cotenant --debug check",
        ),
        (
            "received, sent",
            coverage.traffic,
            "count packets at the cgroup" if coverage.traffic else "did not attach",
            "network of host-network tenants and services is not measured",
            "sudo cotenant check",
        ),
        (
            "block_issued",
            coverage.blocks or coverage.devices,
            "counts requests" if coverage.blocks else "not needed: v2 keeps its own book",
            "block IO is not measured on cgroup v1",
            "use Linux 6.1 or newer",
        ),
        (
            "cgroup_made, cgroup_removed",
            coverage.lives,
            "tell births and deaths" if coverage.lives else "did not attach",
            "directories are watched instead; figures of short-lived tenants may be missing",
            "use Linux 6.1 or newer",
        ),
    ]


def noise(hierarchies: Hierarchies, said: Collection[str] = ()) -> Finding:
    """Whether the programs that sense who makes whom wait load and attach here.

    `said`: reasons that were given already.
    """
    what = "noise programs"
    try:
        with Noise(hierarchies) as opened:
            return _came_up(what, opened.memory_bytes)
    except CotenantError as error:
        return _refused(what, error, "who makes whom wait is not told", said)


def profiles(hierarchies: Hierarchies, said: Collection[str] = ()) -> Finding:
    """Whether the programs that sample stacks load here, and run on a clock; see `noise`."""
    what = "profile programs"
    types = (ProfileType.CPU, ProfileType.OFF_CPU, ProfileType.FAULTS)
    try:
        with closing(Samples(hierarchies, types, 19, chosen=())) as opened:
            opened.start()
            return _came_up(what, opened.programs.memory_bytes)
    except CotenantError as error:
        return _refused(what, error, NOTHING, said)


def _came_up(what: str, memory_bytes: int) -> Finding:
    room = f"{memory_bytes / 1e6:.0f} MB of kernel memory"
    return Finding(what, State.OK, f"load and attach, {room}")


def _refused(what: str, error: CotenantError, costs: str, said: Collection[str]) -> Finding:
    reason = str(error).partition(";")[0]  # what libbpf adds names the object
    again = any(one.startswith(reason) for one in said)
    why = "refused likewise" if again else str(error)
    return Finding(what, State.MISSING, why, costs, error.hint or "")


def show(found: list[Finding]) -> None:
    """Prints the findings as a table; what is missing with its cost and its remedy below it."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    for finding in found:
        mark, colour = MARKS[finding.state]
        said = Text(finding.found)
        if finding.state is not State.OK:
            for word, text in (("costs", finding.costs), ("do", finding.do)):
                if text:
                    said.append(f"\n{word}: ", style="dim")
                    said.append(text, style="dim" if word == "costs" else "bold")
        table.add_row(Text(mark, style=colour), Text(finding.what), said)
    Console().print(table)
