from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from rich.cells import cell_len
from rich.console import Console
from tests.unit.cli.fakes import fake, read
from tests.unit.cli.noises import noisy
from tests.unit.snapshots import HOSTILE

from cotenant.cli import once
from cotenant.cli.rows import Grouping, View, arrange
from cotenant.cli.table import table
from cotenant.model import Lost

GOLDEN = Path(__file__).with_name("once.txt")


def drawn(rows, width):
    console = Console(width=width, no_color=True, highlight=False)
    with console.capture() as caught:
        console.print(table(rows, width))
    return caught.get().splitlines()


def test_the_table_printed_once_is_as_it_was(capsys):
    """To accept a new look: delete once.txt and run again."""
    once.print_once(fake(14), View(all_open=True), 0.01)
    made = capsys.readouterr().out
    if not GOLDEN.exists():
        GOLDEN.write_text(made)
        pytest.fail(f"{GOLDEN.name} was missing and is written: look at it and keep it")
    assert made == GOLDEN.read_text()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
@pytest.mark.parametrize("grouping", list(Grouping))
def test_a_row_is_one_line_that_fits_whatever_its_name(width, grouping):
    rows = arrange(read(names=HOSTILE).usages, View(all_open=True, grouping=grouping))
    lines = drawn(rows, width)
    assert len(lines) == len(rows) + 1
    assert all(cell_len(line) <= width for line in lines)
    assert not any("\x1b" in line or "\t" in line for line in lines)


def test_markup_in_a_name_is_text():
    rows = arrange(read(names=["[bold red]x[/]", "[/]"]).usages, View())
    text = "\n".join(drawn(rows, 100))
    assert "[bold red]x[/]" in text


def test_not_measured_and_zero_look_different():
    rows = arrange(read(17).usages, View())
    lines = {row.title: line for row, line in zip(rows, drawn(rows, 100)[1:], strict=True)}
    assert lines["16-cron.service"].split()[2] == "–"  # its CPU was not measured
    assert lines["web-0"].split()[3] == "0"  # it was never throttled


def test_what_is_missing_is_said(capsys):
    once.print_once(fake(3, lost=Lost(births=2, unknown=1)), View(), 0.01)
    err = capsys.readouterr().err
    assert "missing or late: 2 births unseen, 1 tenants without a name" in err


def test_waits_have_columns_where_they_were_sensed(capsys):
    source = fake(3, names=["api", "batch-7", "batch-9"])
    source._noise = lambda snapshot: noisy()
    once.print_once(source, View(sort="wait"), 0.01)
    lines = capsys.readouterr().out.splitlines()
    head = next(line for line in lines if line.startswith("TENANT"))
    assert "WAIT99" in head and "WAITS FOR" in head
    assert [line.split()[1] for line in lines[4:7]] == ["api", "batch-7", "batch-9"]
    assert "12 ms  batch-7" in lines[4]


def test_json_tells_waits_or_that_there_are_none():
    now = replace(read(names=["api", "batch-7", "batch-9", "other"]), noise=noisy())
    made: Any = once.document(now, View())["tenants"]
    told = {one["tenant"]["name"]: one["waits"] for one in made}
    assert told["api"]["worst"] == "batch-7"
    assert told["api"]["worst_ns"] == 1323000000
    assert told["api"]["p99_ns"] > 10e6
    assert told["other"] is None


def test_hidden_nested_ones_are_counted():
    rows = arrange(read(12).usages, View())
    assert any("queue-4 +1" in line for line in drawn(rows, 100))
