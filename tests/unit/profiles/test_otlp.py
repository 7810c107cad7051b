"""OTLP profiles, read with OpenTelemetry's own messages: nothing here was written to fit."""

from __future__ import annotations

import gzip

import pytest
from msgspec.structs import replace
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest as Request,
)
from tests.unit.profiles.made import MAIN, POD, READ, SERVE, WEB, profile, read

from cotenant.export import otlp, pyroscope
from cotenant.model import Frame, FrameKind


def requests(*arguments, **more) -> list[Request]:
    found = otlp.render(*arguments, **more)
    return [Request.FromString(gzip.decompress(one.body)) for one in found.series]


def the_profile(request):
    [resource] = request.resource_profiles
    [scope] = resource.scope_profiles
    [one] = scope.profiles
    return one


def attributes(pairs) -> dict[str, str]:
    return {pair.key: pair.value.string_value for pair in pairs}


def told(request, indices) -> dict[str, str]:
    words = request.dictionary.string_table
    entries = [request.dictionary.attribute_table[index] for index in indices]
    return {words[entry.key_strindex]: entry.value.string_value for entry in entries}


def value_type(request, one) -> tuple[str, str]:
    words = request.dictionary.string_table
    return words[one.type_strindex], words[one.unit_strindex]


def stacks(request) -> dict[tuple[str, ...], int]:
    """Values by function names, outermost first, followed through every table."""
    book = request.dictionary
    out: dict[tuple[str, ...], int] = {}
    for sample in the_profile(request).samples:
        names = []
        for place in reversed(book.stack_table[sample.stack_index].location_indices):
            assert place > 0
            [line] = book.location_table[place].lines
            names.append(book.string_table[book.function_table[line.function_index].name_strindex])
        [amount] = sample.values
        out[tuple(names)] = out.get(tuple(names), 0) + amount
    return out


def test_a_request_per_tenant_tells_who_it_is():
    web, pod = requests(profile(), "node-1", None, {"cluster": "eu"})
    assert attributes(web.resource_profiles[0].resource.attributes) == {
        "service.name": "web", "container.name": "web", "container.id": "aaaa0123",
        "container.image.name": "nginx:1", "container.runtime.name": "docker",
        "host.name": "node-1", "cotenant.tenant": "web", "cluster": "eu",
    }  # fmt: skip
    assert attributes(pod.resource_profiles[0].resource.attributes) == {
        "service.name": "shop/app", "k8s.namespace.name": "shop", "k8s.pod.name": "api-7",
        "k8s.container.name": "app", "container.id": "bbbb0123",
        "container.runtime.name": "containerd", "k8s.node.name": "node-1", "host.name": "node-1",
        "cotenant.tenant": "shop/api-7/app", "cluster": "eu",
    }  # fmt: skip
    assert web.resource_profiles[0].scope_profiles[0].scope.name == "cotenant"


def test_cpu_samples_are_counted_and_their_period_told():
    one = profile()
    for request, name in zip(requests(one, "n"), ("web", POD.name), strict=True):
        found = the_profile(request)
        assert stacks(request) == read(one)[name]
        assert value_type(request, found.sample_type) == ("samples", "count")
        assert value_type(request, found.period_type) == ("cpu", "nanoseconds")
        assert found.period == 10_000_000
        assert found.time_unix_nano == one.from_s * 1e9
        assert found.duration_nano == 15_000_000_000
        assert len(found.profile_id) == 16
        assert {tuple(told(request, s.attribute_indices).items()) for s in found.samples} == {
            (("process.executable.name", "python3"),)
        }


@pytest.mark.parametrize(
    ("kind", "unit", "sample", "period"),
    [
        ("off-cpu", "nanoseconds", ("off_cpu", "nanoseconds"), ("", "")),
        ("alloc", "bytes", ("alloc_space", "bytes"), ("memory", "bytes")),
        ("faults", "count", ("faults", "count"), ("page_faults", "count")),
        ("go/heap", "bytes", ("inuse_space", "bytes"), ("memory", "bytes")),
        ("go/goroutine", "count", ("goroutine", "count"), ("goroutine", "count")),
    ],
)
def test_other_types_tell_their_values(kind, unit, sample, period):
    [request] = requests(profile({WEB: {(MAIN,): 3}}, type=kind, unit=unit, period=5), "n")
    found = the_profile(request)
    assert value_type(request, found.sample_type) == sample
    assert value_type(request, found.period_type) == period
    assert found.HasField("period_type") is (period != ("", ""))
    assert [list(one.values) for one in found.samples] == [[15]]


def test_index_0_of_every_table_stands_for_nothing():
    [request] = requests(profile({WEB: {(MAIN, SERVE, READ): 1}}), "n")
    book = request.dictionary
    assert book.string_table[0] == ""
    for table in (
        book.mapping_table, book.location_table, book.function_table, book.link_table,
        book.attribute_table, book.stack_table,
    ):  # fmt: skip
        assert table[0].ByteSize() == 0
        entries = [entry.SerializeToString() for entry in table]
        assert len(set(entries)) == len(entries)


def test_frames_tell_kind_file_line_and_binary():
    [request] = requests(profile({WEB: {(MAIN, SERVE, READ): 1}}), "n")
    book, words = request.dictionary, request.dictionary.string_table
    main, serve, kernel = book.location_table[1:]
    kinds = [told(request, one.attribute_indices) for one in (main, serve, kernel)]
    assert [one["profile.frame.type"] for one in kinds] == ["native", "cpython", "kernel"]
    binary = book.mapping_table[main.mapping_index]
    assert words[binary.filename_strindex] == "/usr/bin/web"
    assert told(request, binary.attribute_indices) == {"process.executable.build_id.gnu": "ab12"}
    assert main.address == 0x1000 and kernel.address == 0xFFFFFFFF81000000
    assert words[book.mapping_table[kernel.mapping_index].filename_strindex] == "[kernel]"
    [line] = serve.lines
    function = book.function_table[line.function_index]
    assert (line.line, function.start_line) == (31, 20)
    assert words[function.filename_strindex] == "/srv/app.py"


def test_too_much_becomes_several_requests(monkeypatch):
    monkeypatch.setattr(otlp, "MOST_STACKS", 10)
    frames = [Frame(f"f{number}", FrameKind.NATIVE) for number in range(25)]
    found = requests(profile({WEB: {(frame,): 1 for frame in frames}}), "n")
    assert [len(the_profile(one).samples) for one in found] == [7, 6, 6, 6]
    huge = Frame("y" * (5 << 20), FrameKind.NATIVE)
    deep = tuple([MAIN] * 1200)
    one = otlp.render(profile({WEB: {(huge,): 1, deep: 2}}), "n")
    assert (one.left_out, one.cut, len(one.series)) == (1, 1, 1)
    [request] = [Request.FromString(gzip.decompress(series.body)) for series in one.series]
    [path] = stacks(request)
    assert len(path) == pyroscope.MOST_DEPTH


def test_names_that_are_no_text_are_spelt_out():
    odd = Frame("f\udcff\n", FrameKind.JIT)
    one = profile({replace(WEB, name="a\udcff", id="x\ud800"): {(odd,): 1}})
    stack = replace(one.stacks[0], process="p\udcfe")
    [request] = requests(replace(one, stacks=(stack,)), "n")
    assert list(stacks(request)) == [("f\\xff\\x0a",)]
    assert (
        attributes(request.resource_profiles[0].resource.attributes)["container.id"] == "x\\ud800"
    )
