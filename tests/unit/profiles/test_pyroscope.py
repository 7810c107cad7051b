"""What is pushed to Pyroscope: every field of the request, and the limits of a server kept to."""

from __future__ import annotations

import gzip
import re

import pytest
from msgspec.structs import replace
from tests.unit.export.proto import Message
from tests.unit.profiles.made import MAIN, POD, READ, SERVE, WEB, profile, read

from cotenant.export import pprof, pyroscope
from cotenant.export.pushed import Encoded
from cotenant.export.service import labels, service_name
from cotenant.model import Frame, FrameKind, Kind, Tenant

Paths = dict[tuple[Frame, ...], int]


def series(found: Encoded) -> list[tuple[dict[str, str], bytes, str]]:
    """Labels, pprof and id of each series of a request with all of them."""
    request = Message(pyroscope.joined(found.series))
    assert set(request.fields) == {1}
    out = []
    for one in request.all(1):
        pairs = [(pair.text(1), pair.text(2)) for pair in one.all(1)]
        assert [name for name, _ in pairs] == sorted({name for name, _ in pairs})
        [sample] = one.all(2)
        assert set(one.fields) == {1, 2} and set(sample.fields) == {1, 2}
        out.append((dict(pairs), bytes(sample.one(1)), sample.text(2)))
    return out


def test_a_series_per_tenant_with_alloys_labels():
    found = series(pyroscope.render(profile(), "node-1", None, {"cluster": "eu"}))
    assert [pairs for pairs, _, _ in found] == [
        {
            "__name__": "process_cpu", "service_name": "web", "pyroscope_spy": "cotenant",
            "node": "node-1", "tenant": "web", "cluster": "eu",
        },
        {
            "__name__": "process_cpu", "service_name": "shop/app", "pyroscope_spy": "cotenant",
            "node": "node-1", "tenant": "shop/api-7/app", "namespace": "shop", "pod": "api-7",
            "container": "app", "cluster": "eu",
        },
    ]  # fmt: skip
    ids = [number for _, _, number in found]
    assert len(set(ids)) == 2
    assert all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", one) for one in ids)


def test_the_stacks_are_the_tenants_own():
    one = profile()
    for pairs, raw, _ in series(pyroscope.render(one, "n")):
        back = pprof.parse(raw, tenant=WEB)
        assert read(back) == {"web": read(one)[pairs["tenant"]]}
        assert (back.type, back.unit, back.period) == ("cpu", "nanoseconds", 10_000_000)
        assert (back.from_s, back.until_s) == (one.from_s, one.until_s)


@pytest.mark.parametrize(
    ("kind", "name", "sample"),
    [
        ("cpu", "process_cpu", "cpu"), ("off-cpu", "off_cpu", "off_cpu"),
        ("alloc", "memory", "alloc_space"), ("faults", "page_faults", "faults"),
        ("go/cpu", "process_cpu", "cpu"), ("go/heap", "memory", "inuse_space"),
        ("go/goroutine", "goroutine", "goroutine"), ("go/mutex", "mutex", "delay"),
    ],
)  # fmt: skip
def test_names_of_each_type_hold_nothing_that_a_server_refuses(kind, name, sample):
    [(pairs, raw, _), _] = series(pyroscope.render(profile(type=kind), "n"))
    assert pairs["__name__"] == name
    message = Message(gzip.decompress(raw))
    strings = [bytes(one).decode() for one in message.fields[6]]
    types = [strings[one.one(1)] for one in message.all(1)]
    assert types == ["samples", sample]
    assert not any("-" in one for one in types)
    assert re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", name)


def test_processes_of_a_tenant_are_added_up_and_no_sample_has_labels():
    one = profile({WEB: {(MAIN, SERVE): 2}})
    [stack] = one.stacks
    one = replace(one, stacks=(stack, replace(stack, process="other", count=3)))
    [(_, raw, _)] = series(pyroscope.render(one, "n"))
    [sample] = Message(gzip.decompress(raw)).all(2)
    assert 3 not in sample.fields
    assert read(pprof.parse(raw, tenant=WEB)) == {"web": {("main", "Server.serve"): 5}}


