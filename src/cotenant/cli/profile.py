"""`cotenant profile`: where the time goes, by stack, of any tenant or the whole host."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct
from msgspec.structs import replace

from cotenant.cli.profile_out import Output
from cotenant.cli.profile_source import Sampler, read_file
from cotenant.cli.source import settings_for
from cotenant.cli.talk import colourful, say
from cotenant.config import Settings
from cotenant.config import duration as seconds_in
from cotenant.config.profile import url_problem
from cotenant.errors import UsageError
from cotenant.model import UNITS, Profile, ProfileType

ONCE_S = 10.0
"""What is sampled when nobody set a time and no screen stays open."""
PIPED_WIDTH = 100
LEAST_S, MOST_S = 0.1, 86400.0


class Asked(Struct, frozen=True):
    """What the command line asks for."""

    tenants: tuple[str, ...] = ()
    seconds: float | None = None
    hz: int = 99
    type: ProfileType = ProfileType.CPU
    json: bool = False
    lines: bool = False


def profile(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A stored profile to show instead of sampling."),
    ] = None,
    tenant: Annotated[
        list[str] | None,
        typer.Option(
            "--tenant",
            metavar="TENANT",
            help="Only this one: name, glob, start of a container id, cgroup id or path, pid:N. "
            "May be given again.",
        ),
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option("--duration", metavar="TIME", help="Sample so long, then show: 10s, 1m."),
    ] = None,
    last: Annotated[
        str | None,
        typer.Option("--last", metavar="TIME", help="What the agent kept of so long: 5m, 1h."),
    ] = None,
    hz: Annotated[
        int | None,
        typer.Option("--hz", metavar="HZ", min=1, max=999, help="Samples a second and CPU (99)."),
    ] = None,
    type: Annotated[
        ProfileType | None,
        typer.Option(
            "--type",
            help="Time on a CPU, time blocked off it, bytes allocated, or page faults (cpu).",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write it there; the ending chooses the form. -: folded stacks to stdout.",
        ),
    ] = None,
    diff: Annotated[
        Path | None,
        typer.Option("--diff", metavar="BASE", help="Compare with this stored profile."),
    ] = None,
    debuginfod: Annotated[
        str | None,
        typer.Option(
            "--debuginfod",
            metavar="URL",
            help="Ask this server for names which binaries here do not have (profile.debuginfod).",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The same as -o -.json.")] = False,
    lines: Annotated[bool, typer.Option("--lines", help="Tell lines of a function apart.")] = False,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Read settings from FILE.")
    ] = None,
) -> None:
    """Where the time goes: a flame graph of any tenant or of the whole host.

    On a terminal a flame graph to walk through, renewed each second (? shows the keys, q quits);
    with --duration it samples first. In a pipe: the top functions and stacks in words, of 10 s.
    Ctrl-C ends sampling early and keeps what there is.

    Endings of -o: .html (one page), .svg, .pb.gz (pprof), .folded, .speedscope.json, .json
    (complete). FILE and BASE: .pb.gz, .folded or .json.
    """
    if json and output is not None:
        raise UsageError("--json goes to stdout, -o to a file: one at a time.", "-o profile.json")
    sampling = {"--duration": duration, "--hz": hz, "--debuginfod": debuginfod}
    if file is not None:
        _refuse({**sampling, "--type": type, "--last": last}, "FILE")
    elif last is not None:
        _refuse(sampling, "--last")
    asked = Asked(
        tenants=tuple(tenant or ()),
        seconds=_seconds(duration),
        hz=hz or 99,
        type=type or ProfileType.CPU,
        json=json,
        lines=lines,
    )
    with ExitStack() as opened:
        target = "-.json" if json else output
        out = opened.enter_context(Output(target)) if target is not None else None
        base = read_file(diff, asked.tenants) if diff is not None else None
        if base is not None and out is not None:
            out.check_compared()
        if file is not None:
            found = read_file(file, asked.tenants)
            _comparable(found.type, base)
            _deliver(found, base, asked, out, str(file))
            return
        _comparable(asked.type, base)
        settings, _ = settings_for(config)
        if last is not None:
            from cotenant.cli.profile_source import read_agent

            found = read_agent(settings, asked.tenants, asked.type, _past(last))
            _deliver(found, base, asked, out, f"the agent's last {last}")
            return
        from cotenant.cli.profile_own import open_own

        if debuginfod is not None:
            settings = _with_server(settings, debuginfod)
        sampler = open_own(settings, asked.tenants, asked.type, asked.hz)
        opened.callback(sampler.close)
        if out is None and asked.seconds is None and _terminal():
            _live(sampler, base, asked)
        else:
            _sampled(sampler, base, asked, out)


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    found = seconds_in(text)
    if not LEAST_S <= found <= MOST_S:
        raise UsageError("--duration takes 100ms to 24h.", "cotenant profile --duration 10s")
    return found


def _with_server(settings: Settings, url: str) -> Settings:
    if problem := url_problem(url, "--debuginfod"):
        raise UsageError(f"{problem}.", "--debuginfod https://debuginfod.debian.net")
    return replace(settings, profile=replace(settings.profile, debuginfod=url))


def _past(text: str) -> float:
    found = seconds_in(text)
    if not 1.0 <= found <= MOST_S:
        raise UsageError("--last takes 1s to 24h.", "cotenant profile --last 5m")
    return found


def _refuse(given: Mapping[str, object], other: str) -> None:
    """Raises UsageError for options that are of no use beside `other`."""
    for word, value in given.items():
        if value is not None:
            raise UsageError(f"{word} is for sampling, and {other} was sampled.", "one of the two")


def _terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _comparable(kind: str, base: Profile | None) -> None:
    """Raises UsageError where two profiles count different things.

    Shares are compared, so units may differ; folded stacks (`samples`) do not tell what they are.
    """
    if base is not None and "samples" not in (kind, base.type) and kind != base.type:
        raise UsageError(
            f"A profile of {kind} cannot be compared with one of {base.type}.",
            f"cotenant profile --type {base.type} --diff BASE"
            if base.type in [*ProfileType]
            else "--diff BASE FILE, both of one type",
        )


def _sampled(sampler: Sampler, base: Profile | None, asked: Asked, out: Output | None) -> None:
    """Samples first, then hands over; Ctrl-C ends the sampling alone."""
    from cotenant.cli.profile_sampling import ending, sample

    with ending() as end:
        found = sample(sampler, asked.seconds or ONCE_S, end)
        if out is not None:
            _deliver(found, base, asked, out, sampler.how)
    if out is None:
        _deliver(found, base, asked, out, sampler.how)


def _live(sampler: Sampler, base: Profile | None, asked: Asked) -> None:
    """A screen that renews itself; what it has shown is told when it closes."""
    from cotenant.cli.flame.app import view
    from cotenant.cli.flame.scene import Scene
    from cotenant.cli.flame.tree import Shape

    now = time.time()
    none = Profile(asked.type, UNITS[asked.type], now, now, 0, tenants=(), frames=(), stacks=())
    scene = Scene(none, Shape(lines=asked.lines), base=base)
    _tell(view(scene, sampler.how, sampler))


def _deliver(
    found: Profile, base: Profile | None, asked: Asked, out: Output | None, how: str
) -> None:
    """Writes the profile where it was asked for, else shows it: as a screen or as words."""
    if out is not None:
        out.write(found, base)
        _tell(found)
        if not out.to_stdout:
            say(f"cotenant: written: {out.name}")
    elif _terminal():
        from cotenant.cli.flame.app import view
        from cotenant.cli.flame.scene import Scene
        from cotenant.cli.flame.tree import Shape

        _tell(found)
        view(Scene(found, Shape(lines=asked.lines), base=base), how)
    else:
        _print(found, base, asked)
        _tell(found)


def _print(found: Profile, base: Profile | None, asked: Asked) -> None:
    from rich.console import Console

    from cotenant.cli.profile_text import changes, page

    terminal = sys.stdout.isatty()
    console = Console(
        width=None if terminal else PIPED_WIDTH,
        no_color=not colourful(sys.stdout),
        highlight=False,
        soft_wrap=False,
    )
    made = (
        page(found, console.width, lines=asked.lines)
        if base is None
        else changes(found, base, console.width, lines=asked.lines)
    )
    console.print(made)


def _tell(found: Profile) -> None:
    """Says on stderr how good the profile is."""
    from cotenant.cli.profile_text import summary

    for line in summary(found):
        say(f"cotenant: {line}")
