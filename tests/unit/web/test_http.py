"""HTTP: what scrapers and probes get, and what nobody gets."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from cotenant.web.http import Pages, Server, application, host_rule


class Fake:
    """Stands for the agent: a sample that can be renewed, and a count of what was rendered."""

    def __init__(self) -> None:
        self.number: int | None = 1
        self.age = 0.2
        self.rendered: list[str] = []
        self.pages = Pages(
            {name: self._renderer(name) for name in ("prometheus", "text", "json", "protobuf")},
            lambda: self.number,
            lambda: self.age,
            lambda: 3.0,
        )

    def _renderer(self, name: str):
        def render() -> bytes:
            self.rendered.append(name)
            return f"{name} of sample {self.number}\n".encode() * 100

        return render


@pytest.fixture
def agent():
    return Fake()


def get(agent: Fake, path: str, host: str = "127.0.0.1:7070", method: str = "GET", **headers: str):
    rule = host_rule("127.0.0.1", lambda: ("metrics.example",))

    async def fetch() -> httpx.Response:
        transport = httpx.ASGITransport(application(agent.pages, rule))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            headers_ = {"accept-encoding": "identity"} | {
                key.replace("_", "-"): value for key, value in headers.items()
            }
            return await client.request(method, path, headers=headers_)

    return asyncio.run(fetch())


def test_metrics_in_each_form(agent):
    answer = get(agent, "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.text.startswith("prometheus of sample 1")
    assert get(agent, "/metrics?format=text").headers["content-type"].startswith("text/plain")
    assert get(agent, "/metrics?format=json").headers["content-type"] == "application/json"


PROTO = "application/vnd.google.protobuf"
DELIMITED = f"{PROTO};proto=io.prometheus.client.MetricFamily;encoding=delimited"
OLD = f"{DELIMITED},application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5,*/*;q=0.1"
NEW = f"{DELIMITED};q=0.6,application/openmetrics-text;q=0.5,text/plain;version=0.0.4;q=0.2"


@pytest.mark.parametrize("accept", [DELIMITED, OLD, NEW, DELIMITED.replace(";", " ; ").upper()])
def test_who_asks_for_protobuf_gets_it(agent, accept):
    answer = get(agent, "/metrics", accept=accept)
    assert answer.headers["content-type"].replace(" ", "") == DELIMITED
    assert answer.text.startswith("protobuf of sample 1")
    assert agent.rendered == ["protobuf"]


@pytest.mark.parametrize(
    "accept",
    [
        "", "*/*", "text/plain;version=0.0.4;q=0.5,*/*;q=0.1", PROTO, f"{DELIMITED};q=0",
        DELIMITED.replace("delimited", "text"), DELIMITED.replace("MetricFamily", "Other"),
        f"text/plain,{DELIMITED};q=0.6", f"{DELIMITED};q=high", f"{DELIMITED};q=", ";;,=,;q",
    ],
)  # fmt: skip
def test_all_others_get_text(agent, accept):
    answer = get(agent, "/metrics", accept=accept)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert agent.rendered == ["prometheus"]


def test_a_format_that_is_named_stands_over_the_header(agent):
    assert get(agent, "/metrics?format=text", accept=DELIMITED).text.startswith("text of")
    assert get(agent, "/metrics?format=protobuf").text.startswith("protobuf of")


def test_a_page_is_rendered_once_per_sample_however_many_scrape(agent):
    for _ in range(5):
        get(agent, "/metrics")
        get(agent, "/metrics", accept_encoding="gzip")
    assert agent.rendered == ["prometheus"]
    assert agent.pages.scrapes == 10
    agent.number = 2
    assert get(agent, "/metrics").text.startswith("prometheus of sample 2")
    assert agent.rendered == ["prometheus", "prometheus"]


def test_nothing_is_rendered_unless_someone_asks_and_old_pages_are_dropped(agent):
    get(agent, "/-/ready")
    assert agent.rendered == []
    get(agent, "/metrics")
    agent.pages.drop()
    assert agent.pages._kept
    agent.number = 2
    agent.pages.drop()
    assert not agent.pages._kept


@pytest.mark.parametrize(
    ("header", "zipped"),
    [
        ("gzip", True), ("deflate, gzip;q=1.0", True), ("gzip;q=0", False), ("identity", False),
        ("gzip; q=0.000", False), ("br", False), ("*", False), ("", False), ("GZIP", True),
    ],
)  # fmt: skip
def test_gzip_only_for_who_asks_for_it(agent, header, zipped):
    answer = get(agent, "/metrics", accept_encoding=header)
    assert ("content-encoding" in answer.headers) is zipped
    assert answer.text.startswith("prometheus of sample 1")
    assert answer.headers["vary"] == "accept, accept-encoding"


def test_ready_says_how_old_the_newest_sample_is(agent):
    answer = get(agent, "/-/ready")
    assert (answer.status_code, answer.text) == (200, "ready: newest sample 0.2 s old\n")
    agent.age = 7.0
    assert get(agent, "/-/ready").status_code == 503
    agent.number = None
    assert get(agent, "/-/ready").text == "no sample yet\n"
    assert get(agent, "/-/ready").status_code == 503
    assert get(agent, "/metrics").status_code == 503
    assert get(agent, "/-/healthy").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "code", "words"),
    [
        ("GET", "/metric", 404, "/metrics, /api/profile, /-/ready, /-/healthy"),
        ("GET", "/metrics/", 404, "/metrics"),
        ("GET", "/../etc/passwd", 404, "nothing at this path"),
        ("POST", "/metrics", 405, "GET only"),
        ("GET", "/metrics?format=xml", 400, "prometheus, text, json"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(agent, method, path, code, words):
    answer = get(agent, path, method=method)
    assert answer.status_code == code
    assert words in answer.text
    as_json = get(agent, path, method=method, accept="application/json")
    assert words in json.loads(as_json.text)["error"]
    assert agent.rendered == []


def test_the_index_names_every_route(agent):
    text = get(agent, "/").text
    for path in ("/metrics", "/-/ready", "/-/healthy"):
        assert path in text
        assert get(agent, path).status_code == 200
        assert get(agent, path, method="HEAD").status_code == 200


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("127.0.0.1:7070", 200), ("localhost:7070", 200), ("[::1]:7070", 200), ("10.1.2.3", 200),
        (socket.gethostname(), 200), ("metrics.example:7070", 200), ("METRICS.example.", 200),
        ("evil.example:7070", 421), ("localhost.evil.example", 421),
    ],
)  # fmt: skip
def test_on_loopback_a_request_must_name_this_machine(agent, host, code):
    assert get(agent, "/metrics", host=host).status_code == code


def test_an_open_address_answers_under_any_name_unless_told_which():
    names: tuple[str, ...] = ()
    rule = host_rule("0.0.0.0", lambda: names)
    assert rule("node7.example:7070")
    names = ("node7.example",)
    assert rule("node7.example:7070") and rule("10.0.0.7:7070")
    assert not rule("evil.example:7070")
    assert not host_rule("127.0.0.1", lambda: ())("")


# --- the server itself, on a real socket


@asynccontextmanager
async def served(agent: Fake):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.setblocking(False)
    port = listener.getsockname()[1]
    server = Server(application(agent.pages, host_rule("127.0.0.1", lambda: ())))
    await server.start(listener)
    try:
        yield port
    finally:
        await server.stop()


async def talk(port: int, raw: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    writer.write_eof()
    answer = b""
    with suppress(ConnectionError):  # hung up on before all of it was sent
        while part := await asyncio.wait_for(reader.read(1 << 16), 30):
            answer += part
    writer.close()
    return answer


@pytest.mark.parametrize(
    "raw",
    [
        b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"", b"\0" * 1000,
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    ],
)  # fmt: skip
def test_hostile_requests_do_no_harm(agent, raw):
    async def scene() -> bytes:
        async with served(agent) as port:
            answer = await talk(port, raw)
            good = b"GET /-/healthy HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
            assert (await talk(port, good)).endswith(b"alive\n")
            return answer

    answer = asyncio.run(scene())
    assert b" 200 " not in answer
    assert b"Traceback" not in answer


def test_a_whole_page_over_a_real_socket(agent):
    async def scene() -> bytes:
        async with served(agent) as port:
            return await talk(
                port,
                b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n"
                b"Connection: close\r\n\r\n",
            )

    head, _, body = asyncio.run(scene()).partition(b"\r\n\r\n")
    assert b"date: " in head and b"server:" not in head
    assert gzip.decompress(body).startswith(b"prometheus of sample 1\n")


def test_it_stops_at_once_even_with_a_client_that_hangs_on(agent):
    async def scene() -> float:
        async with served(agent) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readuntil(b"alive\n")
            began = asyncio.get_running_loop().time()
        took = asyncio.get_running_loop().time() - began
        writer.close()
        return took

    assert asyncio.run(scene()) < 10, "a kept connection is waited for no longer than 30 s"
