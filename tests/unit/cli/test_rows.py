from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.unit.cli.fakes import read
from tests.unit.snapshots import make

from cotenant.cli.columns import COLUMNS, GAP, SORTABLE, fit, name_width
from cotenant.cli.figures import SUMMED, figures, total
from cotenant.cli.rows import Grouping, View, arrange, matches, order
from cotenant.meter.usage import usages
from cotenant.model import Disk, Kind


def names(rows):
    return [row.title for row in rows]


@pytest.mark.parametrize("sort", SORTABLE)
@pytest.mark.parametrize("reverse", [False, True])
def test_every_column_sorts_and_none_comes_last(sort, reverse):
    rows = arrange(read(40).usages, View(sort=sort, reverse=reverse))[:-1]
    column = next(column for column in COLUMNS if column.key == sort)
    if column.value is None:
        titles = [title.lower() for title in names(rows)]
        assert titles == sorted(titles, reverse=reverse)
        return
    values = [column.value(row.figures) for row in rows]
    known = [value for value in values if value is not None]
    assert values == known + [None] * (len(values) - len(known))
    assert known == sorted(known, reverse=not reverse)


@pytest.mark.parametrize("reverse", [False, True])
def test_host_is_always_last(reverse):
    assert arrange(read(30).usages, View(reverse=reverse))[-1].kind is Kind.HOST


@pytest.mark.parametrize("sort", ["cpu", "write", "name"])
@pytest.mark.parametrize("reverse", [False, True])
def test_what_is_nobodys_stands_before_host(sort, reverse):
    now = replace(make(3), unattributed=(Disk(254, 0, "/dev/vda", 0, 1 << 40, 0, 1),))
    found = usages(now, None)
    view = View(sort=sort, reverse=reverse)
    assert names(arrange(found, view))[-2:] == ["unattributed", "host"]
    assert [row.tenant.name for row in sorted(found, key=order(view))][-2:] == [
        "unattributed", "host",
    ]  # fmt: skip
    assert len(arrange(found, View(words=("unattributed",)))) == 1


def test_rows_that_are_not_nested_sum_to_the_whole():
    reading = read(30)
    rows = arrange(reading.usages, View())
    sums = total(row.figures for row in rows if row.depth == 0)
    assert sums.cpu_cores == pytest.approx(figures(reading.whole).cpu_cores)


def test_nested_ones_show_where_they_are_opened_and_only_there():
    found = read(12).usages
    parent = next(u.tenant for u in found if u.tenant.name == "queue-4")
    closed = arrange(found, View())
    assert "worker-5" not in names(closed)
    assert next(row for row in closed if row.key == parent.key).inside == 1
    opened = arrange(found, View(toggled=frozenset([parent.key])))
    at = names(opened).index("queue-4")
    assert (opened[at + 1].title, opened[at + 1].depth) == ("worker-5", 1)
    assert len(arrange(found, View(all_open=True))) == len(found)
    assert len(arrange(found, View(all_open=True, toggled=frozenset([parent.key])))) == len(closed)


def test_a_filter_finds_nested_ones_and_shows_what_is_around_them():
    rows = arrange(read(12).usages, View(words=("worker-5",)))
    assert names(rows) == ["queue-4", "worker-5"]


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("WEB", True),
        ("container", True),
        ("registry", True),
        ("we*0", True),
        ("we*9", False),
        ("docker", True),
        ("vm", False),
    ],
)
def test_filter_words(word, found):
    assert matches(read(1).usages[0].tenant, word) is found


def test_every_word_must_match():
    rows = arrange(read(30).usages, View(words=("web", "-10")))
    assert names(rows) == ["web-10"]


@pytest.mark.parametrize("grouping", [Grouping.GROUP, Grouping.KIND])
def test_groups_hold_every_row_once_and_sum_it(grouping):
    reading = read(40)
    flat = arrange(reading.usages, View())
    rows = arrange(reading.usages, View(grouping=grouping))
    assert sorted(r.title for r in rows if r.usage) == sorted(names(flat))
    groups = [row for row in rows if row.usage is None]
    cores = sum(row.figures.cpu_cores or 0 for row in groups)
    assert cores == pytest.approx(sum(row.figures.cpu_cores or 0 for row in flat[:-1]))
    closed = arrange(
        reading.usages, View(grouping=grouping, toggled=frozenset(g.key for g in groups))
    )
    assert len(closed) == len(groups) + 1


def test_a_pod_is_a_group():
    rows = arrange(read(12).usages, View(grouping=Grouping.GROUP))
    assert "shop/front-0" in names(rows)


def test_a_sum_of_nothing_measured_is_not_zero():
    found = [replace(usage, cpu_cores=None) for usage in read(4).usages]
    assert total(figures(usage) for usage in found).cpu_cores is None
    assert set(SUMMED) <= set(total([]).__struct_fields__)


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("width", range(20, 240))
def test_columns_fit_at_every_width(width, waits):
    columns = fit(width, waits=waits)
    first = name_width(width, columns)
    assert first + sum(column.width + GAP for column in columns[1:]) <= width
    assert first >= 16


def test_columns_give_way_by_rank():
    assert [column.key for column in fit(39)] == ["name", "cpu", "memory"]
    assert {"cpu", "memory", "read", "write"} <= {column.key for column in fit(60)}
    assert {"received", "sent"} <= {column.key for column in fit(80)}
    assert len(fit(220, waits=True)) == len(COLUMNS)
    assert [c.key for c in COLUMNS if c not in fit(220)] == ["wait", "worst"]
    assert "wait" in {column.key for column in fit(80, waits=True)}
    assert not any(column.live for column in fit(200, live=False))


def test_no_figure_is_wider_than_its_column():
    for row in arrange(read(200).usages, View(all_open=True)):
        for column in COLUMNS:
            if column.text is not None:
                assert len(column.text(row.figures)) <= column.width
