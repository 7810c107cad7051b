"""What the control socket speaks, and the client: a question and its answer, a line of JSON each.

    {"verb": "status"}
    {"ok": {"pid": 4711, "tier": "iterator", ...}}

    {"verb": "tenants", "arguments": {"match": "nix"}}
    {"error": {"kind": "UnknownTenant", "sentence": "No tenant answers to nix.", "hint": ...}}

The client:

    moment = ask(path, SNAPSHOT)        # AgentSilent where no agent answers
    moment.now.samples                  # the newest snapshot; moment.before is the one before it

Who may open the socket may read everything; only root and the agent's own user may use verbs that
change something (`CHANGING`).
"""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar

import msgspec
from msgspec import Struct

from cotenant import errors
from cotenant.errors import AgentSilent, CotenantError
from cotenant.model import NoiseReport, Profile, Snapshot, Tenant

LONGEST_REQUEST = 1 << 16
LONGEST_ANSWER = 1 << 28
"""Bytes. 10,000 tenants take some 40 MB."""

T = TypeVar("T")


class Moment(Struct, frozen=True):
    """The newest snapshot and the one before it, from which rates follow."""

    now: Snapshot
    before: Snapshot | None = None


class Status(Struct, frozen=True):
    """How the agent is. `parts`: what it opened at its start, with how long that took."""

    version: str
    pid: int
    started_unix_s: float
    tier: str
    interval_s: float
    tenants: int
    unknown: int
    samples: int
    late: int
    lost_births: int
    http: str | None
    config: str | None
    config_problem: str | None
    complaints: list[str]
    parts: dict[str, str]
    cpu_s: float
    resident_bytes: int


class Verb(NamedTuple, Generic[T]):
    """A verb of the control socket and what its answer decodes to."""

    name: str
    answer: type[T]


SNAPSHOT: Verb[Moment] = Verb("snapshot", Moment)
"""Arguments: finals_s, float: with the tenants that died in the last so many seconds (0)."""
TENANTS: Verb[list[Tenant]] = Verb("tenants", list[Tenant])
"""Arguments: match, str: only those that a TENANT of the command line means (all)."""
STATUS: Verb[Status] = Verb("status", Status)
RELOAD: Verb[str] = Verb("reload", str)
"""Reads the configuration again; the answer says what came of it."""
NOISE: Verb[NoiseReport] = Verb("noise", NoiseReport)
"""Arguments: windows, int: over the last so many seconds (1 to 10, 10). HostCannot: none sensed."""
PROFILE: Verb[Profile] = Verb("profile", Profile)
"""Arguments: tenant, str (all); from_s and until_s, float: Unix seconds (the last 5 minutes);
type, str (cpu). What the agent kept of that time; UnknownTenant, HostCannot: it keeps none."""

CHANGING = frozenset({RELOAD.name})


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """A question."""

    verb: str
    arguments: dict[str, Any] = {}


class Failure(Struct, frozen=True):
    """Why there is no answer: name of an error in cotenant.errors, its sentence and hint."""

    kind: str
    sentence: str
    hint: str | None = None


class Answer(Struct, frozen=True, omit_defaults=True):
    """One of the two: what was asked for, still encoded, or why not."""

    ok: msgspec.Raw = msgspec.Raw()
    error: Failure | None = None


def ask(path: str | Path, verb: Verb[T], /, *, timeout_s: float = 5.0, **arguments: Any) -> T:
    """The agent's answer. AgentSilent where none answers; else the error the agent had."""
    line = msgspec.json.encode(Request(verb.name, arguments)) + b"\n"
    deadline = time.monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.settimeout(timeout_s)
        try:
            door.connect(str(path))
            door.sendall(line)
            raw = _line(door, deadline)
        except TimeoutError:
            raise AgentSilent(f"The agent did not answer within {timeout_s:g} s.") from None
        except OSError as error:
            raise _silent(path, error) from None
    return _decoded(raw, verb)


def is_there(path: str | Path) -> bool:
    """Whether an agent listens on that socket; asks it nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.settimeout(1.0)
        return door.connect_ex(str(path)) == 0


def _line(door: socket.socket, deadline: float) -> bytearray:
    raw = bytearray()
    while not raw.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        door.settimeout(left)
        part = door.recv(1 << 20)
        if not part:
            raise AgentSilent("The agent hung up before its answer was complete.")
        raw += part
        if len(raw) > LONGEST_ANSWER:
            raise AgentSilent(f"The agent's answer is longer than {LONGEST_ANSWER >> 20} MiB.")
    return raw


def _decoded(raw: bytearray, verb: Verb[T]) -> T:
    try:
        answer = msgspec.json.decode(raw, type=Answer)
        if answer.error is not None:
            _raise(answer.error)
        return msgspec.json.decode(answer.ok, type=verb.answer)
    except msgspec.DecodeError as error:
        raise AgentSilent(
            f"The agent speaks otherwise than this command: {error}.",
            "restart the agent: it may be of another version",
        ) from None


def _raise(failure: Failure) -> NoReturn:
    kind = getattr(errors, failure.kind, CotenantError)
    if not (isinstance(kind, type) and issubclass(kind, CotenantError)):
        kind = CotenantError
    raise kind(failure.sentence, failure.hint)


def _silent(path: str | Path, error: OSError) -> AgentSilent:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return AgentSilent(f"No agent answers on {path}.", "sudo cotenant agent")
    if isinstance(error, PermissionError):
        return AgentSilent(
            f"The agent on {path} does not answer to this user.",
            "sudo, or set socket_group in the agent's configuration to a group of yours",
        )
    return AgentSilent(f"No agent answers on {path}: {error.strerror or error}.")
