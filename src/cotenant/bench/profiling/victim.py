"""Programs to be profiled: `python3 victim.py serve SOCKET`, `ask SOCKET`, `hash`.

Run as a file, on its own, by the Python of the distribution: it imports nothing of cotenant.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import string
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingMixIn, UnixStreamServer

CLIENTS = 4
REQUESTS = 500
"""On one connection; each connection has a thread of its own in the server."""
HASHERS = 2
ROUNDS = 60_000
_WORD = re.compile(r"\b(\w)(\w*)\b")
_PAGE = string.Template("<li>$name: $count of $total</li>")


def items(seed: int) -> list[dict[str, object]]:
    """Something to answer with."""
    return [
        {"name": f"item {(seed * 31 + number) % 97}", "count": number, "tags": ["a", "b", "c"]}
        for number in range(40)
    ]


def page(seed: int) -> bytes:
    """What such servers do: sort, fill in, replace, encode; in Python and in C, with the GIL."""
    found = sorted(items(seed), key=lambda item: str(item["name"]))
    lines = [_PAGE.substitute(name=f["name"], count=f["count"], total=len(found)) for f in found]
    text = _WORD.sub(lambda match: match[1].upper() + match[2], "\n".join(lines))
    return json.dumps({"html": text, "items": found}).encode()


class Handler(BaseHTTPRequestHandler):
    """Answers every GET with a page."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """One answer."""
        body = page(len(self.path))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        """There is none on a UNIX socket."""
        return "client"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Server(ThreadingMixIn, UnixStreamServer):
    """A thread for each connection."""

    daemon_threads = True
    request_queue_size = 64


def serve(path: str) -> None:
    """Serve on a UNIX socket, for ever."""
    with Server(path, Handler) as server:
        server.serve_forever()


def ask(path: str) -> None:
    """A few clients, for ever; each asks one thing at a time."""
    for _ in range(CLIENTS):
        threading.Thread(target=_ask_for_ever, args=(path,), daemon=True).start()
    threading.Event().wait()


def _ask_for_ever(path: str) -> None:
    request = b"GET /page HTTP/1.1\r\nHost: bench\r\n\r\n"
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
                for _ in range(REQUESTS):
                    connection.sendall(request)
                    _receive(connection)
        except OSError:
            time.sleep(0.05)


def _receive(connection: socket.socket) -> None:
    said = b""
    while b"\r\n\r\n" not in said:
        said += _more(connection)
    head, _, body = said.partition(b"\r\n\r\n")
    left = int(head.rpartition(b": ")[2]) - len(body)
    while left > 0:
        left -= len(_more(connection))


def _more(connection: socket.socket) -> bytes:
    said = connection.recv(1 << 16)
    if not said:
        raise OSError("The server went away.")
    return said


def derive() -> None:
    """Hash for ever: some 20 ms without the GIL, then a moment with it."""
    while True:
        hashlib.pbkdf2_hmac("sha256", b"key", b"salt", ROUNDS)


def hash_for_ever() -> None:
    """All threads but the first."""
    for _ in range(HASHERS):
        threading.Thread(target=derive, daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    elif sys.argv[1] == "ask":
        ask(sys.argv[2])
    else:
        hash_for_ever()
