"""The flame graph on a screen, driven by keys and looked at as text."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from contextlib import asynccontextmanager
from functools import wraps

from tests.unit.cli import profiles as made
from tests.unit.cli.profiles import FakeSampler, Maker, hostile, web
from tests.unit.snapshots import HOSTILE
from textual.widgets import Input

from cotenant.cli.flame.app import STEP_S, Flame
from cotenant.cli.flame.pages import KEYS, Help, Top
from cotenant.cli.flame.scene import Scene
from cotenant.cli.flame.tree import Shape
from cotenant.errors import CotenantError
from cotenant.export.profile_files import render


def run(test):
    """Run an asynchronous test without a plugin."""

    @wraps(test)
    def wrapped(*words, **how):
        asyncio.run(asyncio.wait_for(test(*words, **how), 30))

    return wrapped


@asynccontextmanager
async def flame(profile=None, size=(110, 30), sampler=None, base=None, **how):
    """The screen, and who presses its keys."""
    app = Flame(Scene(profile or web(), Shape(**how), base=base), "sampled by itself", sampler)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield app, pilot
    app.let_go()


def lines(app):
    """What is on screen, as lines of text."""
    return [
        "".join(segment.text for segment in strip)
        for strip in app.screen._compositor.render_strips()
    ]


async def until(pilot, met):
    """Waits for what another thread brings about; the test's own time runs out if it does not."""
    while not met():
        await pilot.pause(0.05)


@run
async def test_it_shows_what_was_sampled_and_the_keys():
    async with flame() as (app, _):
        shown = "\n".join(lines(app))
        for word in (
            "cotenant cpu", "902 samples", "10.0 s", "unwound fully 99.7 %", "all tenants (3)",
            "■ Python", "■ kernel", "Template.render.<locals>.cell", "node-api", "100 % 9.1 s",
            "? help", "q quit",
        ):  # fmt: skip
            assert word in shown, word
        assert "live" not in shown and "freeze" not in shown


@run
async def test_keys_walk_and_the_last_lines_tell_of_the_box():
    async with flame(tenant="web") as (app, pilot):
        await pilot.press("G")
        assert "PyDict_GetItem" in lines(app)[-3]
        for key, name in (("k", made.RENDER.name), ("right", "digest"), ("down", "sha256"),
                          ("h", "PyDict"), ("home", "web"), ("j", "python3")):  # fmt: skip
            await pilot.press(key)
            await pilot.pause()
            assert name in lines(app)[-3], key
        await pilot.press("G", "up")
        await pilot.pause()
        assert re.search(
            r"53\.3 % 4\.0 s +self 41\.3 % +Python +/srv/app/templates", lines(app)[-2]
        )


@run
async def test_enter_zooms_and_escape_and_backspace_lead_out():
    async with flame(tenant="web") as (app, pilot):
        await pilot.press("G", "up", "enter")
        assert app.scene.zoom.frame == made.RENDER
        await pilot.press("down")
        await pilot.pause()
        assert "22.5 % of the zoom" in lines(app)[-2]
        await pilot.press("escape", "backspace")
        assert app.scene.zoom.frame.name == "serve_forever"
        await pilot.press("0")
        assert app.scene.zoom is app.scene.root


@run
async def test_a_click_chooses_and_another_one_zooms():
    async with flame() as (app, pilot):
        row = next(y for y, line in enumerate(lines(app)) if "node-api" in line)
        x = lines(app)[row].index("node-api")
        await pilot.click(offset=(x, row))
        assert app.scene.node.frame.name == "node-api"
        await pilot.click(offset=(x, row))
        assert app.scene.zoom.frame.name == "node-api"


@run
async def test_a_search_finds_as_one_types_and_n_goes_on():
    async with flame(tenant="web") as (app, pilot):
        await pilot.press("slash", *"dict")
        await pilot.pause()
        assert "“dict” 2 found, 20.0 %" in lines(app)[1]
        await pilot.press("enter")
        assert app.scene.node.parent.frame == made.RENDER
        await pilot.press("n")
        assert app.scene.node.parent.frame.name == "parse_query"
        await pilot.press("N")
        assert app.scene.node.parent.frame == made.RENDER
        await pilot.press("escape")
        await pilot.pause()
        assert not app.scene.word and "found" not in lines(app)[1]
        await pilot.press("slash", *"zzz", "escape")
        assert app.focused is app.icicle
        assert not app.query_one(Input).value


