"""`cotenant noise`: who makes whom wait for a CPU, how long, and how that is known."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import Struct

from cotenant.cli.noise_hist import Unit, pictures
from cotenant.cli.noise_source import Meanwhile, NoiseSource, Own, open_noise
from cotenant.cli.progress import Progress
from cotenant.cli.source import chooser, settings_for
from cotenant.cli.talk import colourful, say
from cotenant.config import Settings, duration
from cotenant.errors import UsageError
from cotenant.model import NoiseReport

if TYPE_CHECKING:
    from rich.console import Console

    from cotenant.cli.noise_explain import Running

ONCE_S = 10.0
"""What a run covers that nobody set a time for and no terminal shows."""
PIPED_WIDTH = 120
LEAST = "1ms"


class Form(StrEnum):
    """The forms that `noise` can take."""

    TABLE = "table"
    HIST = "hist"
    JSON = "json"
    PROMETHEUS = "prometheus"


class Asked(Struct, frozen=True):
    """What the command line asks for, in seconds."""

    form: Form
    unit: Unit
    seconds: float | None
    interval: float | None
    cumulative: bool
    tenants: tuple[str, ...]
    explain: bool = False

    @property
    def live(self) -> bool:
        """Whether it is to be a screen that renews itself."""
        timed = self.seconds is not None or self.interval is not None or self.explain
        return self.form is Form.TABLE and not timed and _terminal()

    @property
    def reach_s(self) -> float:
        """How far back reports must reach."""
        if self.live:
            return 0.0
        if self.cumulative or self.form is Form.PROMETHEUS:
            return float("inf")
        return self.interval or self.seconds or ONCE_S


def _terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def noise(
    duration: Annotated[
        str | None,
        typer.Option("--duration", metavar="TIME", help="Look so long, print once, end: 10s, 1m."),
    ] = None,
    interval: Annotated[
        str | None,
        typer.Option("--interval", metavar="TIME", help="Print again every so often: 1s."),
    ] = None,
    form: Annotated[
        Form, typer.Option("--format", help="Form of the output; hist: waits by length.")
    ] = Form.TABLE,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    hist: Annotated[bool, typer.Option("--hist", help="The same as --format hist.")] = False,
    unit: Annotated[Unit, typer.Option("--unit", help="What hist counts in.")] = Unit.AUTO,
    cumulative: Annotated[
        bool,
        typer.Option(
            "--cumulative", help="With --interval: all since the start, not the interval alone."
        ),
    ] = False,
    tenant: Annotated[
        list[str] | None,
        typer.Option(
            "--tenant",
            metavar="TENANT",
            help="Only what this one waits: name, glob, start of a container id, cgroup id or "
            "path, pid:N. May be given again.",
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="And what the culprits of a finding were running.")
    ] = False,
    events: Annotated[
        bool, typer.Option("--events", help="Single long waits as they end, a line each.")
    ] = False,
    least: Annotated[
        str, typer.Option("--min", metavar="TIME", help="With --events: how long is long.")
    ] = LEAST,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Read settings from FILE.")
    ] = None,
) -> None:
    """Who makes whom wait for a CPU, how long, and how that is known.

    Live on a terminal (q quits); in a pipe as with --duration 10s. A finding stands above the
    table when a tenant waits long, mostly for others, three seconds in a row. Every wait is
    blamed on who ran on that CPU meanwhile; what was nobody's doing is told apart: its own quota
    (THR %), the hypervisor (STEAL %). FAIR: CPU time got against the fair share by weight.
    OUSTED: how often it lost the CPU to itself / a tenant / a system unit / the kernel.

    --explain: below a finding, the heaviest stacks of whoever is to blame, of that very time: those
    the agent keeps, else sampled meanwhile.

    json: one object, the record NoiseReport (docs/noise.md); `parts` of a delay add up to its
    `waited_ns`; --events: a LongWait per line. prometheus: counters since the start.
    """
    settings, _ = settings_for(config)
    asked = Asked(
        form=_form(form, json, hist, events),
        unit=unit,
        seconds=_seconds(duration, "--duration"),
        interval=_seconds(interval, "--interval"),
        cumulative=cumulative,
        tenants=tuple(tenant or ()),
        explain=explain,
    )
    if explain and (events or asked.form is not Form.TABLE):
        raise UsageError("--explain comes as text.", "cotenant noise --explain")
    if cumulative and interval is None:
        raise UsageError("--cumulative goes with --interval.", "cotenant noise --interval 1s")
    if events:
        _events(settings, asked, least)
        return
    with ExitStack() as opened:
        running = _running(settings, opened) if explain else None
        source = open_noise(settings, asked.tenants, reach_s=asked.reach_s)
        opened.callback(source.close)
        if asked.live:
            from cotenant.cli.noise_live import run

            run(source)
            return
        for report, span in _reports(source, asked, running.step if running else None):
            _print(report, span, source, asked, settings)
            if running:
                _explain(report, running)


def _running(settings: Settings, opened: ExitStack) -> Running:
    from cotenant.cli.noise_explain import open_running

    running = open_running(settings)
    opened.callback(running.close)
    return running


def _form(form: Form, json: bool, hist: bool, events: bool) -> Form:
    """The one form that the words ask for."""
    asked = {Form.JSON} if json else set()
    asked |= {Form.HIST} if hist else set()
    asked |= {form} if form is not Form.TABLE else set()
    if len(asked) > 1:
        raise UsageError("One form at a time.", "cotenant noise --help")
    found = asked.pop() if asked else Form.TABLE
    if events and found not in (Form.TABLE, Form.JSON):
        raise UsageError(f"--events does not come as {found.value}.", "cotenant noise --events")
    return found


def _seconds(text: str | None, option: str) -> float | None:
    if text is None:
        return None
    found = duration(text)
    if not 0.1 <= found <= 86400:
        raise UsageError(f"{option} takes 100ms to 24h.", f"cotenant noise {option} 10s")
    return found


def _events(settings: Settings, asked: Asked, least: str) -> None:
    from cotenant.cli.noise_events import stream

    micro = least.removesuffix("us")
    seconds = duration(micro) / 1e6 if micro != least else duration(least)
    choice = chooser(asked.tenants, settings) if asked.tenants else None
    source = Own(settings, choice)
    say(f"cotenant: {source.how}, waits of {least} and more")
    try:
        stream(source, max(round(seconds * 1e9), 1), asked.form is Form.JSON, asked.seconds)
    finally:
        source.close()


def _reports(
    source: NoiseSource, asked: Asked, meanwhile: Meanwhile | None = None
) -> Iterator[tuple[NoiseReport, str]]:
    """Reports as they are due, each with the time it is of in words."""
    if asked.interval is None:
        seconds = asked.seconds or ONCE_S
        progress = Progress("listening, second")
        try:
            source.wait(seconds, progress, meanwhile)
        finally:
            progress.end()
        report = source.whole(seconds)
        yield report, f"waits in {report.seconds:.1f} s"
        return
    end = None if asked.seconds is None else time.monotonic() + asked.seconds
    while end is None or time.monotonic() < end - 0.05:
        source.wait(asked.interval, meanwhile=meanwhile)
        report = source.whole(asked.interval)
        if not asked.cumulative:
            source.forget()
        how = "since the start, cumulative" if asked.cumulative else "this interval alone"
        yield report, f"waits in {report.seconds:.1f} s ({how})"


def _print(
    report: NoiseReport, span: str, source: NoiseSource, asked: Asked, settings: Settings
) -> None:
    if asked.form is Form.JSON:
        from cotenant.web.answers import encoded

        sys.stdout.buffer.write(encoded(report) + b"\n")
    elif asked.form is Form.PROMETHEUS:
        sys.stdout.buffer.write(_exposition(source, report))
    elif asked.form is Form.HIST:
        _print_pictures(report, span, asked, settings)
    else:
        _print_page(report, source)
    sys.stdout.flush()


def _exposition(source: NoiseSource, report: NoiseReport) -> bytes:
    """The metrics of the noise sense, counters since the start."""
    assert isinstance(source, Own)  # reach_s: no agent tells them so
    export: Any = import_module("cotenant.export.noise")
    heard = export.Heard(
        waits=source.counters(), findings=report.findings, host_share=report.host_share
    )
    made: bytes = export.render(heard)
    return made


def _print_pictures(report: NoiseReport, span: str, asked: Asked, settings: Settings) -> None:
    from cotenant.tenants.procs import Processes

    comm = Processes(Path(settings.host_root)).comm
    blocks = list(pictures(report, asked.unit, span, comm))
    print("\n".join(blocks) if blocks else f"{span}: nobody waited")


def _console() -> Console:
    from rich.console import Console

    return Console(
        width=None if sys.stdout.isatty() else PIPED_WIDTH,
        no_color=not colourful(sys.stdout),
        highlight=False,
        soft_wrap=False,
    )


def _print_page(report: NoiseReport, source: NoiseSource) -> None:
    from cotenant.cli.noise_page import Frame, page

    console = _console()
    console.print(page(report, Frame(console.width, source.how)))


def _explain(report: NoiseReport, running: Running) -> None:
    from cotenant.cli.noise_explain import explained

    _console().print(explained(report, running))
    sys.stdout.flush()
