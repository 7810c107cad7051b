"""Docker: names, images and labels over its socket, kept current by its event stream.

`/containers/json` names every container at once; events name each new one before its first process
runs, so that one that lives 50 ms has its name; `inspect` adds process, start and writable layer,
one container at a time when nobody waits. Tried with Docker 20.10 and 28's client.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import quote

import msgspec

from cotenant.errors import RuntimeSilent
from cotenant.tenants.desk import Answer
from cotenant.tenants.docker_files import DockerFiles, facts, inspected
from cotenant.tenants.facts import Facts, Question
from cotenant.tenants.files import mapping, sequence
from cotenant.tenants.unix_http import Stream, request

SECONDS = 2.0
SILENT_SECONDS = 3.0
LIST_LIMIT = 64 << 20
INSPECT_LIMIT = 4 << 20
KEPT = 20_000
"""At most so many containers are remembered; the oldest go first."""
RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
_EVENTS = "/events?filters=" + quote(
    '{"type":["container"],"event":["create","start","rename"]}', safe=""
)
_DECODE = msgspec.json.Decoder(Any)
_OURS = frozenset({"docker", None})


class Docker:
    """Docker's socket below `host_root`. With `news`, listens to events and puts answers there."""

    name = "docker"

    def __init__(
        self,
        host_root: Path = Path("/"),
        news: SimpleQueue[Answer] | None = None,
        seconds: float = SECONDS,
        sockets: Sequence[str] = ("/run/docker.sock", "/var/run/docker.sock"),
    ) -> None:
        self._sockets = [host_root / socket.lstrip("/") for socket in sockets]
        self._seconds = seconds
        self._known: dict[str, Facts] = {}
        self._listed = False
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._stream: Any = None
        self._news = news
        self._silent: tuple[float, str] | None = None
        self._files = DockerFiles(host_root)
        if news is not None:
            threading.Thread(target=self._listen, name="docker-events", daemon=True).start()

    def knows(self, question: Question) -> bool:
        """Docker's own containers, and those with nothing but an id; none inside containers."""
        return question.id is not None and not question.nested and question.runtime in _OURS

    def recall(self, question: Question) -> Facts | None:
        """What a list or an event told about it."""
        return self._known.get(question.id or "")

    def ask(self, question: Question) -> Facts | None:
        """Its name, image and labels; None when Docker has no such container."""
        if not self._listed:
            with self._lock:
                if not self._listed:
                    self._list()
        known = self._known.get(question.id or "")
        return known or self._inspect(question.id or "")

    def more(self, question: Question) -> Facts | None:
        """Its main process, start and writable layer."""
        return self._inspect(question.id or "")

    def instead(self, question: Question) -> Facts | None:
        """What Docker's files tell of it, when the socket does not."""
        return self._files.ask(question)

    def close(self) -> None:
        """Stop listening."""
        self._closing.set()
        if self._stream is not None:
            self._stream.close()

    def _socket(self) -> str:
        path = next((path for path in self._sockets if path.exists()), None)
        if path is None:
            where = f"{self._sockets[0]} is not there" if self._sockets else "is not configured"
            raise RuntimeSilent(f"Docker's socket {where}.")
        return str(path)

    def _get(self, target: str, limit: int) -> tuple[int, Any]:
        """Status and JSON. Once silent, Docker is left alone for a while: others wait in line."""
        if self._silent and time.monotonic() < self._silent[0]:
            raise RuntimeSilent(self._silent[1])
        try:
            status, body = request(self._socket(), "GET", target, self._seconds, limit)
            answer = _DECODE.decode(body)
        except RuntimeSilent as error:
            self._silent = (time.monotonic() + SILENT_SECONDS, f"Docker is silent. {error}")
            raise RuntimeSilent(self._silent[1]) from None
        except (msgspec.MsgspecError, RecursionError):
            sentence = f"Docker's answer to {target} is no JSON (status {status})."
            raise RuntimeSilent(sentence) from None
        self._silent = None
        return status, answer

    def _list(self) -> None:
        status, items = self._get("/containers/json?all=1", LIST_LIMIT)
        if status != 200 or not isinstance(items, list):
            raise RuntimeSilent(f"Docker does not list its containers (status {status}).")
        for item in items:
            entry = mapping(item)
            names = sequence(entry.get("Names"))
            name = names[0] if names else None
            self._keep(entry.get("Id"), facts(name, entry.get("Image"), entry.get("Labels")))
        self._listed = True

    def _inspect(self, id: str) -> Facts | None:
        status, answer = self._get(f"/containers/{quote(id, safe='')}/json", INSPECT_LIMIT)
        if status == 404:
            return None
        if status != 200 or not isinstance(answer, dict):
            raise RuntimeSilent(f"Docker does not describe container {id[:12]} (status {status}).")
        return self._keep(id, inspected(answer))

    def _keep(self, id: object, new: Facts) -> Facts:
        if isinstance(id, str) and new.name:
            new = new.over(self._known.get(id))
            # Process and start are those of one run, and the next one has the same id.
            self._known[id] = msgspec.structs.replace(new, main_pid=None, started_at=None)
            if len(self._known) > KEPT:
                self._known.pop(next(iter(self._known)), None)
        return new

    def _listen(self) -> None:
        """The listening thread: connects, and after a break asks for the whole list again."""
        attempt = 0
        while not self._closing.is_set():
            try:
                self._stream = Stream(self._socket(), _EVENTS, self._seconds)
                attempt = 0
                self._relist()
                for line in self._stream.lines():
                    self._event(line)
            except RuntimeSilent:
                pass  # a container that needs Docker will ask for itself and complain
            self._listed = False
            self._closing.wait(RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)])
            attempt += 1

    def _relist(self) -> None:
        with self._lock:
            self._list()
        for id, known in list(self._known.items()):
            self._tell(id, known)

    def _event(self, line: bytes) -> None:
        try:
            event = mapping(_DECODE.decode(line))
        except (msgspec.MsgspecError, RecursionError):
            return
        actor = mapping(event.get("Actor"))
        id, words = actor.get("ID"), mapping(actor.get("Attributes"))
        if not isinstance(id, str):
            return
        # Attributes are the labels, name and image put among them (moby, daemon/events.go): a label
        # called `name` is lost. Labels never change, so those known before are the better ones.
        known = self._known.get(id)
        own = {key: word for key, word in words.items() if key not in ("name", "image", "oldName")}
        said = known.labels if known else own
        self._tell(id, self._keep(id, facts(words.get("name"), words.get("image"), said)))

    def _tell(self, id: str, known: Facts | None) -> None:
        if self._news is not None and known is not None and known.name:
            self._news.put(Answer(self.name, None, id, known, last=False))
