"""`cotenant agent`: the daemon, in the foreground until it is told to stop."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cotenant.config import duration, load


def agent(
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Read settings from FILE.")
    ] = None,
    interval: Annotated[
        str | None,
        typer.Option("--interval", metavar="TIME", help="Between two samples: 500ms, 1s, 5m."),
    ] = None,
    http: Annotated[
        str | None,
        typer.Option("--http", metavar="ADDR:PORT", help='Where to serve /metrics, or "off".'),
    ] = None,
    socket: Annotated[
        str | None, typer.Option("--socket", metavar="PATH", help="Control socket.")
    ] = None,
    tier: Annotated[
        str | None,
        typer.Option("--tier", help="How to read the kernel: auto, kfunc, iterator or files."),
    ] = None,
    host_root: Annotated[
        str | None,
        typer.Option("--host-root", metavar="DIR", help="Where the host's / is seen from here."),
    ] = None,
    exit_when_idle: Annotated[
        str | None,
        typer.Option(
            "--exit-when-idle", metavar="TIME", help="End when no container was here this long."
        ),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option("--log-level", help="debug, info, warning or error.")
    ] = None,
) -> int:
    """The daemon: samples every second, serves /metrics and the other verbs.

    Stays in the foreground and logs on stderr. SIGTERM or Ctrl-C ends it, SIGHUP makes it read its
    configuration again; a changed file is read again by itself. Flags stand over the file.
    """
    flags: dict[str, object] = {
        "interval_s": None if interval is None else duration(interval),
        "http": http,
        "socket": None if socket is None else os.path.abspath(socket),
        "tier": tier,
        "host_root": host_root,
        "exit_when_idle_s": None if exit_when_idle is None else duration(exit_when_idle),
        "log_level": log_level,
    }
    settings = load(config, flags)
    from cotenant.agent.daemon import Agent

    return Agent(settings, flags, config).run()
