"""Our files in readers not written here, go tool pprof and speedscope; and Go's files in ours."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from tests.unit.export.profiles import HOSTILE, busy, hostile, small
from tests.web.chromium import Browser

from cotenant.export import pprof, speedscope
from cotenant.export.visible import visible
from cotenant.model import Profile

SPEEDSCOPE = Path(__file__).parents[2] / ".setup/speedscope/index.html"


class Pprof:
    """`go tool pprof` on files in a directory of the test's own."""

    def __init__(self, go: str, home: Path) -> None:
        self.go, self.home = go, home

    def run(self, file: Path, *options: str) -> str:
        command = [self.go, "tool", "pprof", "-symbolize=none", *options, str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.home)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write(self, profile: Profile) -> Path:
        file = self.home / "ours.pb.gz"
        file.write_bytes(pprof.render(profile))
        return file

    def top(self, file: Path, *options: str) -> dict[str, tuple[int, int]]:
        """Own and cumulated value of every function by its name."""
        every = ["-nodecount=1000000", "-nodefraction=0", "-edgefraction=0", *options]
        text = self.run(file, "-top", *every).partition("cum%\n")[2]
        row = re.compile(r" *(\d+)\D*? +[\d.]+% +[\d.]+% +(\d+)\D*? +[\d.]+% +(.*)")
        found = [row.fullmatch(line) for line in text.splitlines()]
        assert all(found), text
        return {m[3]: (int(m[1]), int(m[2])) for m in found if m}


@pytest.fixture
def tool(go: str, tmp_path: Path) -> Pprof:
    return Pprof(go, tmp_path)


def sums(profile: Profile) -> dict[str, tuple[int, int]]:
    """The same of our own records: a recursive function counts once in a stack."""
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for stack in profile.stacks:
        names = [visible(profile.frames[i].name) for i in stack.frames]
        own[names[-1]] += stack.value
        for name in set(names):
            total[name] += stack.value
    return {name: (own[name], total[name]) for name in total}


@pytest.mark.parametrize("profile", [small(), busy(800)], ids=["small", "busy"])
def test_go_counts_every_function_as_we_do(tool: Pprof, profile: Profile) -> None:
    assert tool.top(tool.write(profile), "-unit=ns") == sums(profile)


def test_go_filters_by_our_labels(tool: Pprof) -> None:
    file = tool.write(small())
    node = tool.top(file, "-unit=ns", "-tagfocus=tenant=^node$")
    assert sorted(node) == ["LazyCompile:~hot", "node::Start"]
    tags = tool.run(file, "-tags")
    for name in ("tenant", "process", "namespace", "pod", "container", "kind", "end"):
        assert re.search(rf"^\s*{name}: Total", tags, re.MULTILINE), tags


def test_go_shows_lines_build_ids_and_remarks(tool: Pprof) -> None:
    raw = tool.run(tool.write(small()), "-raw")
    assert "PeriodType: cpu nanoseconds" in raw and "Period: 10101010" in raw
    assert "Duration: 10s" in raw and "Comment: Ruby 3.1 in web: native frames only." in raw
    assert "samples/count cpu/nanoseconds[dflt]" in raw
    assert re.search(r"Handler\.rank /srv/app\.py:57:0 s=52", raw)
    assert re.search(r"/usr/bin/python3\.11 (8b){20} \[FN\]\[FL\]\[LN\]", raw)
    assert re.search(r"\[kernel\]  \[FN\]", raw)


def test_hostile_names_pass_through_go(tool: Pprof) -> None:
    raw = tool.run(tool.write(hostile()), "-raw")
    for name in filter(None, HOSTILE):
        assert visible(name).strip() in raw


