"""`cotenant metrics`: every tenant's counters once, to stdout."""

from __future__ import annotations

import gc
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cotenant.cli.source import open_source, settings_for
from cotenant.config import Settings
from cotenant.model import Snapshot


class Format(StrEnum):
    """The forms that `metrics` can take."""

    TEXT = "text"
    PROMETHEUS = "prometheus"
    JSON = "json"


def metrics(
    format: Annotated[
        Format, typer.Option("--format", help="Form of the output; text: a line per value.")
    ] = Format.TEXT,
    tenant: Annotated[
        list[str] | None,
        typer.Option(
            "--tenant",
            metavar="TENANT",
            help="Only this one: name, glob, start of a container id, cgroup id or path, pid:N. "
            "May be given again.",
        ),
    ] = None,
    pid: Annotated[
        int | None,
        typer.Option("--pid", metavar="PID", min=1, help="Meter the cgroup of this process ..."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="... under this name.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Read settings from FILE.")
    ] = None,
) -> None:
    r"""Every tenant's counters once, to stdout.

    text: ebpf-mon's form, `<tenant>_<resource> <value>`; odd bytes of a name as \xNN.
    prometheus: the page that the agent serves at /metrics. json: one object.
    """
    gc.disable()  # one look, then the end: looking for garbage would take a tenth of the time
    settings, named = settings_for(config, pid, name)
    wanted = tenant or ([name] if name is not None else [])
    source = open_source(settings, tenants=wanted, alone=named, once=True)
    try:
        snapshot = source.snapshot()
    finally:
        source.close()
    sys.stdout.buffer.write(render(snapshot, format, settings))
    sys.stdout.buffer.flush()


def render(snapshot: Snapshot, format: Format, settings: Settings) -> bytes:
    """The snapshot in one of the forms; imports the room of that form alone."""
    if format is Format.PROMETHEUS:
        from cotenant.export.prometheus import Page

        return Page(runtime_labels=settings.runtime_labels).render(snapshot)
    if format is Format.JSON:
        from cotenant.export import records

        return records.render(snapshot)
    from cotenant.export import text

    return text.render(snapshot)
