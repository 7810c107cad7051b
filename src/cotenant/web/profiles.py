"""`/api/profile`: what was sampled from one time to another, in the form that is asked for.

    /api/profile?tenant=web&from=-5m&to=now&type=cpu&format=pprof

Every word may be left out: all tenants, the last five minutes, CPU time, pprof. Times are Unix
seconds, `now`, or a length of time back from it (`-5m`, `now-5m`). What is wrong with a question
is answered with 400 and a sentence; a tenant that nobody knows with 404.

A profile is put together in a thread, one at a time: the agent's loop does not wait for it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from cotenant.errors import CotenantError, HostCannot, UnknownTenant, UsageError
from cotenant.model import Profile
from cotenant.web.connection import Pieces

BEFORE_S = 300.0
"""How far back a question goes that does not say it."""
MOST_WAITING = 8
"""Questions that wait for the ones before them; more are told 503."""
LONGEST_WORD = 300
_TYPE = re.compile(r"[a-z0-9-]{1,40}(/[a-z0-9_-]{1,40})?")
_BACK = re.compile(r"(?:now)?-(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)", re.ASCII)
_UNIX = re.compile(r"\d{1,17}(?:\.\d{1,9})?", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LATEST = 1e11
"""Later times than that are milliseconds by mistake."""


class Wanted(NamedTuple):
    """A question: whose profile, of which time (Unix seconds), of which type, in which form."""

    tenant: str | None
    from_s: float
    until_s: float
    type: str
    format: str


class Form(NamedTuple):
    """How a profile is written: by what, as which media type, into a file that ends how."""

    render: Callable[[Profile], bytes]
    media_type: str
    ending: str


Query = Callable[[str | None, float, float, str], Profile]
"""The profile of a tenant (None: all), from, until, of a type. Called in a thread."""


class Profiles:
    """Answers questions for profiles: `query` has them, `forms` are the forms by name."""

    def __init__(
        self,
        query: Query,
        forms: Mapping[str, Form],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.forms = forms
        self._query = query
        self._clock = clock
        self._waiting = 0
        self._one_at_a_time = asyncio.Semaphore(1)

    async def get(self, request: Request) -> Response:
        """The answer to a request."""
        try:
            asked = wanted(request.query_params.multi_items(), self._clock(), tuple(self.forms))
            form = self.forms[asked.format]
            body = await self.made(*asked[:4], form.render)
        except UnknownTenant as error:
            raise HTTPException(404, _told(error)) from None
        except UsageError as error:
            raise HTTPException(400, _told(error)) from None
        except HostCannot as error:
            raise HTTPException(503, _told(error)) from None
        return Pieces(
            body,
            media_type=form.media_type,
            headers={
                "content-disposition": f'inline; filename="{_file_name(asked, form)}"',
                # A page shows names that tenants chose: it may run its own script, and fetch and
                # reach nothing.
                "content-security-policy": "default-src 'none'; script-src 'unsafe-inline'; "
                "style-src 'unsafe-inline'; img-src data:",
                "x-content-type-options": "nosniff",
                "cache-control": "no-store",
            },
        )

    async def made(
        self,
        tenant: str | None,
        from_s: float,
        until_s: float,
        type: str,
        render: Callable[[Profile], bytes],
    ) -> bytes:
        """A profile as `render` writes it; HostCannot where too many ask at once."""
        if self._waiting >= MOST_WAITING:
            raise HostCannot("Too many ask for profiles at once.", "try again")
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                return await asyncio.to_thread(
                    lambda: render(self._query(tenant, from_s, until_s, type))
                )
        finally:
            self._waiting -= 1


def wanted(
    pairs: list[tuple[str, str]], now: float, formats: tuple[str, ...] = ("pprof",)
) -> Wanted:
    """The question that a query's words ask; UsageError says what is wrong with them."""
    words: dict[str, str] = {}
    for name, word in pairs:
        if name not in _WORDS:
            raise UsageError(f'There is no "{name[:40]}" to ask by.', f"one of {', '.join(_WORDS)}")
        if name in words:
            raise UsageError(f'"{name}" is there twice.')
        if len(word) > LONGEST_WORD:
            raise UsageError(f'"{name}" is longer than {LONGEST_WORD} letters.')
        words[name] = word
    until = moment("to", words.get("to", "now"), now)
    begin = moment("from", words["from"], now) if words.get("from") else until - BEFORE_S
    if begin >= until:
        raise UsageError('"from" is not before "to".', "from=-5m, to=now")
    kind = words.get("type") or "cpu"
    if not _TYPE.fullmatch(kind):
        raise UsageError(f'"{kind[:40]}" is no type of profile.', "cpu, off-cpu, go/heap ...")
    form = words.get("format") or formats[0]
    if form not in formats:
        raise UsageError(f'There is no format "{form[:40]}".', f"one of {', '.join(formats)}")
    return Wanted(words.get("tenant") or None, begin, until, kind, form)


_WORDS = ("tenant", "from", "to", "type", "format")


def moment(name: str, word: str, now: float) -> float:
    """A time as Unix seconds: of `now`, `-5m`, `now-5m` or Unix seconds. Raises UsageError."""
    if word == "now":
        return now
    if found := _BACK.fullmatch(word):
        return now - float(found[1]) * _UNITS[found[2]]
    if _UNIX.fullmatch(word):
        seconds = float(word)
        if seconds > _LATEST:
            raise UsageError(f'"{name}" takes Unix seconds; {word} looks like milliseconds.')
        return seconds
    raise UsageError(f'"{name}" takes Unix seconds, now or a time back, not "{word[:40]}".',
                     f"{name}=-5m")  # fmt: skip


def _told(error: CotenantError) -> str:
    return f"{error} Try: {error.hint.rstrip('.')}." if error.hint else str(error)


def _file_name(asked: Wanted, form: Form) -> str:
    """A name to save it under: nothing of the tenant's but letters that every system takes."""
    who = re.sub(r"[^A-Za-z0-9_.-]+", "-", asked.tenant or "host")[:80].strip("-.") or "tenant"
    return f"{who}-{asked.type.replace('/', '-')}{form.ending}"
