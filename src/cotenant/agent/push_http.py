"""One server that profiles are sent to, as HTTP: what a request carries, what came of it.

httpx is imported with the first request: it takes 8 MB, which an agent that pushes nothing saves.
"""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, NamedTuple

from cotenant import __version__
from cotenant.config.profile import BasicAuth, PushTarget
from cotenant.export.protoread import fields

if TYPE_CHECKING:
    import httpx

MOST_ANSWER = 1 << 16
"""Bytes of an answer that are read: a sentence about what is wrong is no longer."""
LONGEST_SECRET = 1 << 14
LONGEST_SENTENCE = 300
_BUSY = (408, 425, 429)


class Outcome(NamedTuple):
    """What came of a request.

    `again`: it may work later; `refused`: profiles of it that the server did not want, -1: all;
    `pause_s`: how long it asked to be left alone; `why`: its sentence, one line.
    """

    again: bool = False
    refused: int = 0
    status: int = 0
    pause_s: float = 0.0
    why: str = ""


class Client:
    """Sends bodies to one target. Used by one thread."""

    def __init__(self, target: PushTarget, path: str, content_type: str, *, zipped: bool) -> None:
        self.target = target
        self._url = target.url.rstrip("/") + path
        self._headers = {
            **target.headers,
            "content-type": content_type,
            "user-agent": f"cotenant/{__version__}",
        }
        if zipped:
            self._headers["content-encoding"] = "gzip"
        if target.tenant_id is not None:
            self._headers["x-scope-orgid"] = target.tenant_id
        self._client: httpx.Client | None = None

    def post(self, body: bytes) -> Outcome:
        """Sends one body; raises nothing for what a server or the network does."""
        import httpx

        try:
            headers = self._headers | self._authorization()
            client = self._client or self._open()
            return self._exchange(client, body, headers)
        except httpx.TimeoutException:
            return Outcome(again=True, why=f"no answer within {self.target.timeout_s:g} s")
        except (httpx.HTTPError, OSError, ValueError) as error:
            return Outcome(again=True, why=_line(str(error) or type(error).__name__))

    def _exchange(self, client: httpx.Client, body: bytes, headers: dict[str, str]) -> Outcome:
        deadline = time.monotonic() + self.target.timeout_s
        with client.stream("POST", self._url, content=body, headers=headers) as answer:
            said = b""
            for part in answer.iter_bytes():
                said += part
                if len(said) > MOST_ANSWER or time.monotonic() > deadline:
                    break
            return outcome(answer.status_code, dict(answer.headers), said[:MOST_ANSWER])

    def _open(self) -> httpx.Client:
        import ssl

        import httpx

        target = self.target
        context = ssl.create_default_context(cafile=target.tls_ca_file)
        if target.tls_cert_file and target.tls_key_file:
            context.load_cert_chain(target.tls_cert_file, target.tls_key_file)
        if target.tls_insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self._client = httpx.Client(verify=context, timeout=target.timeout_s)
        return self._client

    def _authorization(self) -> dict[str, str]:
        """Read anew each time: tokens are renewed under a running agent."""
        if self.target.bearer_token_file:
            return {"authorization": f"Bearer {_secret(self.target.bearer_token_file)}"}
        if self.target.basic_auth:
            return {"authorization": _basic(self.target.basic_auth)}
        return {}

    def close(self) -> None:
        """Gives back its connections."""
        if self._client is not None:
            self._client.close()
            self._client = None


def outcome(status: int, headers: dict[str, str], said: bytes) -> Outcome:
    """What an answer means."""
    if 200 <= status < 300:
        return Outcome(status=status, refused=_rejected(said))
    why = _line(_sentence(said)) or f"status {status}"
    if status in _BUSY or status >= 500:
        return Outcome(again=True, status=status, pause_s=_pause(headers), why=why)
    return Outcome(refused=-1, status=status, why=why)


def _sentence(said: bytes) -> str:
    """What an error says: Connect and gRPC gateways say it as JSON."""
    text = said.decode(errors="replace")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    message = found.get("message") if isinstance(found, dict) else None
    return message if isinstance(message, str) else text


def _line(text: str) -> str:
    """One line of it, of a length that fits a log."""
    return " ".join(text.split())[:LONGEST_SENTENCE]


def _pause(headers: dict[str, str]) -> float:
    """Seconds of Retry-After; a date there is not read: the pauses that grow do as well."""
    word = headers.get("retry-after", "")
    return float(word) if word.isascii() and word.isdigit() and len(word) < 6 else 0.0


def _rejected(said: bytes) -> int:
    """How many profiles OTLP's answer says it left out (partial_success.rejected_profiles).

    Pyroscope's answer is empty.
    """
    from cotenant.errors import BadProfile

    try:
        for field, value in fields(said):
            if field == 1 and isinstance(value, bytes):
                return sum(n for inner, n in fields(value) if inner == 1 and isinstance(n, int))
    except BadProfile:
        pass
    return 0


def _secret(path: str) -> str:
    with open(path, "rb") as file:
        text = file.read(LONGEST_SECRET).decode().strip()
    if not text.isprintable():
        raise ValueError(f"{path} holds more than one line")
    return text


def _basic(auth: BasicAuth) -> str:
    pair = f"{auth.username}:{_secret(auth.password_file)}"
    return "Basic " + base64.b64encode(pair.encode()).decode()
