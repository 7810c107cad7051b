"""The page and the picture, as far as one can tell without a browser (tests/web has one)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given, settings
from msgspec.structs import replace
from tests.unit.export.profiles import PERIOD, busy, hostile, profiles, small

from cotenant.export import flame_html, flame_svg
from cotenant.export.flame_data import page_data
from cotenant.model import FrameKind, Profile

SVG = "{http://www.w3.org/2000/svg}"


def parts(page: str) -> tuple[str, str, str, str]:
    """Policy, style, data and script of a page."""
    found = re.fullmatch(
        r".*?<meta http-equiv=\"Content-Security-Policy\" content=\"([^\"]*)\">"
        r".*<style>(.*?)</style>.*<script type=\"application/json\" id=\"profile\">(.*?)</script>"
        r"\s*<script>(.*?)</script>\s*</body>\s*</html>\s*",
        page,
        re.DOTALL,
    )
    assert found
    return found[1], found[2], found[3], found[4]


def unrolled(data: dict[str, Any], rows: list[int]) -> list[tuple[Any, ...]]:
    """Stacks as the page's script reads them from its rows."""
    text, out, at = data["strings"], [], 0
    path: list[int] = []
    while at < len(rows):
        tenant, process, kept, more = rows[at : at + 4]
        path = path[:kept] + rows[at + 4 : at + 4 + more]
        names = []
        for frame in path:
            function = data["functions"][data["frames"][2 * frame]]
            names.append((text[function[0]], function[1], data["frames"][2 * frame + 1]))
        at += 6 + more
        who = text[data["tenants"][tenant]], text[data["processes"][process]]
        out.append((*who, names, rows[at - 2], rows[at - 1]))
    return sorted(out)


@given(profiles())
def test_the_page_is_told_every_stack(profile: Profile) -> None:
    data = page_data(profile)
    kinds = list(FrameKind)
    assert unrolled(data, data["rows"]) == sorted(
        (
            profile.tenants[s.tenant].name,
            s.process,
            [(f.name, kinds.index(f.kind), f.line) for f in (profile.frames[i] for i in s.frames)],
            s.count,
            s.value,
        )
        for s in profile.stacks
    )


def test_only_its_own_style_and_script_may_run() -> None:
    policy, style, _, script = parts(flame_html.render(small()).decode())
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    for rule, text in (("style-src", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules.pop(rule) == f"'sha256-{digest}'"
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


@pytest.mark.parametrize("base", [None, busy(20)])
def test_hostile_names_are_data(base: Profile | None) -> None:
    page = flame_html.render(hostile(), base, host="</title><script>").decode()
    _, _, data, script = parts(page)
    assert "<" not in data and data.isascii()
    assert script == parts(flame_html.render(small()).decode())[3]
    assert page.count("<script") == 2
    told = json.loads(data)
    assert "</script><script>alert(1)</script>" in told["strings"]
    assert not any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for s in told["strings"] for c in s)


def test_nothing_in_the_page_points_elsewhere() -> None:
    page = flame_html.render(small()).decode()
    assert not re.findall(
        r"https?://|//[a-z]|\bimport\b|\bfetch\(|url\(|@import", re.sub(r"// .*", "", page)
    )
    assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["data:,"]


def test_what_was_lost_is_told_with_its_meaning() -> None:
    data = page_data(small())
    assert data["lost"] == [
        ("dropped", 2, "Samples that found no room in the ring buffer"),
        ("idle", 800, "Samples of an idle CPU, not shown"),
    ]
    assert data["ends"] == [["complete", 95], ["no unwind table", 5]]
    assert data["samples"] == 100 and data["weight"] == 100 * PERIOD


def test_in_a_comparison_a_function_is_the_same_though_its_lines_moved() -> None:
    before = small()
    moved = tuple(replace(f, first_line=f.first_line + 9, line=f.line + 9) for f in before.frames)
    data = page_data(replace(before, frames=moved), before)
    alone = page_data(before)
    assert len(data["functions"]) == len(alone["functions"])
    assert len(page_data(busy(20), before)["tenants"]) == 5 + 2  # `host` is in both


def test_sixty_thousand_stacks_stay_a_few_megabytes() -> None:
    assert len(flame_html.render(busy(60_000))) < 6_000_000


@pytest.mark.parametrize(
    "profile", [small(), hostile(), busy(300)], ids=["small", "hostile", "busy"]
)
def test_the_picture_is_xml_and_says_what_the_tree_does(profile: Profile) -> None:
    picture = ET.fromstring(flame_svg.render(profile))
    assert not picture.findall(f".//{SVG}script")
    titles = [title.text or "" for title in picture.iter(f"{SVG}title")]
    whole = flame_svg.amount(sum(s.value for s in profile.stacks), "nanoseconds")
    assert titles[0].splitlines() == ["all (root)", f"{whole}, 100.00%; self 0"]
    for group in picture.iter(f"{SVG}g"):
        rect = group.find(f"{SVG}rect")
        assert rect is not None
        right = float(rect.attrib["x"]) + float(rect.attrib["width"])
        assert float(rect.attrib["x"]) >= flame_svg.MARGIN
        assert right <= flame_svg.WIDTH - flame_svg.MARGIN + 0.1


def test_a_box_tells_name_place_weight_and_share() -> None:
    picture = ET.fromstring(flame_svg.render(small()))
    titles = {str(title.text).split(" (")[0]: title.text for title in picture.iter(f"{SVG}title")}
    assert titles["Handler.rank"] == (
        "Handler.rank (python)\n/srv/app.py:52\n404 ms, 40.00%; self 101 ms"
    )
    (wide,) = [
        rect
        for group in picture.iter(f"{SVG}g")
        for title, rect in zip(group.iter(f"{SVG}title"), group.iter(f"{SVG}rect"), strict=True)
        if title.text == titles["Handler.rank"]
    ]
    assert float(wide.attrib["width"]) == pytest.approx(0.4 * 1376, abs=0.02)


@settings(max_examples=30)
@given(profiles())
def test_any_profile_can_be_drawn(profile: Profile) -> None:
    ET.fromstring(flame_svg.render(profile))
    flame_html.render(profile)


@pytest.mark.parametrize(
    "value, unit, said",
    [
        (0, "bytes", "0"),
        (999, "nanoseconds", "999 ns"),
        (1_500_000, "nanoseconds", "1.5 ms"),
        (4_000_000_000_000, "nanoseconds", "4,000 s"),
        (3 << 20, "bytes", "3 MiB"),
        (12345, "count", "12,345"),
    ],
)
def test_amounts(value: int, unit: str, said: str) -> None:
    assert flame_svg.amount(value, unit) == said
