"""The page in a real browser: what a reader can do, what it shows, and that nothing leaves it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.unit.export.profiles import HOSTILE, Maker, busy, hostile, python, small, tenant
from tests.web.chromium import Browser, Page

from cotenant.export import flame_html, flame_svg
from cotenant.model import Profile

ROW = 19
NAMES = "_start __libc_start_main_impl _PyEval_EvalFrameDefault <module>".split()
NAMES += ["Server.serve_forever", "Handler.do_GET", "Handler.rank", "list_sort_impl"]


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> object:
    """Opens a profile's page and hands it over; fails where the browser complained."""
    pages: list[tuple[Page, str]] = []

    def opened(profile: Profile, base: Profile | None = None) -> Page:
        file = tmp_path / f"{len(pages)}.html"
        file.write_bytes(flame_html.render(profile, base, host="node-1"))
        page = browser.open(file.as_uri())
        pages.append((page, file.as_uri()))
        return page

    yield opened
    for page, address in pages[-1:]:
        assert page.complaints() == []
        assert [r for r in page.requests() if not r.startswith("data:")] == [address]


def hover(page: Page, depth: int, share: float = 0.25) -> str:
    """What the tooltip says of the box at this depth, so far from the left."""
    box = page.box("#graph")
    page.move(box["x"] + box["w"] * share, box["y"] + ROW * depth + ROW / 2)
    return page.text("#tip") if page.run("!document.querySelector('#tip').hidden") else ""


def click(page: Page, depth: int, share: float = 0.25) -> None:
    box = page.box("#graph")
    page.click(box["x"] + box["w"] * share, box["y"] + ROW * depth + ROW / 2)


def find(page: Page, text: str) -> str:
    page.run("document.querySelector('#search').value = ''")
    page.press("/")
    page.write(text)
    page.press("Enter")
    return page.text("#matched")


def pixel(page: Page, depth: int, share: float) -> tuple[int, int, int]:
    box = page.box("#graph")
    return page.pixel(round(box["x"] + box["w"] * share), round(box["y"] + ROW * depth + 3))


def test_the_head_tells_what_when_and_how_well(show) -> None:
    page = show(small())
    assert page.text("h1") == "Where the CPU time goes"
    facts = page.text("#facts")
    for said in ("node-1", "21 Sept 2026", "10 s", "100 samples", "1.01 s in all", "99 Hz"):
        assert said in facts, facts
    quality = page.text("#quality")
    for said in ("unwound fully 95.0 %", "cut: no unwind table 5.0 %", "dropped 2", "idle 800"):
        assert said in quality, quality
    assert page.text("#notes") == "Ruby 3.1 in web: native frames only."
    legend = page.texts("#legend button")
    assert legend == ["kernel 30.0 %", "native 35.0 %", "python 10.0 %", "jit 25.0 %"]


def test_every_box_tells_name_place_weight_and_share(show) -> None:
    page = show(small())
    told = [hover(page, depth) for depth in range(11)]
    assert [text.splitlines()[0] for text in told] == ["all tenants", "web", "python3", *NAMES]
    rank = told[9]
    assert "python · /srv/app.py:52 · 40 samples" in rank
    assert "404 ms\t101 ms" in rank and "40.0 %\t10.0 %" in rank
    assert hover(page, 11) == "" and hover(page, 4, 0.99).startswith("wb\nkernel · ext4")


def test_tabs_are_tenants_by_weight(show) -> None:
    page = show(busy(800))
    names = page.texts("#tabs bdi")
    assert names[0] == "All" and len(names) == 6 and names[1] == "shop/web"
    shares = [float(text.split()[0]) for text in page.texts("#tabs small")[1:]]
    assert shares == sorted(shares, reverse=True) and 99.5 < sum(shares) < 100.5
    page.click_on("#tabs button:nth-child(4)")
    assert page.texts("#crumbs li") == ["postgres"]
    assert hover(page, 0).startswith("postgres\ntenant")
    page.press("2")
    assert page.texts("#crumbs li") == ["shop/web"]
    page.press("Backspace")
    page.press("Backspace")
    assert page.texts("#crumbs li") == ["all tenants"]


def test_a_profile_of_one_tenant_has_no_other_tab(show) -> None:
    one = small()
    page = show(replace(one, stacks=tuple(s for s in one.stacks if s.tenant == 0)))
    assert hover(page, 0).startswith("web\ntenant") and len(page.texts("#tabs button")) == 1


def test_search_marks_what_fits_and_tells_its_share(show) -> None:
    page = show(small())
    plain = pixel(page, 9, 0.2)
    assert find(page, "rank").startswith("40.0 % 404 ms in 1 name")
    assert pixel(page, 9, 0.2) != plain
    assert [row.split("\n")[0] for row in page.texts("#top tr")] == ["Handler.rank"]
    assert find(page, "APP.PY").startswith("55.0 %")  # by file, whatever the case; counted once
    assert find(page, "/^tcp_|^wb$/").startswith("30.0 % 303 ms in 2 names")
    assert find(page, "/(/") == "Not a valid pattern."
    assert find(page, "no such thing").startswith("0 %")
    assert page.texts("#top tr") == ["No function matches."]
    page.press("Escape")
    assert page.text("#matched") == "" and pixel(page, 9, 0.2) == plain
    assert page.run("document.querySelector('#search').value") == ""


