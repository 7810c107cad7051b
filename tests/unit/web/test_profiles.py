"""/api/profile: what may be asked, what is answered, what is wrong said in a sentence."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.profiles.made import profile, read

from cotenant.agent.profiles import FORMS
from cotenant.errors import HostCannot, UnknownTenant, UsageError
from cotenant.export import pprof
from cotenant.model import Profile
from cotenant.web.http import Pages, application, host_rule
from cotenant.web.profiles import MOST_WAITING, Profiles, wanted

NOW = 1_700_000_000.0


class Store:
    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.wrong: Exception | None = None
        self.gate: threading.Event | None = None
        self.begun = threading.Event()

    def query(self, *asked: Any) -> Profile:
        self.asked.append(asked)
        self.begun.set()
        if self.gate is not None:
            assert self.gate.wait(20)
        if self.wrong is not None:
            raise self.wrong
        return profile()


@pytest.fixture
def store():
    return Store()


def site(store: Store) -> httpx.AsyncClient:
    profiles = Profiles(store.query, FORMS, lambda: NOW)
    pages = Pages({"prometheus": lambda: b""}, lambda: 1, lambda: 0.0, lambda: 3.0)
    app = application(pages, host_rule("127.0.0.1", lambda: ()), profiles)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:7070")


def get(store: Store, path: str, **headers: str) -> httpx.Response:
    async def fetch() -> httpx.Response:
        async with site(store) as client:
            return await client.get(path, headers=headers)

    return asyncio.run(fetch())


def test_without_words_it_is_the_last_five_minutes_of_all_as_pprof(store):
    answer = get(store, "/api/profile")
    assert store.asked == [(None, NOW - 300, NOW, "cpu")]
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    assert 'filename="host-cpu.pb.gz"' in answer.headers["content-disposition"]
    assert read(pprof.parse(answer.content)) == read(profile())


def test_each_word_means_what_it_says(store):
    answer = get(store, "/api/profile?tenant=a%2Fb%20c&from=-1h&to=-30m&type=off-cpu&format=folded")
    assert store.asked == [("a/b c", NOW - 3600, NOW - 1800, "off-cpu")]
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert 'filename="a-b-c-off-cpu.folded"' in answer.headers["content-disposition"]
    assert "hash_all" in answer.text
    get(store, f"/api/profile?from={NOW - 90}&to=now-1m&type=go/heap")
    assert store.asked[-1] == (None, NOW - 90, NOW - 60, "go/heap")


@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_form_is_handed_out_as_what_it_is(store, form):
    answer = get(store, f"/api/profile?format={form}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == FORMS[form].media_type
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.content == FORMS[form].render(profile())


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("from=yesterday", '"from" takes Unix seconds, now or a time back, not "yesterday"'),
        ("from=-5", '"from" takes Unix seconds'),
        ("from=nan", '"from" takes Unix seconds'),
        ("to=1700000000000", "looks like milliseconds"),
        ("from=now&to=-5m", '"from" is not before "to"'),
        ("from=-5m&from=-6m", '"from" is there twice'),
        ("until=3", 'There is no "until" to ask by. Try: one of tenant, from, to, type, format'),
        ("type=CPU", '"CPU" is no type of profile'),
        ("type=../x", "no type of profile"),
        ("format=gif", 'There is no format "gif". Try: one of pprof'),
        ("tenant=" + "x" * 301, '"tenant" is longer than 300 letters'),
    ],
)
def test_a_question_that_is_wrong_is_told_so(store, query, said):
    answer = get(store, f"/api/profile?{query}")
    assert answer.status_code == 400
    assert said in answer.text and answer.text.endswith(".\n")
    assert store.asked == []
    as_json = get(store, f"/api/profile?{query}", accept="application/json")
    assert said in as_json.json()["error"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnknownTenant("No tenant is called 'x'.", "y"), 404),
        (HostCannot("The agent keeps no profiles."), 503),
    ],
)
def test_what_the_store_says_is_passed_on(store, error, status):
    store.wrong = error
    answer = get(store, "/api/profile?tenant=x")
    assert (answer.status_code, str(error) in answer.text) == (status, True)


def test_it_changes_nothing_and_answers_to_this_machines_names_only(store):
    async def fetch(method: str, host: str) -> int:
        async with site(store) as client:
            return (
                await client.request(method, "/api/profile", headers={"host": host})
            ).status_code

    assert asyncio.run(fetch("POST", "127.0.0.1")) == 405
    assert asyncio.run(fetch("GET", "evil.example")) == 421
    assert store.asked == []


def test_one_at_a_time_is_made_and_too_many_are_sent_away(store):
    store.gate = threading.Event()

    async def crowd() -> list[int]:
        async with site(store) as client:
            first = [asyncio.create_task(client.get("/api/profile")) for _ in range(MOST_WAITING)]
            while not store.begun.is_set():
                await asyncio.sleep(0.01)
            one_more = await client.get("/api/profile")
            alive = await client.get("/-/healthy")
            assert len(store.asked) == 1
            assert store.gate is not None
            store.gate.set()
            return [alive.status_code, one_more.status_code,
                    *[(await task).status_code for task in first]]  # fmt: skip

    assert asyncio.run(crowd()) == [200, 503] + [200] * MOST_WAITING


@given(st.lists(st.tuples(st.sampled_from(["tenant", "from", "to", "type", "x"]), st.text())))
def test_no_words_do_more_than_be_refused(pairs):
    try:
        found = wanted(pairs, NOW)
    except UsageError as error:
        assert str(error).endswith(".")
    else:
        assert found.from_s < found.until_s
