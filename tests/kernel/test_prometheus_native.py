"""Debian's own Prometheus takes the page in protobuf, and its native histograms know the waits."""

from __future__ import annotations

import pytest
from tests.kernel.test_prometheus_server import CORES, WORLD, Prometheus, Server, buckets_index

from cotenant.buckets import BOUNDS_S, quantile_ns

pytestmark = pytest.mark.claim

API_IS = 'tenant="api"'


@pytest.fixture(scope="module")
def server():
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture(scope="module")
def prometheus(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("native")
    running = Prometheus(folder, server.port, "--enable-feature=native-histograms")
    try:
        running.settle()
        yield running
    finally:
        running.close()


def asked(prometheus, query: str) -> float:
    (row,) = prometheus.ask(query)
    return float(row["value"][1])


def test_it_asked_for_protobuf_and_kept_a_native_histogram(prometheus, server):
    assert "application/vnd.google.protobuf" in server.accepted
    assert not prometheus.ask("cotenant_wait_seconds_bucket")
    rows = prometheus.ask("cotenant_wait_seconds")
    assert {row["metric"]["tenant"] for row in rows} == {"api", "batch"}
    assert asked(prometheus, "up") == 1


@pytest.mark.parametrize(("share", "seconds"), [(0.5, 0.003), (0.89, 0.003), (0.99, 0.1)])
@pytest.mark.parametrize("of", ["cotenant_wait_seconds{%s}", "rate(cotenant_wait_seconds{%s}[1m])"])
def test_quantiles_are_the_known_waits(prometheus, share, seconds, of):
    found = asked(prometheus, f"histogram_quantile({share}, {of % API_IS})")
    at = buckets_index(seconds)
    assert BOUNDS_S[at - 1] <= found <= BOUNDS_S[at]
    counts = [0] * 118
    counts[buckets_index(0.003)], counts[buckets_index(0.1)] = 9, 1
    ours = quantile_ns(counts, share)
    assert ours is not None
    # Both lie in the same bucket; where in it, Prometheus 2 takes from a straight line.
    assert found == pytest.approx(ours / 1e9, rel=0.19)


def test_count_and_sum_are_the_counters(prometheus):
    """In one query each, so that both are of one scrape."""
    wait = f"cotenant_wait_seconds{{{API_IS}}}"
    count = f"histogram_count({wait}) - on (tenant) cotenant_waits_total{{{API_IS}}}"
    total = f"histogram_sum({wait}) / on (tenant) cotenant_waited_seconds_total{{{API_IS}}}"
    assert asked(prometheus, count) == 0
    assert asked(prometheus, total) == pytest.approx(1, rel=1e-9)


def test_the_rest_of_the_page_is_what_it_is_in_text(prometheus, server):
    names = {row["metric"]["__name__"] for row in prometheus.ask('{__name__=~".+"}')}
    text = server.render().decode()
    told = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    assert told <= names
    (kept,) = prometheus.ask("scrape_samples_post_metric_relabeling")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    histogram = [line for line in lines if line.startswith("cotenant_wait_seconds_")]
    assert int(kept["value"][1]) == len(lines) - len(histogram) + 2
    log = prometheus.log.read_text()
    assert "uplicate" not in log and "out of order" not in log, log[-3000:]


def test_values_are_whole(prometheus):
    web = asked(prometheus, 'container_spec_memory_limit_bytes{name="web"}')
    assert web == 64 << 20
    rate = "sum(rate(container_cpu_usage_seconds_total{%s}[2s]))"
    share = asked(prometheus, rate % 'name="web"' + " / " + rate % 'id="/"')
    outer = 0.5 + sum(CORES.get(who.key, 0) for who in WORLD if who.parent is None)
    assert share == pytest.approx(CORES[1] / outer, rel=0.001)
