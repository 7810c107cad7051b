"""HTTP: /metrics for scrapers, /api/profile, /-/ready, /-/healthy, and an index of them.

Every page is rendered at most once per sample, when first asked for, however many ask. Nothing here
changes anything. On a loopback address a request must name this machine by an address, as
localhost, or by its own name: else a web page could have its name point here and read along through
a browser on this host (DNS rebinding). An address that is open to the network answers under any
name, unless `http_hosts` is set.
"""

from __future__ import annotations

import gzip
import ipaddress
import json
import socket
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from cotenant.web.connection import Connection, Pieces
from cotenant.web.profiles import Profiles
from cotenant.web.sockets import is_loopback

ROUTES = {
    "/metrics": "every tenant, for Prometheus; ?format=text for a line per value, ?format=json",
    "/api/profile": "where the time went; ?tenant= from=-5m to=now type=cpu format=pprof",
    "/-/ready": "200 as long as there are fresh samples",
    "/-/healthy": "200 as long as the agent lives",
}
MEDIA_TYPES = {
    "prometheus": "text/plain; version=0.0.4; charset=utf-8",
    "text": "text/plain; charset=utf-8",
    "json": "application/json",
    "protobuf": "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; "
    "encoding=delimited",
}
MOST_AT_ONCE = 64
"""Connections that ask; more are told 503. A page of 200 tenants is some 3 MB, shared by all."""

Render = Callable[[], bytes]


class Pages:
    """Pages rendered from the newest sample, kept until there is a newer one.

    `renderers`: by format, what makes the page now. `sample`: a number of the newest sample, None
    before the first. `age_s`: how old that is; `stale_s`: the age from which it counts as stopped.
    """

    def __init__(
        self,
        renderers: Mapping[str, Render],
        sample: Callable[[], int | None],
        age_s: Callable[[], float],
        stale_s: Callable[[], float],
    ) -> None:
        self.renderers = renderers
        self.sample = sample
        self.age_s = age_s
        self.stale_s = stale_s
        self.scrapes = 0
        self._of: int | None = None
        self._kept: dict[tuple[str, bool], bytes] = {}

    def page(self, name: str, *, zipped: bool = False) -> bytes:
        """The page in that format, of the newest sample."""
        if self._of != self.sample():
            self._kept.clear()
            self._of = self.sample()
        key = (name, zipped)
        if key not in self._kept:
            if zipped:
                # Level 1: 3 times the speed of the usual level for a fifth more bytes.
                self._kept[key] = gzip.compress(self.page(name), compresslevel=1, mtime=0)
            else:
                self._kept[key] = self.renderers[name]()
        return self._kept[key]

    def drop(self) -> None:
        """Gives back the memory of pages that are out of date. Called once a sample."""
        if self._kept and self._of != self.sample():
            self._kept.clear()


