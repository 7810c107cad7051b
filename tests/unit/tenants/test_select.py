"""TENANT on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotenant.errors import UnknownTenant
from cotenant.model import Kind, Tenant
from cotenant.tenants.select import find, innermost


def tenant(key: int, name: str, path: str, id: str | None = None) -> Tenant:
    return Tenant(key, name, Kind.CONTAINER, path, {0: 100 + key, 4: 200 + key}, id=id)


WEB = tenant(1, "web", "/docker/abcd1234", "abcd1234ef")
DB = tenant(2, "prod/db-0/mysql", "/docker/abcd9999", "abcd9999ef")
INNER = tenant(3, "inner.service", "/docker/abcd1234/inner.service")
ODD = tenant(4, 'a"b\n{}', "/batch")
NUMBER = tenant(5, "1102", "/n")
ALL = (WEB, DB, INNER, ODD, NUMBER)


@pytest.mark.parametrize(
    ("word", "hits"),
    [
        ("web", [WEB]),
        ("*b*", [WEB, DB, ODD]),
        ("prod/*", [DB]),
        ("abcd", [WEB, DB]),
        ("abcd1", [WEB]),
        ("101", [WEB]),
        ("204", [ODD]),
        ("1102", [NUMBER]),
        ("/docker/abcd9999", [DB]),
        ("/docker/abcd9999/", [DB]),
        ('a"b\n{}', [ODD]),
    ],
)
def test_each_way(word: str, hits: list[Tenant]) -> None:
    assert find(word, ALL) == hits


def test_a_process_means_the_innermost_tenant_around_it() -> None:
    where = {7: "/docker/abcd1234/inner.service/x", 8: "/docker/abcd1234/init", 9: "/"}.get
    assert find("pid:7", ALL, where) == [INNER]
    assert find("pid:8", ALL, where) == [WEB]
    for word in ("pid:9", "pid:10", "pid:", "pid:x", "pid:-1", "pid:٣", "pid:99999999999"):
        with pytest.raises(UnknownTenant):
            find(word, ALL, where)


@pytest.mark.parametrize("front", ["/cg", "/cg/cpu", "/cg/cpu,cpuacct"])
def test_a_path_may_have_the_mount_in_front(front: str) -> None:
    mounts = [Path("/cg"), Path("/cg/cpu"), Path("/cg/cpu,cpuacct")]
    assert find(f"{front}/docker/abcd9999/", ALL, mounts=mounts) == [DB]
    assert find("/docker/abcd9999", ALL, mounts=mounts) == [DB]
    with pytest.raises(UnknownTenant):
        find("/cgdocker/abcd9999", ALL, mounts=mounts)


def test_a_prefix_of_a_path_is_no_parent() -> None:
    assert innermost("/docker/abcd12345", ALL) is None


@pytest.mark.parametrize(
    ("word", "hint"), [("wbe", "web"), ("abc", "list"), ("db-0", "prod/db-0/mysql")]
)
def test_unknown_ones_get_a_hint(word: str, hint: str) -> None:
    with pytest.raises(UnknownTenant) as caught:
        find(word, ALL)
    assert caught.value.hint is not None and hint in caught.value.hint


@given(st.text())
def test_any_word_is_found_or_unknown(word: str) -> None:
    try:
        assert find(word, ALL)
    except UnknownTenant as error:
        assert str(error)