@run
async def test_tenant_inverted_lines_and_colours():
    async with flame() as (app, pilot):
        await pilot.press("t")
        await pilot.pause()
        assert "of web" in lines(app)[1]
        await pilot.press("i")
        await pilot.pause()
        assert "inverted" in lines(app)[1]
        assert app.scene.root.children[0].frame.name == made.RENDER.name
        await pilot.press("i", "L")
        await pilot.pause()
        assert "by line" in lines(app)[1]
        assert "Template.render.<locals>.cell:128" in "\n".join(lines(app))
        await pilot.press("c")
        await pilot.pause()
        assert "by name" in lines(app)[1]
        await pilot.press("T")
        assert app.scene.shape.tenant is None


@run
async def test_the_table_sorts_and_leads_back_to_a_function():
    async with flame() as (app, pilot):
        await pilot.press("s")
        await pilot.pause()
        assert isinstance(app.screen, Top)
        first = lines(app)[1]
        assert first.split()[:2] == ["34.4", "44.3"] and "templates.py:120" in first
        await pilot.press("s")
        await pilot.pause()
        assert lines(app)[1].split()[1] == "99.4"
        await pilot.press("s", "j", "enter")
        await pilot.pause()
        assert app.scene.node.frame.name == "sha256_block_data_order"
        await pilot.press("s", "q")
        await pilot.pause()
        assert "q quit" in lines(app)[-1]


@run
async def test_help_tells_every_key():
    async with flame(size=(110, 50)) as (app, pilot):
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, Help)
        shown = "\n".join(lines(app))
        assert all(keys in shown and does in shown for keys, does in KEYS)
        await pilot.press("t")  # the graph's keys sleep
        assert app.scene.shape.tenant is None
        await pilot.press("escape")
        assert not isinstance(app.screen, Help)


@run
async def test_what_has_changed_is_told_in_points():
    async with flame(base=web(2)) as (app, pilot):
        await pilot.press("j")
        await pilot.pause()
        assert "more than before" in lines(app)[1]
        assert re.search(r"-\d+\.\d points", lines(app)[-2])


@run
async def test_live_it_renews_itself_and_freezes():
    sampler = FakeSampler(web())
    async with flame(Maker().made(), sampler=sampler) as (app, pilot):
        assert "● live" in lines(app)[0]
        await until(pilot, lambda: "902 samples" in lines(app)[0])
        waited = len(sampler.waits)
        assert sampler.steps >= waited - 1 and max(sampler.waits) <= STEP_S
        await pilot.press("G", "z")
        chosen = app.scene.node.path
        await pilot.pause()
        assert "‖ frozen" in lines(app)[0]
        sampler.parts.append(web())
        await until(pilot, lambda: not sampler.parts)
        await pilot.pause(0.3)
        assert "902 samples" in lines(app)[0]
        await pilot.press("z")
        await until(pilot, lambda: "1,804 samples" in lines(app)[0])
        assert app.scene.node.path == chosen
    assert sum(stack.count for stack in app.scene.profile.stacks) == 1804


@run
async def test_a_sense_that_fails_is_told_and_the_picture_stays():
    class Broken(FakeSampler):
        def step(self):
            raise CotenantError("The kernel refused.")

    async with flame(sampler=Broken()) as (app, pilot):
        await until(pilot, lambda: app.trouble)
        await pilot.pause()
        shown = "\n".join(lines(app))
        assert "The kernel refused. Sampling has ended." in shown and "902 samples" in shown


@run
async def test_hostile_names_and_small_screens_are_drawn():
    for size in ((110, 30), (40, 12), (12, 6)):
        async with flame(hostile(HOSTILE), size=size) as (app, pilot):
            await pilot.press("j", "j", "j", "s", "j", "enter", "i", "L", "c", "t")
            await pilot.pause()
            shown = "\n".join(lines(app))
            assert not set(shown) & {"\x1b", "\r", "\t", "\u202e", "\u2066", "\udcff"}


def test_on_a_terminal_a_file_opens_the_screen_and_q_leaves_it(tmp_path):
    path = tmp_path / "stored.json"
    path.write_bytes(render("stored.json", web()))
    door, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    words = [sys.executable, "-m", "cotenant", "profile", str(path)]
    env = os.environ | {"TERM": "xterm-256color"}
    verb = subprocess.Popen(words, stdin=inside, stdout=inside, stderr=inside, env=env)
    os.close(inside)
    seen, asked = b"", False
    try:
        while select.select([door], [], [], 25)[0]:
            try:
                seen += os.read(door, 1 << 16)
            except OSError:  # it has ended
                break
            if not asked and b"digest" in seen:
                asked = bool(os.write(door, b"q"))
        assert asked, seen[-500:]
        assert verb.wait(10) == 0
    finally:
        verb.kill()
        verb.wait()
        os.close(door)
    assert b"unwound fully 99.7 %" in seen
    assert seen.count(b"\x1b[?1049h") == seen.count(b"\x1b[?1049l") == 1  # the screen is given back
