"""Type information, read from the compiled programs; the records generated from it."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path

import pytest

from cotenant.errors import NoBpf
from cotenant.kernel import records
from cotenant.kernel.btf import DATASEC, ENUM, FUNC, STRUCT, Btf
from cotenant.kernel.libbpf import Object
from cotenant.meter.programs import EACH, MEMCG, OBJECTS, TREE

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=[TREE, EACH, MEMCG])
def btf(request):
    with Btf.of_object(OBJECTS / request.param) as found:
        yield found


def test_records_are_what_the_compiled_headers_say():
    path = ROOT / "scripts" / "gen_records.py"
    spec = importlib.util.spec_from_file_location("gen_records", path)
    assert spec and spec.loader
    gen_records = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gen_records)
    written = Path(records.__file__).read_text()
    assert written.startswith(gen_records.HEAD)
    rendered = {p.stem: gen_records.render(p.with_suffix(".bpf.o")) for p in OBJECTS.glob("*.h")}
    assert rendered.keys() == {"meter", "noise", "profile"}
    for name in vars(records):
        if name.endswith("_LAYOUT"):
            assert f"{name}: Final = Layout(" in rendered[name.partition("_")[0].lower()]


def test_every_object_has_the_same_layouts(btf):
    """The three are compiled from one source; user space has one set of layouts."""
    for name, layout in vars(records).items():
        if not (name.startswith("METER_") and name.endswith("_LAYOUT")):
            continue
        found = btf.find(layout.name, STRUCT)
        assert found and found.size == layout.size, name
        tops = {field.partition(".")[0].partition("[")[0] for field in layout.fields}
        assert [m.name for m in btf.members(found) if m.name not in tops] == []


def test_members_lie_where_the_format_puts_them(btf):
    found = btf.find("meter_record", STRUCT)
    assert found
    fields = records.METER_RECORD_LAYOUT.fields
    for member in btf.members(found):
        first = next(i for i, name in enumerate(fields)
                     if name.partition(".")[0].partition("[")[0] == member.name)  # fmt: skip
        before = records.METER_RECORD_LAYOUT.format[1 : 1 + first]
        assert struct.calcsize("=" + before) == member.offset, member.name


def test_arrays_have_an_element_and_a_length(btf):
    pressure = btf.field("meter_record", "pressure_us")
    assert pressure
    element, length = btf.array(btf.resolved(pressure.type))
    assert (length, btf.size_of(element), btf.size_of(pressure.type)) == (6, 8, 48)


def test_enumerators_are_the_constants(btf):
    for name, value in btf.enum("meter_part").items():
        assert getattr(records, name) == value
    assert btf.enum("meter_part")["METER_VM"] == 128
    assert btf.enum("no_such_enum") == {}


def test_names_are_found_by_their_kind(btf):
    assert btf.has_function("meter") and not btf.has_function("meter_record")
    assert btf.find("meter_record", ENUM) is None
    assert btf.field("meter_record", "no_such_field") is None
    assert btf.field("no_such_struct", "run") is None
    assert btf.find("meter", FUNC) in list(btf.all())


def test_variables_of_a_section_are_its_members(btf):
    section = btf.find(".data.shared", DATASEC)
    assert section
    assert [member.name for member in btf.members(section)] == ["shared"]


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"nonsense" * 100, b"\x9f\xeb\x01\x00"])
def test_what_has_no_types_is_told_in_a_sentence(tmp_path, data):
    (tmp_path / "x.bpf.o").write_bytes(data)
    with pytest.raises(NoBpf, match=r"^x\.bpf\.o has no type information \(BTF\)\.$"):
        Btf.of_object(tmp_path / "x.bpf.o")


@pytest.mark.parametrize("name", [TREE, EACH, MEMCG])
def test_an_object_holds_the_same_programs_and_maps(name):
    found = Object(OBJECTS / name)
    try:
        assert set(found.programs()) == {
            "meter", "received", "sent", "block_issued", "block_requeued", "cgroup_made",
            "cgroup_removed",
        }  # fmt: skip
    finally:
        found.close()