def test_more_stacks_than_a_server_takes_become_several_profiles():
    frames = [Frame(f"f{number}", FrameKind.NATIVE) for number in range(200)]
    paths: Paths = {(a, b): 1 for a in frames for b in frames}
    found = series(pyroscope.render(profile({WEB: paths}), "n"))
    assert len(found) == 4 and len({number for _, _, number in found}) == 4
    total = 0
    for _, raw, _ in found:
        count = len(Message(gzip.decompress(raw)).all(2))
        assert count <= pyroscope.MOST_STACKS
        total += count
    assert total == len(paths)


def test_more_bytes_than_a_server_takes_become_several_profiles_or_none():
    paths: Paths = {
        (Frame(f"{number}" + "x" * 60_000, FrameKind.NATIVE),): 1 for number in range(200)
    }
    huge = Frame("y" * (5 << 20), FrameKind.NATIVE)
    found = pyroscope.render(profile({WEB: {**paths, (huge,): 1}}), "n")
    sizes = [len(gzip.decompress(raw)) for _, raw, _ in series(found)]
    assert max(sizes) <= pyroscope.MOST_BYTES and len(sizes) >= 3
    assert found.left_out == 1
    stacks = sum(len(Message(gzip.decompress(raw)).all(2)) for _, raw, _ in series(found))
    assert stacks == 200


def test_a_stack_too_deep_loses_its_innermost_frames_and_is_counted():
    deep = tuple(Frame(f"f{number}", FrameKind.NATIVE) for number in range(1200))
    found = pyroscope.render(profile({WEB: {deep: 1, (MAIN,): 2}}), "n")
    assert found.cut == 1
    [(_, raw, _)] = series(found)
    back = pprof.parse(raw, tenant=WEB)
    [longest] = [path for path in read(back)["web"] if len(path) > 1]
    assert longest == tuple(f"f{number}" for number in range(1000))


def tenant(**more):
    return replace(WEB, **more)


@pytest.mark.parametrize(
    ("who", "template", "name"),
    [
        (WEB, None, "web"),
        (POD, None, "shop/app"),
        (POD, "ebpf/{namespace}/{container}", "ebpf/shop/app"),
        (WEB, "ebpf/{namespace}/{container}", "web"),
        (WEB, "{kind}s/{tenant}@{node}", "containers/web@n1"),
        (tenant(labels={"pyroscope.io/service_name": "mine"}), None, "mine"),
        (tenant(labels={"annotation.pyroscope.io/service_name": "mine"}), None, "mine"),
        (tenant(labels={"pyroscope.io/service_name": ""}), None, "web"),
        (tenant(kind=Kind.UNKNOWN, name="unknown~ab12"), None, "unspecified"),
        (tenant(name=""), None, "unspecified"),
        (tenant(name="a\ud800b\n"), None, "a\\ud800b\\x0a"),
        (tenant(name="é" * 3000), None, "é" * 1024),
    ],
)
def test_service_names(who: Tenant, template, name):
    assert service_name(who, "n1", template) == name


def test_labels_are_what_a_server_takes():
    more = {f"l{number}": "x" for number in range(40)} | {"bad-name": "x", "long": "y" * 5000}
    found = labels(POD, "n", more)
    assert len(found) <= 26 and "bad-name" not in found
    assert found["namespace"] == "shop"
    assert all(len(text.encode()) <= 2048 for text in found.values())
    assert labels(tenant(namespace="\udcff"), "n")["namespace"] == "\\xff"


def test_kernel_frames_stay_the_kernels():
    [(_, raw, _)] = series(pyroscope.render(profile({WEB: {(MAIN, READ): 1}}), "n"))
    assert [frame.kind for frame in pprof.parse(raw, tenant=WEB).frames] == ["native", "kernel"]
