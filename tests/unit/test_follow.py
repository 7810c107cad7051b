"""docs/follow-*.md walk the code as it is: files, functions and quoted lines are real."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/cotenant"
MOST_LINES = 300

LINES = {
    "follow-a-sample.md": {
        "bpf/meter.bpf.c": ("meter", "read_unified"),
        "meter/read.py": ("collect", "_from_programs", "_look", "_sample"),
        "meter/usage.py": ("usages", "between", "_rate"),
        "cli/top.py": ("top",),
        "export/prometheus.py": ("render", "_tenant_lines"),
    },
    "follow-a-wait.md": {
        "bpf/noise.bpf.c": ("switched", "moved", "collect"),
        "noise/read.py": ("collect", "_add", "_charge"),
        "noise/blame.py": ("delays", "_delay", "merged", "fair_shares"),
        "cli/noise.py": ("noise", "_reports", "_print"),
        "export/noise.py": ("note", "render"),
    },
    "follow-a-stack.md": {
        "bpf/profile.bpf.c": ("ticked", "switched", "faulted"),
        "profile/read.py": ("step", "tell", "_meet", "take"),
        "profile/stacks.py": ("meet", "_name", "profile"),
        "cli/profile.py": ("profile", "_sampled", "_deliver", "_live"),
        "export/pprof.py": ("render",),
    },
}
"""The files of each page's line in order, and what is passed in each."""
STEPS = [(page, file) for page, line in LINES.items() for file in line]

HEADING = re.compile(r"^## ", re.M)
LINK = re.compile(r"\]\(\.\./(src/[^)#]+)\)")
CALL = re.compile(r"`(\w+)\(\)`")
QUOTE = re.compile(r"^```\w+\n(.*?)^```", re.M | re.S)


@cache
def sections(page):
    """Text of each numbered section of the page, by the file it is about."""
    found = {}
    for text in HEADING.split((ROOT / "docs" / page).read_text())[1:]:
        if text[0].isdigit():
            found[LINK.findall(text)[0].removeprefix("src/cotenant/")] = text
    return found


def defines(path, name):
    text = path.read_text()
    if path.suffix == ".py":
        return re.search(rf"^ *(?:async )?def {name}\(", text, re.M) is not None
    # In C a definition begins a line with its type; a call is indented.
    return re.search(rf"^\w[^;\n]*\b(?:{name}\(|BPF_PROG\({name},)", text, re.M) is not None


def squeezed(text):
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


@pytest.mark.parametrize("page", LINES)
def test_the_page_walks_the_whole_line_in_order(page):
    assert list(sections(page)) == list(LINES[page])


@pytest.mark.parametrize(("page", "file"), STEPS)
def test_each_file_has_the_functions_and_the_page_names_them(page, file):
    for name in LINES[page][file]:
        assert defines(SOURCE / file, name), f"{file} has no {name} any more: docs/{page}"
        assert f"`{name}()`" in sections(page)[file], f"{page} does not name {name} of {file}"


@pytest.mark.parametrize(("page", "file"), STEPS)
def test_each_file_can_be_read_in_one_go(page, file):
    lines = len((SOURCE / file).read_text().splitlines())
    assert lines <= MOST_LINES, f"{file} has {lines} lines: what in it is off the line?"


@pytest.mark.parametrize(("page", "file"), STEPS)
def test_whatever_the_page_names_is_in_a_file_it_links(page, file):
    text = sections(page)[file]
    linked = [ROOT / link for link in LINK.findall(text)]
    for name in CALL.findall(text):
        assert any(defines(path, name) for path in linked), f"{name}() is nowhere in {linked}"


@pytest.mark.parametrize(("page", "file"), STEPS)
def test_what_the_page_quotes_is_still_there(page, file):
    text = sections(page)[file]
    linked = [squeezed((ROOT / link).read_text()) for link in LINK.findall(text)]
    for quote in QUOTE.findall(text):
        assert any(squeezed(quote) in code for code in linked), f"no longer in the code:\n{quote}"


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("meter/programs.py", ("METER_RECORD_LAYOUT", "bpf.o")),
        ("meter/read.py", ("Snapshot",)),
        ("cli/source.py", ("from cotenant.meter.usage import",)),
        ("cli/top.py", ("from cotenant.cli.source import",)),
        ("noise/programs.py", ("NOISE_BOOK_LAYOUT", "noise.bpf.o")),
        ("noise/read.py", ("from cotenant.noise.programs import", "Waits(")),
        ("agent/neighbours.py", ("from cotenant.noise.blame import", "self.noise.collect(")),
        ("cli/noise_source.py", ("from cotenant.agent.neighbours import",)),
        ("cli/noise.py", ("from cotenant.cli.noise_source import",)),
        ("profile/programs.py", ("PROFILE_SAMPLE_LAYOUT", "profile.bpf.o")),
        ("profile/read.py", ("from cotenant.profile.programs import", "Taken(")),
        ("profile/stacks.py", ("from cotenant.profile.read import", "Profile(")),
        ("agent/profiler.py", ("Samples(", "Stacks(")),
        ("cli/profile_own.py", ("from cotenant.agent.profiler import",)),
        ("cli/profile.py", ("from cotenant.cli.profile_own import",)),
    ],
)
def test_each_file_hands_over_to_the_next(file, words):
    text = (SOURCE / file).read_text()
    for word in words:
        assert word in text
