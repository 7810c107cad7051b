"""Debian's own Prometheus scrapes a page of a synthetic host, and dashboards' queries work on it.

Needs no root and no kernel, but the real server: it fails, not skips, where that is missing.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from scripts.gen_metrics_page import QUERIES
from tests.unit.export.noises import API, BATCH, heard, waited, waits
from tests.unit.export.synthetic import HOST, sample, snapshot, tenant

from cotenant.buckets import BOUNDS_S
from cotenant.export.noise import Heard, Sheet
from cotenant.export.own import BpfCost, OwnCost
from cotenant.export.prometheus import Page
from cotenant.export.protobuf import Converter
from cotenant.model import Kind, Throttle
from cotenant.web.http import MEDIA_TYPES, takes_protobuf

pytestmark = pytest.mark.claim

SECOND = 10**9
MIB = 1 << 20
POD = {"namespace": "default", "pod": "shop", "netns": 77, "runtime": "containerd"}
UNIT = "/system.slice/ssh.service"

WORLD = (
    tenant(1, "web"),
    tenant(2, 'a"b\\{}한국어'),
    tenant(3, "kind-node", path="/docker/aa"),
    tenant(4, "kind-node/kubelet.service", kind=Kind.SERVICE, path="/docker/aa/kubelet", parent=3,
           image=None, netns=4_026_531_003),
    tenant(5, 'a"b\n{}', kind=Kind.SERVICE, path=UNIT, image=None, netns=None),
    tenant(6, "vm-1", kind=Kind.VM, path="/firecracker/vm-1", image=None, netns=None),
    tenant(7, "default/shop/POD", container="POD", path="/kubepods/pod1/p",
           **POD | {"image": "pause"}),
    tenant(9, "default/shop/app", container="app", path="/kubepods/pod1/app", **POD),
    tenant(10, "default/shop/log", container="log", path="/kubepods/pod1/log", **POD),
)  # fmt: skip
# Prometheus 2 lets `.+` stop at a newline, so a name that holds one is no match for dashboards'
# name=~".+": here only a service, which has no `name` anyway, has such a name.
CORES = {1: 0.5, 2: 0.125, 3: 0.25, 4: 0.125, 5: 0.0625, 6: 1.0, 9: 0.25, 10: 0.125}
"""CPUs that each tenant keeps busy; the host 0.5 more than all that are not nested."""


def need(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.fail(f"{program} is missing: apt-get install prometheus")
    return path


def shot(of_ns: int):
    """The world `of_ns` after its start, counters risen accordingly."""

    def one(who, cores):
        made = sample(who, 1 + who.key * 1000, at_ns=of_ns)
        limits = (50_000, 100_000, 512) if who.key in (1, 9, 10) else (None, 100_000, 1024)
        passed = of_ns // 100_000_000
        memory = msgspec.structs.replace(
            made.memory,
            usage=(who.key + 1) * MIB,
            inactive_file=MIB // 2,
            limit=64 * MIB if who.key == 1 else None,
        )
        cpu = msgspec.structs.replace(made.cpu, usage_ns=int(cores * of_ns))
        return msgspec.structs.replace(
            made,
            cpu=cpu,
            memory=memory,
            throttle=Throttle(passed, passed // 2, passed * 1000, *limits),
            interfaces=None if who.netns is None and who is not HOST else made.interfaces,
        )

    outer = sum(CORES.get(who.key, 0) for who in WORLD if who.parent is None)
    return snapshot(
        *[one(who, CORES.get(who.key, 0)) for who in WORLD],
        at_ns=of_ns,
        root=one(HOST, outer + 0.5),
        unix_s=time.time(),
    )


def noise(of_ns: int) -> Heard:
    """Of each second api waits 0.3 s for batch and 0.2 s for itself; 9 of 10 waits take 3 ms."""
    tenths = of_ns // (SECOND // 10)
    buckets = [0] * 118
    buckets[buckets_index(0.003)], buckets[buckets_index(0.1)] = 9 * tenths, tenths
    blamed = tenths * SECOND // 10 * 3 // 10
    reasons = dict.fromkeys(("throttled_ns", "idle_ns", "irq_ns", "steal_ns", "unknown_ns"), 0)
    own = tenths * SECOND // 10 * 2 // 10
    api = waited(foreign_ns=blamed, self_ns=own, buckets=tuple(buckets), **reasons)
    now = waits(0, {API: api, BATCH: waited()}, {(API, BATCH): blamed})
    now = msgspec.structs.replace(now, at_ns=of_ns)
    return heard(waits=now, began=())


def buckets_index(seconds: float) -> int:
    """The bucket that a wait of so many seconds is counted in."""
    return next(i for i, bound in enumerate(BOUNDS_S) if seconds < bound)


class Server:
    """Serves the page on a loopback port, rendered anew for each scrape."""

    def __init__(self):
        self.page, self.begun = Page(), time.monotonic_ns() - 100 * SECOND
        self.sheet, self.converter, self.accepted = Sheet(), Converter(), ""
        self.lock = threading.Lock()  # a scrape given up may still be served: a page has one writer
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.accepted = self.headers.get("Accept", "")
                form = "protobuf" if takes_protobuf(server.accepted) else "prometheus"
                body = server.render(form)
                self.send_response(200)
                self.send_header("Content-Type", MEDIA_TYPES[form])
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def render(self, form="prometheus"):
        with self.lock:
            of_ns = time.monotonic_ns() - self.begun
            runs = of_ns // 1_000_000
            bpf = BpfCost("count", runs, runs // 1024, runs // 8)
            page = self.page.render(shot(of_ns), OwnCost(cpu_ns=of_ns // 1000, bpf=(bpf,)))
            self.sheet.note(noise(of_ns))
            if form == "prometheus":
                return page.removesuffix(b"\n") + self.sheet.render() + b"\n"
            page = page.removesuffix(b"\n") + self.sheet.render(histogram=False)
            return self.converter.convert(page) + self.sheet.native()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Prometheus:
    """A Prometheus of our own on loopback, scraping one target five times a second.

    Once `settle` has chosen a moment, everything is asked as of then: a scrape that fails for want
    of a CPU ends all series until the next one.
    """

    at: str | None = None

    def __init__(self, folder: Path, target: int, *flags: str):
        program = need("prometheus")
        config = folder / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
            "scrape_configs:\n"
            "  - job_name: cadvisor\n"
            f"    static_configs: [{{targets: ['127.0.0.1:{target}']}}]\n"
        )
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [program, f"--config.file={config}", f"--storage.tsdb.path={folder}/data",
                 f"--web.listen-address=127.0.0.1:{port}", *flags],
                stdout=log, stderr=log,
            )  # fmt: skip

    def ask(self, query: str):
        moment = {} if self.at is None else {"time": self.at}
        words = urllib.parse.urlencode({"query": query} | moment)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/query?{words}", timeout=60) as answer:
                return json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"{query}: {error.read().decode()}")

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=60):
                return True
        except OSError:
            return False

    def wait(self, query: str, seconds: float = 120):
        """What the query finds, once it finds something."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            if self.ready() and (found := self.ask(query)):
                return found
            time.sleep(0.1)
        pytest.fail(f"{query} stayed empty for {seconds} s\n{self.log.read_text()[-3000:]}")

    def settle(self):
        """Choose the moment of a good scrape after many, most of the last two seconds'."""
        good = "count_over_time(up[1m]) > 12 and sum_over_time(up[2s]) > 4 and up == 1"
        (row,) = self.wait(f"timestamp(up) and ({good})")
        self.at = row["value"][1]

    def close(self):
        self.process.terminate()
        self.process.wait(60)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    server = Server()
    running = Prometheus(tmp_path_factory.mktemp("prometheus"), server.port)
    try:
        running.settle()
        yield running
    finally:
        running.close()
        server.http.shutdown()
        server.http.server_close()