PROGRAM = r"""
package main

import (
	"context"
	"crypto/sha256"
	"os"
	"runtime"
	"runtime/pprof"
	"time"
)

var kept [][]byte

//go:noinline
func hash(until time.Time) {
	sum := sha256.Sum256(nil)
	for time.Now().Before(until) {
		for i := 0; i < 1000; i++ {
			sum = sha256.Sum256(sum[:])
		}
	}
}

//go:noinline
func keep() {
	for i := 0; i < 64; i++ {
		kept = append(kept, make([]byte, 1<<20))
	}
}

func main() {
	file, _ := os.Create("cpu.pb.gz")
	pprof.StartCPUProfile(file)
	pprof.Do(context.Background(), pprof.Labels("shard", "7"), func(context.Context) {
		hash(time.Now().Add(2 * time.Second))
	})
	pprof.StopCPUProfile()
	file.Close()
	keep()
	runtime.GC()
	for _, name := range []string{"heap", "goroutine", "threadcreate"} {
		file, _ := os.Create(name + ".pb.gz")
		pprof.Lookup(name).WriteTo(file, 0)
		file.Close()
	}
	runtime.KeepAlive(kept)
}
"""


@pytest.fixture(scope="module")
def written(go: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Profiles of a small program, as the runtime writes them and /debug/pprof serves them."""
    home = tmp_path_factory.mktemp("go")
    (home / "main.go").write_text(PROGRAM)
    done = subprocess.run(
        [go, "run", "main.go"], cwd=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return home


@pytest.mark.parametrize(
    "name, kind, unit",
    [
        ("cpu", "cpu", "nanoseconds"),
        ("heap", "inuse_space", "bytes"),
        ("goroutine", "goroutine", "count"),
        ("threadcreate", "threadcreate", "count"),
    ],
)
def test_what_go_writes_is_read_as_go_reads_it(
    tool: Pprof, written: Path, name: str, kind: str, unit: str
) -> None:
    file = written / f"{name}.pb.gz"
    read = pprof.parse(file.read_bytes())
    assert (read.type, read.unit) == (kind, unit)
    assert read.stacks
    options = {"nanoseconds": ["-unit=ns"], "bytes": ["-unit=B"], "count": []}[unit]
    ours = {name: value for name, value in sums(read).items() if value[1]}
    theirs = {n.removesuffix(" (inline)"): v for n, v in tool.top(file, *options).items()}
    unnamed = {"<unknown>" if n.startswith("0x") else n: value for n, value in ours.items()}
    assert theirs == unnamed
    # And once more, after we wrote it ourselves.
    again = {n: v for n, v in tool.top(tool.write(read), *options).items() if v[1]}
    assert again == ours


def test_go_s_cpu_profile_has_the_loop_and_its_period(written: Path) -> None:
    read = pprof.parse((written / "cpu.pb.gz").read_bytes())
    own, total = 0, sum(stack.value for stack in read.stacks)
    for stack in read.stacks:
        if "main.hash" in [read.frames[i].name for i in stack.frames]:
            own += stack.value
    assert own > 0.9 * total
    assert read.period == 10_000_000
    assert all(stack.value == stack.count * read.period for stack in read.stacks)
    hashing = next(frame for frame in read.frames if frame.name == "main.hash")
    assert hashing.file.endswith("main.go") and hashing.line > hashing.first_line > 0


def test_speedscope_opens_each_tenant(browser: Browser, tmp_path: Path) -> None:
    assert SPEEDSCOPE.exists(), "speedscope is not here: make setup-web"
    data = base64.b64encode(speedscope.render(small())).decode()
    script = tmp_path / "file.js"
    script.write_text(f"speedscope.loadFileFromBase64('web.speedscope.json', {json.dumps(data)})")
    page = browser.open(f"{SPEEDSCOPE.as_uri()}#localProfilePath={script}")
    page.until("document.body.innerText.includes('(1/3)')")
    assert page.run("document.title").startswith("cpu, 10 s")
    assert "web (1/3)" in page.text("body")
    sandwich = (
        "[...document.querySelectorAll('div')].findLast(e => /^🥪?Sandwich$/.test(e.innerText))"
    )
    page.run(f"{sandwich}.click()")
    page.until("document.querySelectorAll('table tr').length > 5")
    rows = page.texts("table tr")
    (row,) = [row for row in rows if "list_sort_impl" in row]
    # 30 of web's 60 samples, 10.1 ms each; self and total.
    assert row.count("303.03ms") == 2 and row.count("50%") == 2, row
    (rank,) = [row for row in rows if "Handler.rank" in row]
    assert "101.01ms" in rank and "404.04ms" in rank, rank
