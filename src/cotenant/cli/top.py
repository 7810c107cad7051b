"""`cotenant top`: the live table of what every tenant uses; once, or as JSON, where asked to."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer

from cotenant.cli.columns import SORTABLE
from cotenant.cli.rows import Grouping, View
from cotenant.cli.source import open_source, settings_for
from cotenant.errors import UsageError


def _column(word: str) -> str:
    if word not in SORTABLE:
        near = get_close_matches(word, SORTABLE, 1, 0.0)[0]
        raise UsageError(f"There is no column {word!r} to sort by.", f"cotenant top --sort {near}")
    return word


def top(
    once: Annotated[
        bool, typer.Option("--once", help="Print the table once and end; so it does in a pipe.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object per sample, on a line of its own.")
    ] = False,
    interval: Annotated[
        float,
        typer.Option(
            "--interval", metavar="SECONDS", min=0.1, max=3600, help="Between two samples."
        ),
    ] = 1.0,
    count: Annotated[
        int | None, typer.Option("--count", metavar="N", min=1, help="End after N samples.")
    ] = None,
    sort: Annotated[
        str,
        typer.Option(
            "--sort",
            metavar="COLUMN",
            callback=_column,
            help=f"Column to sort by: {', '.join(SORTABLE)}.",
        ),
    ] = "cpu",
    reverse: Annotated[bool, typer.Option("--reverse", help="The smallest first.")] = False,
    group: Annotated[
        Grouping, typer.Option("--group", help="Gather rows by pod, project or slice, or by kind.")
    ] = Grouping.NONE,
    filter: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="WORD",
            help="Only tenants with WORD in name, kind, image, group or path. Again: both.",
        ),
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
    tree: Annotated[
        bool, typer.Option("--tree", help="Show what is nested in a tenant, too.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Read settings from FILE.")
    ] = None,
) -> None:
    """Live table of what every tenant of this host uses.

    Press ? in it for the keys. Without a terminal it prints the table once and ends. A rate is
    the growth between two samples, so once takes one interval.
    """
    settings, _ = settings_for(config)
    view = View(sort, reverse, tuple(filter or ()), group, all_open=tree)
    still = once or not (sys.stdin.isatty() and sys.stdout.isatty())
    source = open_source(settings, tenants=tenant or (), waits="now" if json or still else "later")
    try:
        if json:
            from cotenant.cli.once import print_json

            print_json(source, view, interval, 1 if once else count)
        elif still:
            from cotenant.cli.once import print_once

            print_once(source, view, interval)
        else:
            from cotenant.cli.screen.app import run

            run(source, view, interval, count)
    finally:
        source.close()
