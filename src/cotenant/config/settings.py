"""Every setting with its type, default, unit and description: the only list of settings there is.

The reference page (docs/configuration.md), `cotenant config show` and the sentences about wrong
values are all made from these fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, Meta, Struct, field
from msgspec.structs import fields

from cotenant.config.annotate import A_PATH as _A_PATH
from cotenant.config.annotate import PATH as _PATH
from cotenant.config.annotate import set_ as _set
from cotenant.config.profile import Profiling

_PORT = r"(\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])"
_ADDRESS = rf"\A(off|(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+):{_PORT})\Z"


class NamedTenant(Struct, frozen=True, forbid_unknown_fields=True):
    """A name of the user's own for one cgroup, given by its path or by a process in it."""

    name: Annotated[
        str,
        _set("Name on screen and in metrics", form="a name of 1 to 200 letters", example="batch",
             pattern=r"\A[^\0]{1,200}\Z"),
    ]  # fmt: skip
    pid: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        _set("A process in its cgroup", form="a process id", example=4711),
    ] = None
    cgroup: Annotated[
        Annotated[str, Meta(pattern=_PATH)] | None,
        _set("Path of its cgroup below the mount", form=_A_PATH, example="/jobs/batch"),
    ] = None

    def __post_init__(self) -> None:
        if (self.pid is None) == (self.cgroup is None):
            raise ValueError("takes either pid or cgroup")


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every setting with its value, and where it comes from.

    `sources`: field name to "default", "flag" or "FILE:LINE", also of each field inside a table
    ("profile.hz"). `path`: the file that was read; None where there was none.
    """

    interval_s: Annotated[float, _set("Time between two samples", "s", ge=0.1, le=3600)] = 1.0
    tier: Annotated[
        Literal["auto", "kfunc", "iterator", "files"],
        _set("How the kernel is read; auto takes the best way that this host offers"),
    ] = "auto"
    http: Annotated[
        str,
        _set("Where /metrics is served; an address that is not loopback opens it to the network",
             form='ADDRESS:PORT or "off"', pattern=_ADDRESS),
    ] = "127.0.0.1:7070"  # fmt: skip
    http_hosts: Annotated[
        tuple[str, ...],
        _set("Host names under which /metrics may be asked for, besides addresses, localhost and "
             "the host's own name"),
    ] = ()  # fmt: skip
    socket: Annotated[
        str,
        _set("Control socket, which the other verbs ask",
             form='a path that starts with "/", of at most 100 letters',
             pattern=r"\A/[^\0]{1,99}\Z"),
    ] = "/run/cotenant/agent.sock"  # fmt: skip
    socket_group: Annotated[
        str | None,
        _set("Group that may read through the control socket; unset: only the agent's own user",
             form="the name of a group", example="adm"),
    ] = None  # fmt: skip
    host_root: Annotated[
        str,
        _set("Where the host's root directory is seen, for an agent in a container",
             form=_A_PATH, pattern=_PATH),
    ] = "/"  # fmt: skip
    docker_sockets: Annotated[
        tuple[str, ...], _set("Docker's sockets, as the host knows them; asked for names")
    ] = ("/run/docker.sock", "/var/run/docker.sock")
    runtime_labels: Annotated[
        tuple[str, ...],
        _set("Labels of containers to show in metrics; each may bring series of its own"),
    ] = ()
    space_interval_s: Annotated[
        float,
        _set("Time between two looks at the disk space of containers", "s", ge=1, le=86400),
    ] = 60.0
    rescan_interval_s: Annotated[
        float,
        _set("Time between two walks over all cgroups, which find what no event told", "s",
             ge=1, le=86400),
    ] = 60.0  # fmt: skip
    keep_finals_s: Annotated[
        float,
        _set("How long the last values of a dead tenant stay in metrics", "s", ge=0, le=86400),
    ] = 60.0
    exit_when_idle_s: Annotated[
        Annotated[float, Meta(ge=0.1, le=31_536_000)] | None,
        _set(
            "The agent ends when no container has been here this long; unset: never",
            "s",
            "a number of seconds from 0.1 to a year",
            60.0,
        ),
    ] = None
    noise: Annotated[
        bool,
        _set("Whether it is sensed who makes whom wait for a CPU, where the host has what that "
             "takes", form="true or false"),
    ] = True  # fmt: skip
    noise_budget: Annotated[
        float,
        _set("What that sensing may take of the host's CPU time, in percent; past it, it does less",
             ge=0.01, le=100),
    ] = 0.5  # fmt: skip
    noise_blame_pairs: Annotated[
        int,
        _set("Pairs of victim and culprit that have a line of their own in metrics",
             form="a whole number from 0 to 10,000", ge=0, le=10000),
    ] = 200  # fmt: skip
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], _set("Least serious lines to log")
    ] = "info"
    log_format: Annotated[Literal["text", "json"], _set("Form of a log line")] = "text"
    profile: Annotated[Profiling, _set("Continuous profiling", form="a [profile] table")] = (
        Profiling()
    )
    tenants: Annotated[
        tuple[NamedTenant, ...], _set("Tenants with names of your own, each a [[tenant]] table")
    ] = field(default=(), name="tenant")

    sources: dict[str, str] = {}
    path: str | None = None


class Setting(NamedTuple):
    """One setting as a reader sees it: its key in a file and the name of the field that holds it.

    `type` is its annotation; `form` says what it takes where that is not plain from the type;
    `example` is a value to show where `default` is None.
    """

    key: str
    field: str
    type: Any
    unit: str
    form: str
    description: str
    default: Any
    example: Any


def table_of(kind: Any) -> type[Struct] | None:
    """The table that a setting holds, once or (an array of tables) many times; else None."""
    bare = getattr(kind, "__origin__", kind) if hasattr(kind, "__metadata__") else kind
    for one in (bare, *get_args(bare)):
        if isinstance(one, type) and issubclass(one, Struct):
            return one
    return None


def is_array(kind: Any) -> bool:
    """Whether a setting takes several values."""
    return get_origin(getattr(kind, "__origin__", kind)) is tuple


def described(table: type[Struct] = Settings) -> Iterator[Setting]:
    """Every setting of a table in order; fields that no file can set are left out."""
    hints = get_type_hints(table, include_extras=True)
    for one in fields(table):
        for meta in getattr(hints[one.name], "__metadata__", ()):
            if meta.extra is None:
                continue  # limits of a type that others share
            extra, about = meta.extra, meta.description
            yield Setting(
                one.encode_name, one.name, hints[one.name], extra["unit"], extra["form"], about,
                _default(one), extra["example"],
            )  # fmt: skip


def _default(one: Any) -> Any:
    if one.required:
        return None
    return one.default if one.default_factory is NODEFAULT else one.default_factory()
