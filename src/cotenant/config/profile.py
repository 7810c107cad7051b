"""The settings below `[profile]`: what is sampled, how long it is kept, where it is sent.

Names are those of Grafana Agent and Alloy wherever they have one for the same thing.
"""

from __future__ import annotations

import re
from string import Formatter
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field

from cotenant.config.annotate import A_PATH, PATH
from cotenant.config.annotate import set_ as _set

TYPES = ("cpu", "off-cpu", "alloc", "faults")
PULL_TYPES = ("cpu", "heap", "allocs", "goroutine", "mutex", "block")
"""Go's own profiles, each `go/...` once it is here."""
SERVICE_FIELDS = ("namespace", "pod", "container", "node", "tenant", "kind", "runtime", "image")
"""What a template of a service name may name."""

_File = Annotated[str, Meta(pattern=PATH)]
_Words = tuple[Annotated[str, Meta(min_length=1, max_length=1000)], ...]
_Text = Annotated[str, Meta(pattern=r"\A[^\x00-\x1f\x7f]{1,2000}\Z")]
_GLOBS = 'a list of names or globs, ["shop/*", "web"]'
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,199}")
_TAKEN = ("authorization", "content-length", "content-type", "host", "transfer-encoding")
_OWN_LABELS = ("__name__", "service_name")


class BasicAuth(Struct, frozen=True, forbid_unknown_fields=True):
    """User and password of a target."""

    username: Annotated[_Text, _set("User", form="a user's name", example="1234")]
    password_file: Annotated[
        _File,
        _set("File with the password, read again at each push", form=A_PATH,
             example="/etc/cotenant/pyroscope.password"),
    ]  # fmt: skip