def application(
    pages: Pages,
    allowed: Callable[[str], bool] = lambda host: True,
    profiles: Profiles | None = None,
) -> Starlette:
    """The routes over `pages` and `profiles`; `allowed` judges the Host a request names."""

    async def metrics(request: Request) -> Response:
        name = request.query_params.get("format")
        if name is None:
            wanted = takes_protobuf(request.headers.get("accept", ""))
            name = "protobuf" if wanted and "protobuf" in pages.renderers else "prometheus"
        if name not in pages.renderers:
            formats = ", ".join(pages.renderers)
            raise HTTPException(400, f'There is no format "{name[:40]}": try one of {formats}.')
        if pages.sample() is None:
            raise HTTPException(503, "There is no sample yet: try again in a second.")
        pages.scrapes += 1
        zipped = _takes_gzip(request.headers.get("accept-encoding", ""))
        headers = {"vary": "accept, accept-encoding"} | (
            {"content-encoding": "gzip"} if zipped else {}
        )
        return Pieces(
            pages.page(name, zipped=zipped), media_type=MEDIA_TYPES[name], headers=headers
        )

    async def ready(request: Request) -> Response:
        if pages.sample() is None:
            return PlainTextResponse("no sample yet\n", 503)
        age = pages.age_s()
        fresh = age <= pages.stale_s()
        words = "ready" if fresh else "samples stopped"
        return PlainTextResponse(f"{words}: newest sample {age:.1f} s old\n", 200 if fresh else 503)

    async def healthy(request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def index(request: Request) -> Response:
        lines = [f"{path:13} {what}\n" for path, what in ROUTES.items()]
        return PlainTextResponse("cotenant agent\n\n" + "".join(lines))

    app = Starlette(
        routes=[
            Route("/", index),
            *([Route("/api/profile", profiles.get)] if profiles else []),
            Route("/metrics", metrics),
            Route("/-/ready", ready),
            Route("/-/healthy", healthy),
        ],
        exception_handlers={HTTPException: _failed},
    )
    app.router.redirect_slashes = False
    app.add_middleware(_HostCheck, allowed=allowed)
    return app


async def _failed(request: Request, error: Exception) -> Response:
    """What went wrong, as a sentence; as JSON where that is asked for."""
    assert isinstance(error, HTTPException)
    known = ", ".join(ROUTES)
    told = error.detail
    if error.status_code == 404 and told == HTTPStatus.NOT_FOUND.phrase:  # the router's own
        told = f"There is nothing at this path: try one of {known}."
    elif error.status_code == 405:
        told = "Nothing can be changed here: GET only."
    body = {"error": told} if "json" in request.headers.get("accept", "") else None
    text = json.dumps(body) if body else told
    return Response(
        text + "\n", error.status_code, headers=error.headers,
        media_type=MEDIA_TYPES["json" if body else "text"],
    )  # fmt: skip


class _HostCheck:
    """Turns away requests that name a machine which is not this one."""

    def __init__(self, app: Any, allowed: Callable[[str], bool]) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        host = next((v for k, v in scope.get("headers", ()) if k == b"host"), b"")
        if scope["type"] == "http" and not self._allowed(host.decode("latin-1")):
            response = PlainTextResponse(
                "This agent does not answer under that host name: add it to http_hosts.\n", 421
            )
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)


def host_rule(address: str, names: Callable[[], tuple[str, ...]]) -> Callable[[str], bool]:
    """Which Host headers are answered on that address; `names` are the `http_hosts` of now."""
    own = {"localhost", socket.gethostname().lower()}
    open_to_all = not is_loopback(address)

    def allowed(header: str) -> bool:
        host = header.lower()
        if not host.endswith("]"):
            host = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        host = host.strip("[]").rstrip(".")
        more = {name.lower() for name in names()}
        if host in own or host in more or (open_to_all and not more):
            return True
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True

    return allowed


def _takes_gzip(header: str) -> bool:
    """Whether the client asks for gzip by name (a refusal is `gzip;q=0`)."""
    for part in header.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() == "gzip":
            value = weight.strip().removeprefix("q=").strip()
            return value.strip("0.") != "" or not value
    return False


def takes_protobuf(header: str) -> bool:
    """Whether the Accept header names Prometheus' protobuf, and wants no text more than that."""
    proto, text = 0.0, 0.0
    for one in header.lower().split(","):
        media, *rest = [part.strip() for part in one.split(";")]
        words = dict(part.partition("=")[::2] for part in rest)
        try:
            weight = float(words.get("q", "1"))
        except ValueError:
            weight = 0.0
        if media == "application/vnd.google.protobuf":
            message = words.get("proto") == "io.prometheus.client.metricfamily"
            if message and words.get("encoding") == "delimited":
                proto = max(proto, weight)
        elif media == "text/plain":
            text = max(text, weight)
    return proto > 0 and proto >= text


class Server:
    """Serves an application on a socket that listens already, inside the running event loop.

    uvicorn's own loop, which wakes ten times a second, is not used: the agent's tick does its work.
    """

    def __init__(self, app: Starlette) -> None:
        config = uvicorn.Config(
            app, loop="none", http=Connection, ws="none", lifespan="off", log_config=None,
            access_log=False, server_header=False, proxy_headers=False,
            limit_concurrency=MOST_AT_ONCE, h11_max_incomplete_event_size=16384,
            timeout_keep_alive=30, timeout_graceful_shutdown=1,
        )  # fmt: skip
        config.load()
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)

    async def start(self, listener: socket.socket) -> None:
        """Begins to accept."""
        await self._server.startup(sockets=[listener])
        await self.tick()

    async def tick(self) -> None:
        """Sets the clock of the Date header. Once a second or so."""
        await self._server.on_tick(0)

    async def stop(self) -> None:
        """Stops accepting, lets answers under way end for at most a second, closes the rest."""
        await self._server.shutdown()