def test_zoom_and_the_ways_back(show) -> None:
    page = show(small())
    click(page, 9)
    assert page.texts("#crumbs li") == [
        "all tenants", "web", "…", "Server.serve_forever", "Handler.do_GET", "Handler.rank",
    ]  # fmt: skip
    assert hover(page, 9, 0.9).startswith("Handler.rank")  # as wide as the page now
    assert "of what is zoomed\t75.0 %" in hover(page, 10, 0.5)
    assert find(page, "list_sort").startswith("75.0 %")
    page.press("Escape")  # the search
    page.press("Escape")  # one out
    assert page.texts("#crumbs li")[-1] == "Handler.do_GET"
    page.press("Backspace")
    assert page.texts("#crumbs li")[-1] == "Handler.rank"
    page.click_on("#back")
    assert page.texts("#crumbs li") == ["all tenants"]
    assert page.run("document.querySelector('#back').disabled")
    click(page, 9)
    page.click_on("#crumbs li:nth-child(2) button")
    assert page.texts("#crumbs li") == ["all tenants", "web"]
    click(page, 0)  # the box of a caller zooms out too
    assert page.texts("#crumbs li") == ["all tenants"]


def test_keys_walk_from_box_to_box(show) -> None:
    page = show(small())
    page.run("document.querySelector('#graph').focus()")
    said = []
    for key in ["ArrowDown", "ArrowDown", "ArrowRight", "ArrowDown", "ArrowDown", "ArrowUp"]:
        page.press(key)
        said.append(page.text("#told").split(",")[0])
    assert said == ["all tenants", "web", "node", "node", "node::Start", "node"]
    page.press("Enter")
    assert page.texts("#crumbs li") == ["all tenants", "node", "node"]
    page.press("i")
    page.press("ArrowUp")
    assert page.text("#told").split(",")[0] == "node::Start"


def test_turned_over_callers_are_below(show) -> None:
    page = show(small())
    page.click_on("#direction button:nth-child(2)")
    box = page.box("#graph")
    page.move(box["x"] + 20, box["y"] + box["h"] - ROW / 2)
    assert page.text("#tip").startswith("all tenants")
    page.move(box["x"] + 20, box["y"] + box["h"] - ROW * 10.5)
    assert page.text("#tip").splitlines()[0] == "list_sort_impl"


def test_lines_of_a_function_are_apart_if_asked(show) -> None:
    page = show(small())
    page.click_on("#detail button:nth-child(2)")
    rows = [row.split("\n")[:2] for row in page.texts("#top tr")]
    assert ["Handler.rank", "/srv/app.py:57"] in rows and ["Handler.rank", "/srv/app.py:59"] in rows
    page.click_on("#detail button:nth-child(1)")
    assert sum(row.startswith("Handler.rank") for row in page.texts("#top tr")) == 1


def test_the_table_is_sorted_as_asked_and_picks_functions_out(show) -> None:
    page = show(small())
    first = page.text("#top tr").split("\n")[0]
    assert first == "list_sort_impl"
    page.click_on("#heads th:nth-child(3) button")
    totals = [
        float(row.split("\n")[-2].split("\t")[-1].split(" ")[0]) for row in page.texts("#top tr")
    ]
    assert totals == sorted(totals, reverse=True) and totals[0] == 55.0
    page.click_on("#heads th:nth-child(1) button")
    names = [row.split("\n")[0] for row in page.texts("#top tr")]
    assert names == page.run(f"{names!r}.sort((a, b) => a.localeCompare(b))")
    page.run(
        "[...document.querySelectorAll('#top tr')].find(r => /rank/.test(r.innerText)).click()"
    )
    assert page.text("#matched").startswith("40.0 %")
    page.press("Escape")
    assert page.text("#matched") == ""


def test_a_recursive_function_counts_once(show) -> None:
    make = Maker(tenant(1, "web"))
    fib = python("fib", "/a.py", 2, 1)
    make.add(0, "python3", [fib] * 5, 3)
    make.add(0, "python3", [python("main", "/a.py", 9, 8)], 1)
    page = show(make.profile())
    assert page.text("#top tr").split()[2:4] == ["75.0", "%"]
    assert "100 %" not in page.text("#top tr")
    assert find(page, "fib").startswith("75.0 %")


def test_a_kind_of_code_can_be_picked_out(show) -> None:
    page = show(small())
    page.click_on("#legend button:nth-child(3)")
    assert page.text("#matched").startswith("55.0 %")
    assert {row.split("\n")[0] for row in page.texts("#top tr")} == {
        "<module>", "Server.serve_forever", "Handler.do_GET", "Handler.rank",
    }  # fmt: skip