class PushTarget(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One server that profiles are sent to."""

    url: Annotated[
        str,
        _set("Base address of the server; the path of its API is added",
             form="an address that starts with http:// or https://",
             example="http://pyroscope.example:4040"),
    ]  # fmt: skip
    kind: Annotated[
        Literal["pyroscope", "otlp"], _set("How it is spoken to: Pyroscope's push API, or OTLP")
    ] = "pyroscope"
    name: Annotated[
        _Text | None,
        _set("What it is called in metrics and log lines; unset: host and port of the address",
             form="a name", example="central"),
    ] = None  # fmt: skip
    tenants: Annotated[
        _Words, _set("Only these tenants' profiles are sent there; empty: all", form=_GLOBS)
    ] = ()
    types: Annotated[
        _Words,
        _set(
            "Only these types are sent there; empty: all", form='a list of types, ["cpu", "go/*"]'
        ),
    ] = ()
    tenant_id: Annotated[
        _Text | None,
        _set("The server's own tenant (X-Scope-OrgID)", form="a text", example="anonymous"),
    ] = None
    service_name: Annotated[
        str | None,
        _set("Template of `service_name` for tenants that have all it names; unset: as Alloy does",
             form="a text with " + ", ".join(f"{{{one}}}" for one in SERVICE_FIELDS),
             example="ebpf/{namespace}/{container}"),
    ] = None  # fmt: skip
    external_labels: Annotated[
        dict[str, _Text],
        _set("Labels that every profile gets", form='a table of texts, {cluster = "eu-1"}'),
    ] = field(default_factory=dict)
    headers: Annotated[
        dict[str, _Text],
        _set("Headers that every request gets", form='a table of texts, {"x-team" = "sre"}'),
    ] = field(default_factory=dict)
    basic_auth: Annotated[
        BasicAuth | None,
        _set("User and password", form="a table with username and password_file",
             example=BasicAuth("1234", "/etc/cotenant/pyroscope.password")),
    ] = None  # fmt: skip
    bearer_token_file: Annotated[
        _File | None,
        _set("File with a bearer token, read again at each push", form=A_PATH,
             example="/etc/cotenant/pyroscope.token"),
    ] = None  # fmt: skip
    tls_ca_file: Annotated[
        _File | None,
        _set("Authorities that its certificate is held against; unset: the system's", form=A_PATH,
             example="/etc/cotenant/ca.pem"),
    ] = None  # fmt: skip
    tls_cert_file: Annotated[
        _File | None,
        _set("Certificate to show it", form=A_PATH, example="/etc/cotenant/client.pem"),
    ] = None
    tls_key_file: Annotated[
        _File | None,
        _set("Key of that certificate", form=A_PATH, example="/etc/cotenant/client.key"),
    ] = None
    tls_insecure_skip_verify: Annotated[
        bool, _set("Whether any certificate is taken", form="true or false")
    ] = False
    timeout_s: Annotated[float, _set("How long a request may take", "s", ge=0.1, le=300)] = 10.0
    max_retries: Annotated[
        int,
        _set("How often a push is tried again where the server is busy, broken or silent",
             form="a whole number from 0 to 1,000", ge=0, le=1000),
    ] = 10  # fmt: skip
    min_backoff_s: Annotated[
        float, _set("Pause before the first time that a push is tried again", "s", ge=0.01, le=3600)
    ] = 0.5
    max_backoff_s: Annotated[
        float, _set("Longest such pause: each is twice the one before", "s", ge=0.01, le=3600)
    ] = 300.0
    queue_bytes: Annotated[
        int,
        _set("Most that waits to be sent; past it, the oldest is dropped and counted",
             form="a whole number from 65,536 to 1,073,741,824", ge=1 << 16, le=1 << 30),
    ] = 16 << 20  # fmt: skip

    def __post_init__(self) -> None:
        for problem in (
            url_problem(self.url, "url", ': use "basic_auth"'),
            _template_problem(self.service_name),
            _names_problem(self.headers, _HEADER, _TAKEN, "header"),
            _names_problem(self.external_labels, _LABEL, _OWN_LABELS, "label"),
            _together_problem(self),
        ):
            if problem:
                raise ValueError(problem)

    @property
    def title(self) -> str:
        """What it is called in metrics and log lines."""
        return self.name or urlsplit(self.url).netloc


class PullTarget(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Go programs that serve `/debug/pprof` themselves, to be asked for it."""

    tenant: Annotated[
        Annotated[str, Meta(min_length=1, max_length=1000)],
        _set("Which tenants are asked", form="a name or a glob", example="shop/*"),
    ]
    port: Annotated[
        int,
        _set("Port they listen on, in their own network", form="a whole number from 1 to 65,535",
             example=6060, ge=1, le=65535),
    ]  # fmt: skip
    path: Annotated[
        str,
        _set("Where their profiles are", form=A_PATH, pattern=r"\A/[!-~]{0,500}\Z"),
    ] = "/debug/pprof"
    types: Annotated[
        tuple[Literal["cpu", "heap", "allocs", "goroutine", "mutex", "block"], ...],
        _set("Which profiles are asked for",
             form="a list of " + ", ".join(f'"{one}"' for one in PULL_TYPES)),
    ] = ("cpu", "heap", "goroutine")  # fmt: skip


class Profiling(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of `[profile]`."""

    enabled: Annotated[
        bool, _set("Whether the agent profiles all the time", form="true or false")
    ] = True
    hz: Annotated[
        int,
        _set("Samples a second and CPU", form="a whole number from 1 to 999", ge=1, le=999),
    ] = 19
    types: Annotated[
        tuple[Literal["cpu", "off-cpu", "alloc", "faults"], ...],
        _set("What is sampled", form="a list of " + ", ".join(f'"{one}"' for one in TYPES)),
    ] = ("cpu",)
    include: Annotated[_Words, _set("Only these tenants are sampled; empty: all", form=_GLOBS)] = ()
    exclude: Annotated[_Words, _set("These tenants are not sampled", form=_GLOBS)] = ()
    window_s: Annotated[
        float, _set("How much time goes into one profile that is kept and sent", "s", ge=1, le=600)
    ] = 15.0
    directory: Annotated[str, _set("Where profiles are kept", form=A_PATH, pattern=PATH)] = (
        "/var/lib/cotenant/profiles"
    )
    keep_s: Annotated[
        float, _set("How long profiles are kept; 0: none are", "s", ge=0, le=604800)
    ] = 3600.0
    keep_bytes: Annotated[
        int,
        _set("Most that they may take on disk; past it, the oldest go",
             form="a whole number from 1,048,576 to 1,099,511,627,776", ge=1 << 20, le=1 << 40),
    ] = 64 << 20  # fmt: skip
    debuginfod: Annotated[
        str | None,
        _set("Server that is asked for names which binaries here do not have; unset: none is. It "
             "learns the build ids of what runs here",
             form="an address that starts with http:// or https://",
             example="https://debuginfod.debian.net"),
    ] = None  # fmt: skip
    pull_by_label: Annotated[
        bool,
        _set("Whether tenants that say so in a label are asked for Go's own profiles "
             "(`cotenant.io/pprof-port`, `profiles.grafana.com/cpu.scrape`)",
             form="true or false"),
    ] = True  # fmt: skip
    pull_interval_s: Annotated[
        float, _set("Time between two such questions", "s", ge=1, le=3600)
    ] = 15.0
    push: Annotated[tuple[PushTarget, ...], _set("Servers that profiles are sent to")] = ()
    pull: Annotated[tuple[PullTarget, ...], _set("Go programs that are asked for theirs")] = ()

    def __post_init__(self) -> None:
        titles = [target.title for target in self.push]
        twice = next((one for one in titles if titles.count(one) > 1), None)
        if twice is not None:
            raise ValueError(f'has two push targets called "{twice}": give each a "name"')
        if self.debuginfod is not None and (problem := url_problem(self.debuginfod, "debuginfod")):
            raise ValueError(problem)


def url_problem(url: str, name: str, instead: str = "") -> str | None:
    """What is wrong with the address of a server, in words; None: nothing.

    `name` is the setting, `instead` where user and password belong.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or not re.fullmatch(r"[!-~]+", url):
        return f'"{name}" takes an address that starts with http:// or https://'
    if parts.username is not None:
        return f'"{name}" takes no user or password{instead}'
    if parts.query or parts.fragment:
        return f'"{name}" ends before the "?" or "#"'
    return None


def _template_problem(template: str | None) -> str | None:
    allowed = ", ".join(f"{{{one}}}" for one in SERVICE_FIELDS)
    try:
        parts = list(Formatter().parse(template or ""))
    except ValueError:
        return '"service_name" has a "{" or "}" that stands alone'
    for _, name, form, conversion in parts:
        if name is not None and (name not in SERVICE_FIELDS or form or conversion):
            return f'"service_name" knows {allowed}, and no "{{{name}}}"'
    return None


def _names_problem(
    table: dict[str, Any], right: re.Pattern[str], taken: tuple[str, ...], what: str
) -> str | None:
    for name in table:
        if not right.fullmatch(name):
            return f'"{name[:40]}" is no name of a {what}'
        if name.lower() in taken:
            return f'"{name}" is set by cotenant itself'
    if len(table) > 20:
        return f"has more than 20 names of a {what}"
    return None


def _together_problem(target: PushTarget) -> str | None:
    if target.basic_auth and target.bearer_token_file:
        return 'takes either "basic_auth" or "bearer_token_file"'
    if (target.tls_cert_file is None) != (target.tls_key_file is None):
        return 'takes "tls_cert_file" and "tls_key_file" together'
    if target.min_backoff_s > target.max_backoff_s:
        return '"min_backoff_s" is more than "max_backoff_s"'
    return None
