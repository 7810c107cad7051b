"""The live table, driven by keys and looked at as text."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import wraps

import pytest
from msgspec.structs import replace
from rich.cells import cell_len
from tests.unit.cli.fakes import fake, read
from tests.unit.cli.noises import noisy
from tests.unit.snapshots import HOSTILE
from textual.widgets import Input, Static

from cotenant.cli.palette import DARK
from cotenant.cli.rows import Grouping, View
from cotenant.cli.screen.app import Top
from cotenant.cli.screen.detail import detail, squeezed, upright, value_of
from cotenant.cli.screen.history import LENGTH, History
from cotenant.cli.screen.pages import KEYS, Page
from cotenant.errors import AgentSilent
from cotenant.model import Kind, Lost


@asynccontextmanager
async def top(count=12, size=(110, 30), view=None, **how):
    """The live table after two readings, and who presses its keys."""
    source = fake(count, **how)
    app = Top(source, view or View(), 3600, first=source.read())
    async with app.run_test(size=size) as pilot:
        app.take_in(source.read())
        await pilot.pause()
        yield app, pilot


def lines(app):
    """What is on screen, as lines of text."""
    return [
        "".join(segment.text for segment in strip)
        for strip in app.screen._compositor.render_strips()
    ]


def titles(app):
    return [row.title for row in app.grid.rows]


def run(test):
    """Run an asynchronous test without a plugin."""

    @wraps(test)
    def wrapped(*words, **how):
        asyncio.run(asyncio.wait_for(test(*words, **how), 30))

    return wrapped


@run
async def test_it_shows_the_host_the_tenants_and_the_keys():
    async with top() as (app, _):
        shown = "\n".join(lines(app))
        for word in (
            "cotenant tern", "8 cores", "CPU", "of 800 %", "of 32G", "11 tenants + 1 nested",
            "● live", "from the agent (pid 42, iterator)", "TENANT", "▲ host", "? help", "q quit",
        ):  # fmt: skip
            assert word in shown, word
        assert titles(app)[-1] == "host"


@run
async def test_waits_come_into_the_table_and_the_detail_once_they_are_sensed():
    async with top(3, size=(130, 40), names=["api", "batch-7", "batch-9"]) as (app, pilot):
        assert "WAIT99" not in "\n".join(lines(app))
        app.take_in(replace(app.reading, noise=noisy()))
        await pilot.pause()
        shown = next(line for line in lines(app) if " api " in line)
        assert "12 ms  batch-7" in shown
        app.look(replace(app.view, sort="wait"))
        assert titles(app)[0] == "api"
        await pilot.press("enter")
        await pilot.pause()
        assert "waits for a CPU, last 10 s" in "\n".join(lines(app))
    page = detail(read(1).usages[0], History(), DARK, 80, noisy(HOSTILE[:3]).delays[0])
    assert all(cell_len(text) <= 80 for text in page.plain.splitlines())


@run
async def test_keys_sort_and_the_head_says_so():
    async with top(40) as (app, pilot):
        for key, column in (("m", "memory"), ("w", "write"), ("x", "received"), ("c", "cpu")):
            await pilot.press(key)
            assert app.view.sort == column
        await pilot.press("n")
        assert titles(app)[:-1] == sorted(titles(app)[:-1])
        await pilot.press("n")
        assert titles(app)[:-1] == sorted(titles(app)[:-1], reverse=True)
        assert "TENANT▲" in "\n".join(lines(app))
        await pilot.press("greater_than_sign")
        assert (app.view.sort, app.view.reverse) == ("cpu", False)
        await pilot.press("r")
        assert app.view.reverse


@run
async def test_a_click_on_a_head_sorts():
    async with top(40) as (app, pilot):
        head = next(line for line in lines(app) if "TENANT" in line)
        await pilot.click(app.grid, offset=(head.index("MEMORY") + 2, 0))
        assert app.view.sort == "memory"


@run
async def test_the_filter_works_as_one_types_and_escape_clears_it():
    async with top(40) as (app, pilot):
        everyone = titles(app)
        await pilot.press("slash", *"we")
        await pilot.pause()
        assert app.query_one(Input).has_focus
        assert titles(app)
        assert all("we" in title for title in titles(app))
        await pilot.press("b", "enter")
        await pilot.pause()
        assert app.grid.has_focus
        assert "filter: web" in "\n".join(lines(app))
        await pilot.press("escape")
        await pilot.pause()
        assert titles(app) == everyone


@run
async def test_a_filter_that_finds_nothing_says_so():
    async with top(12) as (app, pilot):
        await pilot.press("slash", *"zzz")
        await pilot.pause()
        assert app.grid.rows == []
        assert "0 of 11 tenants" in "\n".join(lines(app))
        await pilot.press("enter", "down", "space", "enter", "end")  # nothing to act on
        assert app.grid.chosen is None


@run
async def test_nested_ones_open_and_close():
    async with top(12) as (app, pilot):
        assert "worker-5" not in titles(app)
        for _ in range(titles(app).index("queue-4")):
            await pilot.press("down")
        if app.grid.chosen.title != "queue-4":
            await pilot.press("down")
        await pilot.press("space")
        await pilot.pause()
        assert titles(app).index("worker-5") == titles(app).index("queue-4") + 1
        await pilot.press("space", "e")
        await pilot.pause()
        assert "worker-5" in titles(app)


@run
async def test_grouping_goes_round():
    async with top(24) as (app, pilot):
        for grouping in (Grouping.GROUP, Grouping.KIND, Grouping.NONE):
            await pilot.press("g")
            assert app.view.grouping is grouping
        await pilot.press("g", "g", "enter")
        await pilot.pause()
        first = app.grid.rows[0]
        assert first.usage is None
        assert not first.open


@run
async def test_the_chosen_row_is_followed_and_home_lets_go():
    async with top(40) as (app, pilot):
        await pilot.press("n", "down", "down", "down")
        chosen = app.grid.chosen.title
        await pilot.press("n")
        await pilot.pause()
        assert app.grid.chosen.title == chosen
        assert any(chosen in line for line in lines(app))
        await pilot.press("home", "n")
        assert app.grid.chosen is app.grid.rows[0]


@run
async def test_the_detail_shows_every_value_and_none_is_no_zero():
    async with top(12, size=(110, 120)) as (app, pilot):
        index = titles(app).index("queue-4")
        app.grid._go(index)
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, Page)
        shown = lines(app)
        text = "\n".join(shown)
        for word in (
            "queue-4",
            "registry.example/app:1.2",
            "CPU %",
            "peak",
            "first process",
            "CPU quota and throttling",
            "Working set",
        ):
            assert word in text, word

        def told(words: str) -> str:
            return str(next(line for line in shown if line.strip().endswith(words)).split()[0])

        assert told("Memory swapped out") == "–"
        assert told("Page cache being written") == "0"
        assert "_" not in text, "words, not the names of fields"
        await pilot.press("escape")
        assert not isinstance(app.screen, Page)


@run
async def test_the_detail_of_a_tenant_that_went_away_stays():
    async with top(12) as (app, pilot):
        app.grid._go(titles(app).index("api-11"))
        await pilot.press("enter")
        gone = read(6)
        app.take_in(gone)
        await pilot.pause()
        await pilot.press("end")
        await pilot.pause()
        assert isinstance(app.screen, Page)
        assert "It is gone" in str(app.screen.query_one("#page", Static).content)


@run
async def test_help_tells_every_key_and_keys_of_the_table_rest_meanwhile():
    async with top(12, size=(110, 60)) as (app, pilot):
        await pilot.press("question_mark")
        await pilot.pause()
        text = "\n".join(lines(app))
        for keys, does in KEYS:
            assert keys in text
            assert does in text
        await pilot.press("g", "m")
        assert app.view == View()
        await pilot.press("q")
        assert not isinstance(app.screen, Page)


@run
async def test_pause_holds_and_says_so():
    async with top() as (app, pilot):
        await pilot.press("p")
        await pilot.pause()
        assert "‖ paused" in "\n".join(lines(app))


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160, 220])
@run
async def test_every_width_is_readable(width):
    async with top(30, size=(width, 20)) as (app, pilot):
        shown = lines(app)
        assert all(cell_len(line) == width for line in shown)
        text = "\n".join(shown)
        for word in ("TENANT", "CPU %", "MEMORY"):
            assert word in text
        head = next(line for line in shown if "TENANT" in line)
        assert ("WRITE/s" in head) == (width >= 60)
        assert ("TX/s" in head) == (width >= 80)
        await pilot.resize_terminal(50, 20)
        await pilot.pause()
        assert all(cell_len(line) == 50 for line in lines(app))


@pytest.mark.parametrize("width", [40, 80, 140])
@run
async def test_hostile_names_break_nothing(width):
    async with top(names=HOSTILE, size=(width, 40), view=View(all_open=True)) as (app, pilot):
        assert len(app.grid.rows) == len(HOSTILE) + 1
        for grouping in range(3):
            shown = lines(app)
            assert all(cell_len(line) == width for line in shown), grouping
            assert not any(c in line for line in shown for c in "\n\t\r\x1b\x07\u202e\u2066")
            await pilot.press("g")
            await pilot.pause()
        assert "[bold" in "\n".join(lines(app))


@pytest.mark.parametrize("width", [30, 80, 140])
def test_hostile_names_break_no_detail(width):
    reading = read(names=HOSTILE)
    history = History()
    history.note(reading)
    for usage in reading.usages:
        text = detail(usage, history, DARK, width).plain
        assert all(cell_len(line) <= width for line in text.splitlines())
        assert not any(c in text for c in "\t\r\x1b\x07\u202e\u2066")


def test_a_fault_of_the_screen_is_raised_not_drawn(capsys):
    source = fake(3)
    app = Top(source, View(), 0.01, first=source.read())
    app.take_in = None  # type: ignore[assignment,method-assign]

    async def fail():
        async with asyncio.timeout(30), app.run_test():
            while app.fault is None:
                await asyncio.sleep(0.01)

    with pytest.raises(TypeError):
        asyncio.run(fail())
    assert isinstance(app.fault, TypeError)
    assert "Traceback" not in capsys.readouterr().err


@run
async def test_what_is_missing_is_on_screen():
    async with top(lost=Lost(births=3, held=1)) as (app, _):
        assert "▲ missing or late: 3 births unseen, 1 counters held" in "\n".join(lines(app))
    async with top() as (app, _):
        assert "missing or late" not in "\n".join(lines(app))


@run
async def test_an_agent_that_falls_silent_is_told_and_asked_again():
    source = fake(12)
    app = Top(source, View(), 0.01, first=source.read())
    take, silent, asked = source._take, True, 0

    def failing():
        nonlocal asked
        asked += 1
        if silent:
            raise AgentSilent("No agent answers on /run/x.")
        return take()

    source._take = failing
    async with app.run_test(size=(100, 30)) as pilot:
        while asked < 3 or not app.trouble:
            await pilot.pause(0.01)
        assert "No agent answers" in app.trouble
        silent = False
        while app.trouble:
            await pilot.pause(0.01)


@run
async def test_it_ends_after_so_many_samples():
    source = fake(3)
    app = Top(source, View(), 0.01, 2, first=source.read())
    async with app.run_test():
        while app.is_running:
            await asyncio.sleep(0.01)


@run
async def test_lines_that_stay_the_same_are_not_drawn_again():
    async with top(30) as (app, _):
        before = dict(app.grid._drawn)
        app.show_rows()
        assert app.grid._drawn == before
        assert all(app.grid._drawn[y] is before[y] for y in before)


@run
async def test_a_thousand_rows_are_scrolled_through():
    async with top(1000) as (app, pilot):
        await pilot.press("end")
        await pilot.pause()
        assert app.grid.chosen.kind is Kind.HOST
        assert any("host" in line for line in lines(app))
        await pilot.press("pageup", "pageup", "k")
        await pilot.pause()
        assert any(app.grid.chosen.title in line for line in lines(app))
        assert len(app.grid._drawn) <= 30


@run
async def test_light_and_dark():
    async with top() as (app, pilot):
        dark = app.palette
        await pilot.press("l")
        assert app.palette is not dark
        assert app.grid.palette is app.palette


def test_history_keeps_two_minutes_and_forgets_who_went():
    history = History()
    for second in range(0, 2 * LENGTH + 30):
        history.note(read(2 if second < 200 else 1))
    assert len(history.last(1, "cpu_cores")) == LENGTH
    assert history.last(2, "cpu_cores") == []
    assert history.last(1, "memory_bytes", 3) == [history.last(1, "memory_bytes")[-1]] * 3


def test_history_tells_none_from_zero():
    history = History()
    history.note(read(17))
    assert history.last(17, "cpu_cores") == [None]  # the 17th has no CPU time
    assert history.last(1, "read_bytes_rate") == [0.0]


def test_charts_squeeze_to_the_highest_and_leave_gaps():
    assert squeezed([1.0, 5.0, None, 2.0], 2) == [5.0, 2.0]
    assert squeezed([None, None, 2.0], 2) == [None, 2.0]
    assert squeezed([1.0, 5.0, 3.0], 2) == [1.0, 5.0]
    assert squeezed([1.0], 1) == [1.0]
    assert upright([None, 0.0, 1.0, 2.0], 2.0, 2) == ["   █", " ▁██"]


@pytest.mark.parametrize(
    ("value", "unit", "field", "told"),
    [
        (None, "bytes", "swap", "–"),
        (None, "bytes", "limit", "no limit"),
        (0, "bytes", "swap", "0"),
        (1536.0, "bytes/s", "read_bytes_rate", "1.5K/s"),
        (2_500_000, "ns", "usage_ns", "2.5 ms"),
        (0.25, "", "throttled_share", "25.0 %"),
        (12345, "", "pgfault", "12,345"),
    ],
)
def test_values_have_units(value, unit, field, told):
    assert value_of(value, unit, field) == told
