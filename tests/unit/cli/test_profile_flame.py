"""The tree, how it lies on the screen, and how it is drawn: pure."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.cells import cell_len
from tests.unit.cli import profiles as made
from tests.unit.cli.profiles import Maker, hostile, web, wild
from tests.unit.snapshots import HOSTILE

from cotenant.cli.flame.colours import Colouring, change, colour, ink, mixed
from cotenant.cli.flame.head import State, detail, lines
from cotenant.cli.flame.layout import EIGHTHS, at, find, layout
from cotenant.cli.flame.paint import line
from cotenant.cli.flame.scene import Scene
from cotenant.cli.flame.tree import Shape, Sort, functions, tenants, tree
from cotenant.cli.flame.words import label
from cotenant.cli.palette import DARK
from cotenant.model import Frame, FrameKind


def drawn(scene):
    return ["".join(s.text for s in line(row, scene, DARK)) for row in scene.rows]


# The tree


def test_the_tree_weighs_what_the_stacks_weigh():
    profile = web()
    root = tree(profile)
    assert root.total == sum(stack.value for stack in profile.stacks)
    assert names_below(root) == ["web", "node-api", "host"]
    assert [node.sort for node in root.children[0].ancestors] == [Sort.ALL, Sort.TENANT]
    deepest = list(root.walk())[-1]
    assert tree(profile).at(deepest.path).path == deepest.path
    assert tree(profile).at((*deepest.path, deepest.name)).path == deepest.path


def names_below(node):
    return [child.frame.name for child in node.children]


def test_lines_of_a_function_are_one_box_unless_told_apart():
    roots = [tree(web(), Shape("web", lines=lines)) for lines in (False, True)]
    named = [[n for n in root.walk() if n.frame.name == made.RENDER.name] for root in roots]
    assert [len(nodes) for nodes in named] == [1, 2]
    assert [node.frame.line for node in named[1]] == [128, 131]


def test_inverted_what_ran_is_on_top_and_its_callers_below():
    root = tree(web(), Shape("web", inverted=True))
    top = root.children[0]
    assert top.frame.name == made.RENDER.name
    assert top.total == 310 * made.PERIOD
    last = list(top.walk())[-1]
    assert last.sort is Sort.PROCESS
    assert root.total == tree(web(), Shape("web")).total


def test_a_function_that_calls_itself_counts_once_per_stack():
    frame = Frame("fib", FrameKind.PYTHON, "fib.py", 3, 1)
    profile = Maker().add(5, frame, frame, frame).add(2, frame).made()
    (fib,) = functions(profile)
    assert (fib.own, fib.total) == (7 * made.PERIOD, 7 * made.PERIOD)


def test_functions_and_tenants_come_heaviest_first():
    found = functions(web())
    assert [one.frame.name for one in found[:3]] == [
        "Template.render.<locals>.cell", "sha256_block_data_order", "PyDict_GetItem",
    ]  # fmt: skip
    assert sum(one.own for one in found) == tree(web()).total
    assert [name for name, _ in tenants(web())] == ["web", "node-api", "host"]
    assert functions(web(), "host")[0].total == 2 * made.PERIOD


@given(st.integers(0, 10_000), st.booleans(), st.booleans())
def test_every_box_weighs_its_own_and_what_is_below(seed, inverted, by_line):
    for node in tree(wild(seed), Shape(None, inverted, by_line)).walk():
        assert node.total == node.own + sum(child.total for child in node.children)
        assert all(child.parent is node for child in node.children)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_shares_before_and_now_are_compared(seed, before):
    base = wild(before)
    root = tree(wild(seed), Shape(), base)
    assert root.before == sum(stack.value for stack in base.stacks)
    assert change(root, root) == bool(root.total) - bool(root.before)
    assert all(-1 <= change(node, root) <= 1 for node in root.walk())


# How it lies


@given(st.integers(0, 10_000), st.integers(1, 300), st.booleans(), st.integers(0, 1000))
def test_boxes_lie_within_their_callers_and_never_overlap(seed, cells, inverted, pick):
    root = tree(wild(seed), Shape(inverted=inverted))
    nodes = list(root.walk())
    zoom = nodes[pick % len(nodes)]
    rows = layout(zoom, cells)
    depth = len(zoom.ancestors)
    for number, row in enumerate(rows):
        edge = 0
        for span in row:
            assert edge <= span.left < span.right <= cells * EIGHTHS
            edge = span.right
            if number:
                above = [one for one in rows[number - 1] if one.node is span.node.parent]
                assert len(above) == 1
                assert above[0].left <= span.left and span.right <= above[0].right
        if number < depth:
            assert [(s.left, s.right) for s in row] == [(0, cells * EIGHTHS)]
    for row in rows[depth - 1 :]:
        for span in row:
            exact = span.node.total * cells * EIGHTHS / (zoom.total or span.node.total or 1)
            assert abs(span.right - span.left - exact) < 1 or not zoom.total
    assert all(find(rows, span.node) == (n, p) for n, row in enumerate(rows)
               for p, span in enumerate(row))  # fmt: skip


@given(st.integers(0, 10_000), st.integers(1, 200), st.integers(0, 1000))
def test_every_row_fills_exactly_its_width(seed, cells, pick):
    scene = Scene(wild(seed), Shape(), width=cells)
    nodes = list(scene.root.walk())
    scene.zoom = nodes[pick % len(nodes)]
    scene.search("f3")
    scene._lay()
    assert {cell_len(text) for text in drawn(scene)} == {cells}


def test_neighbours_with_the_same_colour_have_two_shades():
    frames = [Frame(f"g{i}", FrameKind.NATIVE) for i in range(5)]
    maker = Maker()
    for frame in frames:
        maker.add(10, frame)
    scene = Scene(maker.made(), Shape("web"), width=50)
    for row in scene.rows:
        shades = [colour(span.node, Colouring.KIND, span.shade, scene.root) for span in row]
        assert all(one != other for one, other in pairwise(shades))


def test_thin_boxes_are_drawn_to_an_eighth():
    maker = Maker()
    maker.add(100, Frame("wide", FrameKind.NATIVE)).add(28, Frame("thin", FrameKind.KERNEL))
    scene = Scene(maker.made(), Shape("web"), width=10)  # 128 samples over 80 eighths
    assert [(s.left, s.right) for s in scene.rows[2]] == [(0, 62), (62, 80)]
    strip = line(scene.rows[2], scene, DARK)
    assert "".join(s.text for s in strip) == " wide  ▊  "
    cell: Any = list(strip)[1]
    wide, thin = (
        colour(s.node, Colouring.KIND, s.shade, scene.root) for s in scene.rows[2]
    )  # fmt: skip
    assert (cell.style.color.name, cell.style.bgcolor.name) == (wide, thin)


def test_a_cell_of_many_boxes_shows_the_widest_and_a_lone_sliver_is_seen():
    maker = Maker()
    for number, weight in enumerate((60, 9, 5, 3, 2, 1)):
        maker.add(weight, Frame(f"g{number}", FrameKind.NATIVE))
    scene = Scene(maker.made(), Shape("web"), width=10)
    (text,) = {text for text in drawn(scene)[2:]}
    assert cell_len(text) == 10
    maker = Maker().add(99, Frame("a", FrameKind.NATIVE))
    maker.add(1, Frame("a", FrameKind.NATIVE), Frame("b", FrameKind.PYTHON))
    scene = Scene(maker.made(), Shape("web"), width=20)
    assert drawn(scene)[3] == "▏" + " " * 19


def test_the_box_under_a_cell_is_the_one_that_has_most_of_it():
    scene = Scene(web(), Shape(), width=80)
    first, last = at(scene.rows[1], 0), at(scene.rows[1], 75)
    assert first and first.node.frame.name == "web"
    assert last and last.node.frame.name == "node-api"
    assert at(scene.rows[-1], 79) is None


# What is drawn


def test_hostile_names_do_nothing_to_the_screen():
    profile = hostile(HOSTILE)
    for width in (20, 80, 200):
        scene = Scene(profile, Shape(), width=width)
        for word in ("", "a", "\x1b"):
            scene.search(word)
            for text in drawn(scene):
                assert cell_len(text) == width
                assert not set(text) & {"\x1b", "\n", "\r", "\t", "\u202e", "\u2066", "\udcff"}
        for node in scene.root.walk():
            scene.node = node
            told = detail(scene, DARK, width).plain.splitlines()
            assert len(told) == 2
            assert max(map(cell_len, told)) <= width
        told = lines(scene, State("from \x1b[31m"), DARK, width).plain.splitlines()
        assert max(map(cell_len, told)) <= width


@pytest.mark.parametrize(
    ("name", "width", "told"),
    [
        ("main", 10, "main"),
        ("ns::Klass::method(int, char)", 30, "ns::Klass::method(int, char)"),
        ("ns::Klass::method(int, char)", 20, "ns::Klass::method"),
        ("ns::Klass::method(int, char)", 8, "method"),
        ("ns::Klass::operator()(int)", 20, "operator()"),
        ("std::vector<int>::push_back(int&&)", 12, "push_back"),
        ("std::map<a<b>, c>::find<d>(e (*)(f)) const", 20, "std::map::find"),
        ("net/http.(*conn).serve", 10, "serve"),
        ("tcp_ack.isra.0", 11, "tcp_ack.is…"),
        ("core::FnOnce::call_once{{vtable.shim}}", 26, "call_once{{vtable.shim}}"),
        ("operator<(A const&, B const&)", 40, "operator<(A const&, B const&)"),
        ("libc.so.6+0x27304", 12, "libc.so.6+0…"),
        ("Outer.<locals>.inner", 10, "inner"),
        ("<lambda>", 6, "<lamb…"),
        ("LazyCompile:*route /srv/a.js:12", 12, "LazyCompile…"),
        ("[cut: no unwind table]", 10, "[cut: no…"),
        ("anything", 1, ""),
        ("한국어", 4, "한…"),
        ("כלב גדול", 5, "כלב…\u200e"),
    ],
)
def test_a_name_says_most_in_little_room(name, width, told):
    assert label(Frame(name, FrameKind.NATIVE), width) == told


def test_a_line_is_told_where_lines_are_apart():
    assert label(made.RENDER, 40, line=True) == "Template.render.<locals>.cell:128"
    assert label(made.RENDER, 8, line=True) == "cell:128"
    assert label(made.RENDER, 5, line=True) == "cell"


def test_colours_are_mixed_and_read():
    assert mixed("#000000", "#ffffff", 0.5) == "#808080"
    assert (ink("#ffffff"), ink("#101418")) == ("#0b0e11", "#ffffff")
    grown, shrunk = (
        colour(tree(now, Shape(), base).children[0].children[0], Colouring.CHANGE, 0,
               tree(now, Shape(), base))
        for now, base in ((web(3), web()), (web(), web(3)))
    )  # fmt: skip
    assert grown != shrunk


# Walking through it


def scene(**how):
    return Scene(web(), Shape(how.pop("tenant", "web"), **how), width=100)


def test_keys_lead_to_callers_callees_and_neighbours():
    here = scene()
    here.deepest()
    assert here.node.frame.name == "PyDict_GetItem"
    here.up()
    assert here.node.frame.name == made.RENDER.name
    here.aside(1)
    assert here.node.frame.name == "digest"
    here.down()
    assert here.node.frame.name == "sha256_block_data_order"
    here.aside(99)
    assert here.node.frame.name == "tcp_sendmsg"
    here.first()
    here.up()
    assert here.node is here.root


def test_zooming_gives_the_full_width_and_out_goes_back():
    here = scene()
    here.show_function(next(f.name for f in functions(web()) if f.frame.name == "digest"))
    here.into()
    depth, _ = here.place
    assert [len(row) for row in here.rows[: depth + 1]] == [1] * (depth + 1)
    here.first()
    here.down()
    here.down()
    assert here.node in here.zoom.ancestors  # above the zoom, down leads towards it
    assert here.out() and here.zoom.frame.name == "Handler.do_GET"
    here.whole()
    assert here.zoom is here.root and not here.out()


def test_a_search_counts_what_it_found_once_and_goes_from_one_to_the_next():
    here = scene()
    here.search("PYDICT")
    assert here.hits == 2
    assert here.found_weight == 150 * made.PERIOD
    met = []
    for _ in range(3):
        here.next(1)
        met.append(here.node.parent.frame.name)
    assert met == [made.RENDER.name, "parse_query", made.RENDER.name]
    here.next(-1)
    assert here.node.parent.frame.name == "parse_query"
    here.search("libpython")  # all below Py_BytesMain is below one that was found
    assert here.found_weight == here.root.total - 3 * made.PERIOD
    here.search("no such")
    assert (here.hits, here.next()) == (0, False)


def test_what_has_no_room_gets_it_when_a_search_goes_there():
    maker = Maker().add(100_000, Frame("big", FrameKind.NATIVE))
    maker.add(1, Frame("outer", FrameKind.NATIVE), Frame("needle", FrameKind.NATIVE))
    here = Scene(maker.made(), Shape("web"), width=40)
    here.search("needle")
    assert here.next()
    assert here.node.frame.name == "needle" and find(here.rows, here.node)


def test_newer_figures_leave_the_reader_where_they_are():
    here = scene()
    here.search("dict")
    here.show_function(next(f.name for f in functions(web()) if f.frame.name == "digest"))
    here.into()
    here.aside(0)
    before = (here.zoom.path, here.node.path)
    here.take(web(5))
    assert (here.zoom.path, here.node.path) == before
    assert here.hits == 2 and here.root.total > tree(web(), Shape("web")).total
    here.take(Maker().add(1, made.START).made())  # what was chosen is gone
    assert here.node.frame.name == "_start"
    here.take(replace(web(), stacks=()))
    assert here.node is here.root and here.root.total == 0
    assert drawn(here)[0].startswith(" web")


def test_tenants_one_after_the_other_then_all():
    here = scene(tenant=None)
    met = []
    for _ in range(4):
        here.next_tenant()
        met.append(here.shape.tenant)
    assert met == ["web", "node-api", "host", None]
    here.next_tenant(-1)
    assert here.shape.tenant == "host"


def test_colours_go_round_and_change_is_only_there_to_compare():
    here = scene()
    ways = [here.colouring, *(here.recolour() or here.colouring for _ in range(2))]
    assert ways == [Colouring.KIND, Colouring.NAME, Colouring.KIND]
    other = Scene(web(), Shape(), base=web(2))
    assert other.colouring is Colouring.CHANGE
