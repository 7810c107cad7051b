"""The pages are true: links lead somewhere, faces are those of the code, figures were measured."""

from __future__ import annotations

import inspect
import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from cotenant.export.profile_files import FORMATS
from cotenant.kernel.capabilities import PROFILING
from cotenant.model import COMPLETE, ProfileType
from cotenant.profile.stacks import ENDS

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page.relative_to(ROOT) for page in (*ROOT.glob("*.md"), *ROOT.glob("[des]*/**/*.md"))
)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.M | re.S)
MOST_PICTURE_BYTES = 300_000


def anchors(page):
    """What GitHub makes of the page's headings."""
    heads = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def links(page):
    text = FENCED.sub("", (ROOT / page).read_text())
    return [link for link in LINK.findall(text) if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page}: {link}; it has {anchors(target)}"


def test_readme_leads_to_every_page():
    linked = {link.partition("#")[0] for link in links(Path("README.md"))}
    assert {str(page) for page in PAGES if page.parent.name == "docs"} <= linked


def test_every_example_is_told():
    told = (ROOT / "examples/README.md").read_text()
    for example in (ROOT / "examples").iterdir():
        assert example.name == "README.md" or f"({example.name})" in told


def test_pictures_are_small():
    for picture in (ROOT / "docs/pictures").iterdir():
        assert picture.stat().st_size < MOST_PICTURE_BYTES, picture


def faces():
    """(module, dotted name, arguments) of each line of the faces in architecture.md."""
    page = (ROOT / "docs/architecture.md").read_text()
    block = re.search(r"^```python\n(.*?)^```", page, re.M | re.S)
    assert block
    module = ""
    for line in block[1].splitlines():
        if line.startswith("# "):
            module = line[2:]
        elif found := re.match(r"([\w.]+)\(([\w, ]*)\)", line):
            yield module, found[1], [word for word in found[2].split(", ") if word]


@pytest.mark.parametrize(("module", "name", "arguments"), list(faces()))
def test_the_faces_are_those_of_the_code(module, name, arguments):
    face: Any = import_module(module)
    for word in name.split("."):
        face = getattr(face, word)
    assert [word for word in inspect.signature(face).parameters if word != "self"] == arguments


def table(page, heading):
    """First cell and the others of each row of the first table below that heading."""
    text = (ROOT / page).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.search(r"^\|[^\n]*\n\|[ :|-]+\|\n((?:\|[^\n]*\n)+)", text, re.M)
    assert rows
    cells = [re.split(r"(?<!\\)\|", row)[1:-1] for row in rows[1].splitlines()]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in cells}


def test_every_reason_for_a_cut_is_told():
    told = table("docs/profiling.md", "What is lost, and what to do")
    assert [word.strip("`") for word in told] == [end for end in ENDS.values() if end != COMPLETE]


def test_what_a_missing_capability_costs_is_told_as_the_command_tells_it():
    told = {
        name.strip("` "): costs
        for names, (costs,) in table("docs/profiling.md", "Privileges").items()
        for name in names.split(",")
    }
    assert told == {name.removeprefix("CAP_"): costs for name, costs in PROFILING.values()}


def test_every_type_and_form_of_profiles_is_told():
    types = [word.strip("`") for word in table("docs/profiling.md", "Types")]
    assert types == [*ProfileType, "go/..."]
    forms = [word.strip("`") for word in table("docs/profiling.md", "Forms")]
    assert sorted(forms) == sorted(FORMATS)


BENCHES = ("meter", "noise", "profile")


def test_the_costs_in_the_readme_were_measured():
    costs = (ROOT / "README.md").read_text().partition("**Costs**")[2].partition("**Does not**")[0]
    rows = [line for line in costs.splitlines() if re.match(r"\|.*\d", line)]
    found = [float(re.findall(r"[\d.]+", row.split("|")[2])[0]) for row in rows]
    found.append(float(re.findall(r"([\d.]+) MB", costs)[0]))
    results = [json.loads((ROOT / f"docs/benchmarks/{n}.json").read_text()) for n in BENCHES]
    told = [(bar["name"], bar["unit"], bar["value"]) for got in results for bar in got["bars"]]
    wanted = [
        next(value for name, unit, value in told if name == wish and unit.startswith(of))
        for wish, of in (
            ("CPU of a collection", "times"),
            ("CPU of files against cotenant's", "times"),
            ("CPU of cadvisor against cotenant's", "times"),
            ("agent at 1 Hz, 200 idle tenants", "%"),
            ("a sample in the kernel, Python and native", "us"),
            ("a sample in user space, names included", "us"),
            ("agent with profiling on, 200 idle processes, kernel memory included", "MB"),
            ("a switch and a wake-up, cotenant blame, net of empty programs", "ns"),
            ("agent at 1 Hz, 200 idle tenants", "MB"),
        )
    ]
    assert found == pytest.approx(wanted, rel=0.02), (
        "README.md tells other figures than docs/benchmarks"
    )