def queries():
    for line in Path(__file__).with_name("dashboard_queries.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            rows, query = line.split(" | ", 1)
            yield pytest.param(int(rows), query, id=query[:60])


@pytest.mark.parametrize(("rows", "query"), [*queries()])
def test_dashboard_query(prometheus, rows, query):
    found = prometheus.ask(query)
    assert found and len(found) == rows, json.dumps(found, indent=1)[:3000]
    assert all(row["value"][1] not in ("NaN", "+Inf") for row in found), found


@pytest.mark.parametrize("query", [query for _, query in QUERIES])
def test_queries_of_the_metrics_page(prometheus, query):
    assert prometheus.ask(query)


def test_sums_count_nothing_twice(prometheus):
    """As shares of the root's rate, in one query: a late scrape bends every rate alike."""
    rate = "sum(rate(container_cpu_usage_seconds_total{%s}[1m]))"
    whole = rate % 'id="/"'

    def share(query):
        (row,) = prometheus.ask(f"sum({query}) / {whole}".replace("[1m]", "[2s]"))
        return float(row["value"][1])

    root = 0.5 + sum(CORES.get(who.key, 0) for who in WORLD if who.parent is None)
    named = sum(CORES.get(key, 0) for key in (1, 2, 3, 6, 9, 10))
    assert share(rate % 'name!=""') == pytest.approx(named / root, rel=0.001)
    assert share(rate % 'container!=""') == pytest.approx((CORES[9] + CORES[10]) / root, rel=0.001)
    assert share(QUERIES[1][1]) == pytest.approx(0.5 / root, rel=0.001)


def test_prometheus_keeps_every_line(prometheus):
    """Nothing dropped on the way in: no duplicates, no lines out of order, hostile names whole."""
    (scraped,) = prometheus.ask("scrape_samples_scraped")
    (kept,) = prometheus.ask("scrape_samples_post_metric_relabeling")
    assert scraped["value"][1] == kept["value"][1]
    names = {row["metric"]["tenant"] for row in prometheus.ask("cotenant_tenant_info")}
    assert names == {who.name for who in WORLD}
    log = prometheus.log.read_text()
    assert "uplicate" not in log and "out of order" not in log, log[-3000:]


def test_promtool_finds_only_cadvisor_s_own_fault():
    page = Page()
    page.note(shot(SECOND))
    body = page.render(shot(2 * SECOND), OwnCost(cpu_ns=1, bpf=(BpfCost("count", 1, 1, 1),)))
    sheet = Sheet()
    sheet.note(heard())
    body = body.removesuffix(b"\n") + sheet.render() + b"\n"
    done = subprocess.run([need("promtool"), "check", "metrics"], input=body, capture_output=True)
    complaints = (done.stdout + done.stderr).decode().splitlines()
    assert complaints == ['container_memory_failcnt counter metrics should have "_total" suffix']
