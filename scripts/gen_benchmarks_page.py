#!/usr/bin/env python3
"""Writes the tables of docs/benchmarks.md from the results in docs/benchmarks/*.json.

And the short one of docs/profiling.md. A table stands between `<!-- NAME -->` and `<!-- /NAME -->`,
NAME.json being the result that `cotenant bench ... --json` printed. `--check` writes nothing: exit
1 where a page is behind.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import msgspec

from cotenant.bench.form import Result, cell, head, judged, tables

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PROFILING = PAGE.with_name("profiling.md")
RESULTS = PAGE.with_suffix("")
NONE_YET = "Not measured yet."


def page(text: str, results: dict[str, Result]) -> str:
    """The page with every marked place filled from the result of its name."""

    def fill(found: re.Match[str]) -> str:
        result = results.get(found[1])
        body = NONE_YET if result is None else section(result)
        return f"<!-- {found[1]} -->\n{body}\n<!-- /{found[1]} -->"

    return re.sub(r"<!-- ([\w-]+) -->\n.*?<!-- /\1 -->", fill, text, flags=re.DOTALL)


def section(result: Result) -> str:
    """One result: where, the bars, the tables, what was not measured, how it was done."""
    where = ", ".join(f"{head(key)} {cell(value)}" for key, value in result.host.items())
    parts = [f"Host: {where}."]
    if result.bars:
        rows = [judged(each) for each in result.bars]
        parts.append(_table(["figure", "measured", "asked", ""], rows))
    for part, heads, rows in tables(result.rows):
        parts += [f"**{part}**", _table(heads, rows)]
    if result.skipped:
        parts.append("\n".join(f"- not measured: {x.name}: {x.reason}" for x in result.skipped))
    parts.append(f"Method: {result.method}")
    return "\n\n".join(parts)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(_safe(cell) for cell in line)} |" for line in lines)


def _safe(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def beside(text: str, result: Result) -> str:
    """The page of profiles with how complete each profiler is, and what a sample of its costs."""
    seen = [row for row in result.rows if row["part"] == "what they see"]
    cost = {row["tool"]: row for row in result.rows if row["part"] == "what they cost"}
    columns = ("whole_percent", "python_with_gil", "python_without_gil")
    heads = ["", "stacks that are whole, %", "Python frames, GIL held, %", "GIL released, %", "us"]
    rows = [
        [
            str(row["tool"]),
            *(cell(row[key]) for key in columns),
            cell(cost[row["tool"]]["sample_us"]),
        ]
        for row in seen
    ]
    body = f"<!-- beside -->\n{_table(heads, rows)}\n<!-- /beside -->"
    return re.sub(r"<!-- beside -->\n.*?<!-- /beside -->", lambda _: body, text, flags=re.DOTALL)


def main() -> int:
    """Write or, with `--check`, compare; the exit code."""
    results = {
        file.stem: msgspec.json.decode(file.read_bytes(), type=Result)
        for file in sorted(RESULTS.glob("*.json"))
    }
    code = 0
    for file, new in (
        (PAGE, page(PAGE.read_text(), results)),
        (PROFILING, beside(PROFILING.read_text(), results["profile"])),
    ):
        if "--check" not in sys.argv[1:]:
            file.write_text(new)
        elif file.read_text() != new:
            print(f"{file} does not say what {RESULTS}/*.json say.", file=sys.stderr)
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
