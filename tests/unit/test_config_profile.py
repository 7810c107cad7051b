"""The `[profile]` tables: what they may say, and what is said about one that is wrong."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from cotenant.cli.config import _rows
from cotenant.config import Settings, described, parse
from cotenant.config.profile import (
    SERVICE_FIELDS,
    BasicAuth,
    Profiling,
    PullTarget,
    PushTarget,
)
from cotenant.errors import ConfigError
from cotenant.export.service import _fields
from cotenant.model import HOST

PUSH = '[[profile.push]]\nurl = "http://a:4040"\n'


def problem(text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        parse(text, "c.toml")
    return str(raised.value)


def test_a_section_reads_like_grafana_agents():
    text = """
        interval_s = 2
        [profile]
        hz = 97
        exclude = ["kube-system/*"]

        [[profile.push]]
        url = "https://pyroscope.example/base"
        tenant_id = "team-a"
        service_name = "ebpf/{namespace}/{container}"
        external_labels = {cluster = "eu-1"}
        headers = {"x-scope" = "1"}
        basic_auth = {username = "me", password_file = "/run/secret"}

        [[profile.push]]
        kind = "otlp"
        url = "http://127.0.0.1:4318"
        bearer_token_file = "/run/token"

        [[profile.pull]]
        tenant = "shop/*"
        port = 6060
    """
    found = parse(text, "c.toml")
    assert found.profile.hz == 97 and found.profile.window_s == 15.0
    first, second = found.profile.push
    assert first.basic_auth == BasicAuth("me", "/run/secret")
    assert first.external_labels == {"cluster": "eu-1"} and first.headers == {"x-scope": "1"}
    assert (first.title, second.title, second.kind) == (
        "pyroscope.example", "127.0.0.1:4318", "otlp",
    )  # fmt: skip
    assert found.profile.pull == (PullTarget(tenant="shop/*", port=6060),)
    assert found.sources["profile.hz"] == "c.toml:4"
    assert found.sources["profile.push"] == "c.toml:7"
    assert found.sources["profile.keep_s"] == "default"
    assert found.sources["profile"] == "c.toml:3"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[profile]\nhertz = 3", 'c.toml:2: unknown key "profile.hertz"; the nearest is "hz"'),
        ("[profile]\nhz = 1000", 'c.toml:2: "profile.hz" takes a whole number from 1 to 999'),
        ("[profile]\ntypes = ['gpu']", 'c.toml:2: "profile.types" takes a list of "cpu"'),
        ("profile = 3", 'c.toml:1: "profile" takes a [profile] table, not 3'),
        ("[[profile]]\nhz = 3", 'c.toml:1: "profile" takes a [profile] table, not a list'),
        ("[profile.push]\nurl = 'http://a'", '"profile.push" takes tables, each under a heading'),
        ("[[profile.push]]\nkind = 'otlp'", 'c.toml:1: [[profile.push]] lacks "url"'),
        ("[[profile.push]]\nurl = 'a:1'", 'c.toml:1: [[profile.push]] "url" takes an address'),
        ("[[profile.push]]\nurl = 'http://u:p@a'", "takes no user or password"),
        ("[[profile.push]]\nurl = 'http://a:99999'", '"url" takes an address'),
        ("[[profile.push]]\nurl = 'http://a/?x=1'", '"url" ends before'),
        ("[[profile.push]]\nurl = 'http://a/ b'", '"url" takes an address'),
        ("[profile]\ndebuginfod = ''", '"debuginfod" takes an address'),
        ("[profile]\ndebuginfod = 'http://a:b@c'", '"debuginfod" takes no user or password'),
        (PUSH + PUSH, 'c.toml:1: [profile] has two push targets called "a:4040"'),
        (PUSH + "service_name = '{pod.x}'", '"service_name" knows {namespace}'),
        (PUSH + "service_name = '{pod!r}'", '"service_name" knows {namespace}'),
        (PUSH + "service_name = '{'", "stands alone"),
        (PUSH + "headers = {'a b' = 'x'}", '"a b" is no name of a header'),
        (PUSH + "headers = {Authorization = 'x'}", '"Authorization" is set by cotenant itself'),
        (PUSH + 'headers = {a = "x\\ny"}', '"profile.push.headers" takes a table of texts'),
        (PUSH + "external_labels = {'a-b' = 'x'}", '"a-b" is no name of a label'),
        (PUSH + "external_labels = {service_name = 'x'}", "is set by cotenant itself"),
        (PUSH + "basic_auth = {username = 'x'}", 'basic_auth] lacks "password_file"'),
        (PUSH + "basic_auth = {user = 'x'}", 'the nearest is "username"'),
        (PUSH + "tls_cert_file = '/a'", '"tls_cert_file" and "tls_key_file" together'),
        (PUSH + "queue_bytes = 10", '"profile.push.queue_bytes" takes a whole number from 65,536'),
        (PUSH + "min_backoff_s = 400", '"min_backoff_s" is more than'),
        ("[[profile.pull]]\ntenant = 'a'\nport = 0", '"profile.pull.port" takes a whole number'),
        ("[[profile.pull]]\ntenant = 'a'\nport = 1\npath = '/ x'", '"profile.pull.path" takes'),
        ("[[profile.pull]]\ntenant = 'a'\nport = 1\npath = \"/a\\r\\n\"", "profile.pull.path"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text, said):
    assert said in problem(text)


def test_every_key_tells_what_it_takes():
    for table in (Profiling, PushTarget, PullTarget, BasicAuth):
        for setting in described(table):
            assert setting.description[0].isupper() and not setting.description.endswith(".")
            assert (setting.unit == "s") == setting.key.endswith("_s")


def test_a_template_may_name_what_the_exporter_knows():
    assert tuple(_fields(HOST, "n")) == SERVICE_FIELDS


def test_show_tells_each_part_and_its_place():
    rows = {key: (value, source) for key, value, source in _rows(parse(PUSH, "c.toml"))}
    assert rows["profile.hz"] == (19, "default")
    value, source = rows["profile.push"]
    assert (value[0].url, source) == ("http://a:4040", "c.toml:1")
    assert "profile" not in rows


def test_settings_that_are_equal_compare_so():
    assert Settings().profile == Profiling()
    assert replace(Profiling(), hz=20) != Profiling()