def test_light_and_dark_follow_the_system(show) -> None:
    page = show(small())
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.run(ground), pixel(page, 9, 0.2)
    page.dark(True)
    dark = page.run(ground), pixel(page, 9, 0.2)
    assert light[0] == "rgb(251, 251, 250)" and dark[0] == "rgb(21, 24, 28)"
    assert sum(dark[1]) < sum(light[1]) - 150
    page.dark(False)
    assert pixel(page, 9, 0.2) == light[1]


def test_a_difference_is_red_where_there_is_more_and_blue_where_there_is_less(show) -> None:
    before = small()
    stacks = [replace(s, count=s.count * 3, value=s.value * 3) if i == 4 else s
              for i, s in enumerate(before.stacks) if i != 5]  # fmt: skip
    page = show(replace(before, stacks=tuple(stacks)), before)
    node, web = pixel(page, 1, 0.5), pixel(page, 1, 0.99)
    assert node[0] > node[2] + 40 and web[2] > web[0] + 10
    told = hover(page, 1, 0.1)
    assert told.startswith("node") and "55.6 %" in told and "25.0 %" in told and "+30.6" in told
    rows = page.texts("#top tr")
    (hot,) = [row for row in rows if row.startswith("LazyCompile")]
    assert hot.endswith("+30.6")
    (gone,) = [row for row in rows if row.startswith("wb")]
    assert gone.endswith("\N{MINUS SIGN}15.0")
    page.click_on("#widths button:nth-child(2)")  # as it was before: what is gone has its width
    assert hover(page, 1, 0.95).startswith("host")
    assert "compared with before" in page.text("h1")


def test_hostile_names_are_shown_and_not_believed(show) -> None:
    page = show(hostile(), hostile())
    assert page.run("document.scripts.length") == 2
    assert page.run("document.querySelectorAll('#tabs script, #top script').length") == 0
    tabs = page.texts("#tabs button")
    assert len(tabs) == len(HOSTILE) + 1
    assert any("</script><script>alert(1)</script>" in text for text in tabs)
    assert any("\\u202egnp.exe" in text for text in tabs)
    for name in range(2, len(HOSTILE) + 2):
        page.click_on(f"#tabs button:nth-child({name})") if name < 7 else page.run(
            f"document.querySelector('#tabs button:nth-child({name})').click()"
        )
        for depth in range(5):
            assert hover(page, depth)
    assert page.run("document.documentElement.scrollWidth <= innerWidth")


def test_an_empty_profile_is_a_page_too(show) -> None:
    empty = replace(small(), stacks=(), frames=(), tenants=())
    page = show(empty)
    assert "0 samples" in page.text("#facts") and hover(page, 0).startswith("all tenants")


def test_the_policy_lets_no_script_and_no_connection_through(show) -> None:
    page = show(small())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.3)
        port = listener.getsockname()[1]
        page.run(f"""(async () => {{
            const there = "http://127.0.0.1:{port}/";
            await fetch(there).then(() => {{ throw "fetched" }}, () => 0);
            const image = new Image(); image.src = there; document.body.append(image);
            const code = document.createElement("script");
            code.textContent = "window.ran = 1"; document.body.append(code);
            const other = document.createElement("script"); other.src = there;
            document.body.append(other);
            const bold = document.createElement("b"); document.body.append(bold);
            bold.setAttribute("onclick", "window.ran = 1"); bold.click();
            try {{ new WebSocket("ws://127.0.0.1:{port}/") }} catch {{ }}
            await new Promise(done => setTimeout(done, 200));
        }})()""")
        assert page.run("window.ran") is None
        with pytest.raises(TimeoutError):
            listener.accept()
    assert len(page.complaints()) >= 5  # one per refusal: here they are wanted
    page.forget()


def test_sixty_thousand_stacks_are_walked_without_waiting(show) -> None:
    page = show(busy(60_000))
    assert "samples" in page.text("#facts")
    assert page.run("performance.getEntriesByType('navigation')[0].domComplete") < 30_000
    boxes = find(page, "parse")
    assert "%" in boxes
    page.press("Escape")
    page.press("2")
    click(page, 6, 0.2)
    assert len(page.texts("#crumbs li")) == 6
    assert page.texts("#top tr")[-1].startswith("… and ") or len(page.texts("#top tr")) < 300


def test_the_picture_opens_without_scripts(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "flame.svg"
    file.write_bytes(flame_svg.render(busy(200)))
    page = browser.open(file.as_uri())
    assert page.run("document.querySelectorAll('script').length") == 0
    assert page.run("document.querySelectorAll('g > rect').length") > 100
    fill = "getComputedStyle(document.querySelector('.python')).fill"
    light = page.run(fill)
    page.dark(True)
    assert page.run(fill) != light
    assert page.requests() == [file.as_uri()] and page.complaints() == []
