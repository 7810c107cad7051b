"""A server on the loopback that answers pushes as it is told to, and keeps what it was sent."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Got(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


class Answer(NamedTuple):
    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


Judge = Callable[[Got], Answer]


class Server:
    """`got` holds every request; `judge` makes the answer, and may wait for `release`."""

    def __init__(self, judge: Judge, tls: ssl.SSLContext | None) -> None:
        self.got: list[Got] = []
        self.release = threading.Event()
        self.arrived = threading.Semaphore(0)
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                found = Got(self.path, headers, body)
                server.got.append(found)
                server.arrived.release()
                answer = judge(found)
                self.send_response(answer.status)
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()

    def wait(self, count: int = 1, seconds: float = 20.0) -> None:
        """Until so many more requests came."""
        for _ in range(count):
            assert self.arrived.acquire(timeout=seconds), f"no request came in {seconds} s"

    def close(self) -> None:
        self.release.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@contextmanager
def serving(
    judge: Judge = lambda got: Answer(), tls: ssl.SSLContext | None = None
) -> Iterator[Server]:
    server = Server(judge, tls)
    try:
        yield server
    finally:
        server.close()
