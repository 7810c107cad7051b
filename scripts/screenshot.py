#!/usr/bin/env python3
"""Takes the picture of the live table that the README shows: docs/pictures/top.svg (and .png).

With --profile, of a stored profile's flame graph.

    sudo .venv/bin/python scripts/screenshot.py              # this host, after 20 samples
    .venv/bin/python scripts/screenshot.py --synthetic       # made-up tenants, as the tests use
    .venv/bin/python scripts/screenshot.py --profile a.json --out docs/pictures/profile.svg

The picture is the application itself, drawn without a terminal and written down by textual; the
PNG wants rsvg-convert (librsvg2-bin).
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from msgspec.structs import replace

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cotenant.cli.flame.app import Flame  # noqa: E402
from cotenant.cli.flame.scene import Scene  # noqa: E402
from cotenant.cli.flame.tree import WHOLE  # noqa: E402
from cotenant.cli.profile_source import read_file  # noqa: E402
from cotenant.cli.rows import Grouping, View  # noqa: E402
from cotenant.cli.screen.app import Top  # noqa: E402
from cotenant.cli.source import Reading, Source, open_source, settings_for  # noqa: E402
from cotenant.model import Snapshot  # noqa: E402

FONT = "DejaVu Sans Mono, Menlo, Consolas, monospace"


def main() -> int:
    """Takes the picture and says where it is."""
    options = _options()
    svg = flame(options) if options.profile else table(options)
    out: Path = options.out
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(plain(svg))
    print(out)
    if options.png:
        _png(out)
    return 0


def table(options: argparse.Namespace) -> str:
    """The live table as SVG."""
    source = synthetic(options.tenants) if options.synthetic else real(options.without)
    try:
        return asyncio.run(picture(source, options))
    finally:
        source.close()


def flame(options: argparse.Namespace) -> str:
    """The flame graph of a stored profile as SVG, after so many keys."""
    app = Flame(Scene(read_file(options.profile), WHOLE), "")

    async def look() -> str:
        async with app.run_test(size=(options.width, options.height)) as pilot:
            await pilot.press(*options.press)
            await pilot.pause()
            return app.export_screenshot(title=options.title)

    return asyncio.run(look())


def real(without: Sequence[str] = ()) -> Source:
    """This host, from the agent or sensed by itself, but for the tenants that `without` globs."""
    settings, _ = settings_for(None)
    source = open_source(settings)
    read = source.read

    def kept() -> Reading:
        reading = read()
        rows = [
            usage
            for usage in reading.usages
            if not any(fnmatchcase(usage.tenant.name, glob) for glob in without)
        ]
        return replace(reading, usages=rows)

    source.read = kept  # type: ignore[method-assign]
    return source


def synthetic(count: int) -> Source:
    """Made-up tenants, a second further on at every reading."""
    from tests.unit.snapshots import make

    seconds = iter(range(1_000_000))

    def take() -> tuple[Snapshot, Snapshot | None]:
        second = next(seconds)
        snapshot = make(count, second, wave=True)
        return dated(snapshot), None

    return Source(take, "sensed by itself")


def dated(snapshot: Snapshot) -> Snapshot:
    """The snapshot as if taken just now."""
    return replace(snapshot, unix_s=time.time())


async def picture(source: Source, options: argparse.Namespace) -> str:
    """The screen as SVG after so many readings and keys."""
    view = View(sort=options.sort, grouping=Grouping(options.group), all_open=options.tree)
    top = Top(source, view, 3600, first=source.read())
    async with top.run_test(size=(options.width, options.height)) as pilot:
        if options.light:
            await pilot.press("l")
        for _ in range(options.samples):
            await asyncio.sleep(options.interval)
            top.take_in(source.read())
        await pilot.press(*options.press)
        await pilot.pause()
        return top.export_screenshot(title=options.title)


def plain(svg: str) -> str:
    """The SVG with fonts that readers have, and with no blanks to begin a text with.

    Fonts would be fetched from elsewhere, and librsvg swallows the blanks.
    """
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S)
    return _TEXT.sub(_shifted, svg.replace("Fira Code", FONT))


_TEXT = re.compile(
    r' x="([\d.]+)" y="([\d.]+)" textLength="([\d.]+)" ([^>]*)>((?:&#160;)+)([^<]*)</text>'
)
_CELL = 12.2
"""Width of a cell in textual's pictures."""


def _shifted(text: re.Match[str]) -> str:
    x, y, length, rest, blanks, shown = text.groups()
    cells = len(blanks) // len("&#160;")
    x, length = f"{float(x) + cells * _CELL:g}", f"{max(float(length) - cells * _CELL, 0):g}"
    return f' x="{x}" y="{y}" textLength="{length}" {rest}>{shown}</text>'


def _png(svg: Path) -> None:
    tool = shutil.which("rsvg-convert")
    if tool is None:
        print("no PNG: rsvg-convert is missing (apt install librsvg2-bin)", file=sys.stderr)
        return
    png = svg.with_suffix(".png")
    subprocess.run([tool, "--zoom", "1.4", "-o", str(png), str(svg)], check=True)
    print(png)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add: Callable[..., object] = parser.add_argument
    add("--synthetic", action="store_true", help="made-up tenants instead of this host's")
    add("--tenants", type=int, default=24, help="how many made-up ones")
    add("--profile", type=Path, help="a stored profile: its flame graph instead of the table")
    add("--out", type=Path, default=ROOT / "docs/pictures/top.svg")
    add("--png", action="store_true", help="a PNG beside it, to look at")
    add("--width", type=int, default=120)
    add("--height", type=int, default=30)
    add("--samples", type=int, default=20, help="readings before the picture is taken")
    add("--interval", type=float, default=None, help="seconds between them (1; synthetic: 0)")
    add("--press", nargs="*", default=[], help="keys to press before, as textual calls them")
    add("--without", nargs="*", default=[], help="globs of tenants to leave out")
    add("--sort", default="cpu")
    add("--group", default="none")
    add("--tree", action="store_true")
    add("--light", action="store_true")
    add("--title", default="cotenant top")
    options = parser.parse_args()
    if options.interval is None:
        options.interval = 0.0 if options.synthetic else 1.0
    return options


if __name__ == "__main__":
    raise SystemExit(main())
