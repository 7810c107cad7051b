"""Docker's API over its socket: the few calls that making and removing containers needs."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

from cotenant.errors import NeedsRoot, RuntimeSilent
from cotenant.tenants.unix_http import NotAllowed, request

SOCKETS = ("/run/docker.sock", "/var/run/docker.sock")
HELLO_SECONDS = 3.0
CALL_SECONDS = 60.0
ANSWER_LIMIT = 64 << 20
SUDO = "run it again with sudo"


class EngineRefused(RuntimeSilent):
    """Docker answered, and its answer was no."""


class Found(Struct, frozen=True):
    """A container that has a label: `value` is the label's, `running` is false once it ended."""

    id: str
    name: str
    value: str
    running: bool


class Engine:
    """Docker behind the socket `path`; safe to use from several threads.

    Every call raises RuntimeSilent when Docker gives no answer in time, and EngineRefused, with
    Docker's own words, when the answer is no; NeedsRoot where its socket is not for this user.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def version(self) -> str:
        """Docker's version; waits `HELLO_SECONDS` at most, since a hanging one is met here."""
        answer = self.call("GET", "/version", seconds=HELLO_SECONDS)
        return str(answer.get("Version", "?")) if isinstance(answer, dict) else "?"

    def import_image(self, name: str, tar: bytes) -> None:
        """An image `name` whose only layer is `tar`."""
        target = "/images/create?" + urlencode({"fromSrc": "-", "repo": name, "tag": "latest"})
        said = self.call("POST", target, body=tar, kind="application/x-tar", raw=True)
        # Docker answers 200 at once, and tells of a failure in the stream that follows.
        if b'"error"' in said:
            raise EngineRefused(f"Docker does not take the image {name}: {said[-200:]!r}.")

    def create(self, name: str, settings: Mapping[str, Any]) -> str:
        """Id of a new container called `name`; it is not started."""
        answer = self.call(
            "POST", f"/containers/create?name={quote(name)}", msgspec.json.encode(settings)
        )
        return str(answer["Id"])

    def start(self, container: str) -> None:
        """Start it."""
        self.call("POST", f"/containers/{container}/start")

    def inspect(self, container: str) -> dict[str, Any]:
        """All that Docker knows of it."""
        answer: dict[str, Any] = self.call("GET", f"/containers/{container}/json")
        return answer

    def labelled(self, key: str) -> list[Found]:
        """Every container, running or not, that has the label `key`."""
        filters = quote(msgspec.json.encode({"label": [key]}))
        found = self.call("GET", f"/containers/json?all=1&filters={filters}")
        return [
            Found(
                id=each["Id"],
                name=each["Names"][0].lstrip("/") if each.get("Names") else each["Id"][:12],
                value=each["Labels"][key],
                running=each["State"] == "running",
            )
            for each in found
        ]

    def remove(self, container: str) -> None:
        """Kill and remove it with its volumes; one that is gone already is no error."""
        self.call("DELETE", f"/containers/{container}?force=1&v=1", gone_is_fine=True)

    def remove_image(self, name: str) -> None:
        """Remove the image; one that is gone already is no error."""
        self.call("DELETE", f"/images/{quote(name)}", gone_is_fine=True)

    def pid(self) -> int:
        """Process id of whoever listens on the socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.settimeout(HELLO_SECONDS)
            try:
                peer.connect(self.path)
            except OSError as error:
                raise RuntimeSilent(f"Docker does not answer on {self.path} ({error}).") from None
            told = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", told)[0])

    def call(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        kind: str = "application/json",
        seconds: float = CALL_SECONDS,
        raw: bool = False,
        gone_is_fine: bool = False,
    ) -> Any:
        """The answer, decoded from JSON (`raw`: as bytes); None where Docker says nothing."""
        try:
            status, said = request(self.path, method, target, seconds, ANSWER_LIMIT, body, kind)
        except NotAllowed:
            raise NeedsRoot(f"{self.path} is for root and Docker's group.", SUDO) from None
        except RuntimeSilent as error:
            raise RuntimeSilent(f"Docker is silent. {error}") from None
        if status >= 400 and not (gone_is_fine and status == 404):
            raise EngineRefused(f"Docker refuses {method} {target.split('?')[0]}: {_words(said)}.")
        return said if raw else _json(said)


def find_engine() -> Engine | None:
    """Docker, if a socket of it is there; whether it answers is not asked."""
    told = os.environ.get("DOCKER_HOST", "")
    places = [told.removeprefix("unix://")] if told.startswith("unix://") else SOCKETS
    path = next((place for place in places if Path(place).is_socket()), None)
    return Engine(path) if path else None


def _json(said: bytes) -> Any:
    if not said.strip():
        return None
    try:
        return msgspec.json.decode(said)
    except msgspec.DecodeError:
        raise RuntimeSilent(f"Docker's answer makes no sense: {said[:80]!r}.") from None


def _words(said: bytes) -> str:
    try:
        return str(msgspec.json.decode(said)["message"]).rstrip(".")
    except (msgspec.DecodeError, KeyError, TypeError):
        return repr(said[:120])
