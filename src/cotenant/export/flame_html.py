"""A profile as one self-contained page: flame graph, search, tenants, table, difference.

The page is page.html with its style, its scripts and the profile put in: nothing is loaded from
anywhere, and its policy allows no script but its own and no connection at all. Names are data: they
are in one JSON block without a single `<`, and its scripts write them as text.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from functools import cache
from importlib.resources import files
from string import Template

from cotenant.export.flame_data import page_data
from cotenant.export.visible import visible
from cotenant.model import Profile, ProfileType

SCRIPTS = ("words.js", "tree.js", "draw.js", "table.js", "page.js")
"""In the order in which they follow each other in the page."""
TITLES = {
    ProfileType.CPU: "Where the CPU time goes",
    ProfileType.OFF_CPU: "Where time is spent waiting",
    ProfileType.ALLOC: "Where memory is allocated",
    ProfileType.FAULTS: "Where pages are faulted in",
}


def render(profile: Profile, base: Profile | None = None, host: str = "") -> bytes:
    """The page. `base`: a profile from before, whose difference in shares gives the colours.

    `host`: the name to show for where it was recorded; empty: none.
    """
    title = title_of(profile) + (", compared with before" if base else "")
    data = json.dumps(page_data(profile, base, host), separators=(",", ":"))
    style, script = _file("page.css"), _script()
    page = Template(_file("page.html")).substitute(
        title=html.escape(title),
        policy=_policy(style, script),
        style=style,
        script=script,
        profile=data.replace("<", "\\u003c"),
    )
    return page.encode()


def title_of(profile: Profile) -> str:
    """What the profile shows, as a heading."""
    known = TITLES.get(profile.type)  # type: ignore[call-overload]
    return known or f"Where it goes: {visible(profile.type)}"


def _policy(style: str, script: str) -> str:
    """Nothing but this style and this script, known by their hashes (w3.org/TR/CSP3)."""
    return (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _script() -> str:
    parts = "\n".join(map(_file, SCRIPTS))
    return f'\n(() => {{\n"use strict";\n{parts}}})();\n'


@cache
def _file(name: str) -> str:
    return (files("cotenant.export") / "flame_page" / name).read_text("utf-8")
