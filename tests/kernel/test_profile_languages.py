"""Programs of other languages, with known shares of CPU time: names, shares, ends of stacks."""

from __future__ import annotations

import lzma
import re
import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.kernel.conftest import within
from tests.kernel.profiling import (
    ENOUGH,
    POINTS,
    VICTIMS,
    Profiled,
    Seen,
    as_they_are,
    have_run,
    victim,
)

from cotenant.model import FrameKind
from cotenant.profile import binaries

pytestmark = pytest.mark.kernel

RUN_S = 2.4
"""2,400 samples, less what a busy host drops, ten and more in each turn of a victim: so chance
hardly moves its shares."""
JAVA_RUN_S = 3.2
"""Java's turns are shorter: it compiles a function that is called often, and it stays."""
NODE = ("node", "--perf-basic-prof", "--interpreted-frames-native-stack", "--no-turbo-inlining")
JAVA = ("java", "-XX:+PreserveFramePointer", "-XX:-Inline")
COMPILED_S = 2
"""By then Java has compiled what runs, unless it runs slowly."""
COMPILED = ("Shares.a()V", "Shares.b()V", "Shares$Inner.c()V")
"""What Java calls the functions that the perf map must have; it compiles each again, for good."""
CPP = {
    "a": r"^void tenant::a<unsigned int>\(unsigned int\)$",
    "b": r"^tenant::B::operator\(\)\(unsigned int\)$",
    "c": r"^main::.*operator\(\)\(std::.*string.* const&\) const",
}
RUST = {
    "a": r"^shares::inner::a(::<u32>)?$",
    "b": r"^<alloc::string::String as shares::Burning>::b$",
    "c": r"^shares::größe::c$",
}
GO = {"a": r"^main\.a$", "b": r"^main\.b$", "c": r"^main\.größe\.c$"}
JAVASCRIPT = {
    "a": r"^JS:.?a .*shares\.js:\d+:\d+$",
    "b": r"^JS:.?b .*shares\.js:\d+:\d+$",
    "c": r"^JS:.?größe .*shares\.js:\d+:\d+$",
}
JVM = {
    "a": r"^void Shares\.a\(\)$",
    "b": r"^void Shares\.b\(\)$",
    "c": r"^void Shares\$Inner\.c\(\)$",
}


def built(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, cwd="/")


def cpp(target: Path, *flags: str) -> Path:
    """The C++ victim."""
    built("g++", "-O2", *flags, "-o", target, VICTIMS / "shares.cpp")
    return target


def linked(compiled: Path, target: Path, *flags: str) -> Path:
    """A program of what is compiled, which takes a second."""
    built("g++", *flags, "-o", target, compiled)
    return target


def with_mini_debug_info(program: Path, target: Path) -> Path:
    """Its functions in a compressed symbol table, as Fedora ships them, and no other."""
    symbols, packed = target.with_suffix(".symbols"), target.with_suffix(".xz")
    built("objcopy", "--only-keep-debug", program, symbols)
    packed.write_bytes(lzma.compress(symbols.read_bytes()))
    built("strip", "-o", target, program)
    built("objcopy", "--add-section", f".gnu_debugdata={packed}", target)
    return target


def is_compiled(pid: int) -> bool:
    """Whether Java's last compiler, the fourth level, has done all of them."""
    words = ["jcmd", str(pid), "Compiler.codelist"]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return all(re.search(rf"^\d+ 4 \d+ {re.escape(name)} ", told, re.M) for name in COMPILED)


def shares_of(seen: Seen, names: dict[str, str]) -> dict[str, float]:
    def part(name: str) -> float:
        return seen.part(lambda met: any(re.search(name, each) for each in met.names))

    return {key: part(name) for key, name in names.items()}


def check(seen: Seen, names: dict[str, str]) -> None:
    """Shares by those names; stacks to the thread's start."""
    assert seen.count >= ENOUGH
    shares = shares_of(seen, names)
    assert as_they_are(shares), f"{shares}\n{seen.worst(lambda met: False)}"
    assert seen.complete >= 0.99, seen.worst(lambda met: met.end == "complete")
    assert seen.part(lambda met: met.from_start) >= 0.99


@pytest.mark.claim
def test_c_plus_plus_by_its_authors_names(
    profiled: Profiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its file was closed since, as it happens on hosts with many binaries."""
    monkeypatch.setattr(binaries, "MOST_OPEN", 1)
    with victim(cpp(tmp_path / "cpp"), "cpp") as one:
        seen = Seen(profiled(have_run(RUN_S, one.pid), least={"cpp": ENOUGH}), "cpp")
    check(seen, CPP)


def test_static_stripped_and_with_mini_debug_info(profiled: Profiled, tmp_path: Path) -> None:
    compiled = cpp(tmp_path / "object.o", "-c", "-fPIE")
    whole = linked(compiled, tmp_path / "whole")
    built("strip", "-o", tmp_path / "stripped", whole)
    programs = {
        "static": linked(compiled, tmp_path / "static", "-static"),
        "static-pie": linked(compiled, tmp_path / "static-pie", "-static-pie"),
        "no-pie": cpp(tmp_path / "no-pie", "-no-pie", "-fcf-protection=none"),
        "pointers": cpp(tmp_path / "pointers", "-fno-omit-frame-pointer"),
        "mini": with_mini_debug_info(whole, tmp_path / "mini"),
        "stripped": tmp_path / "stripped",
    }
    with ExitStack() as stack:
        ones = [stack.enter_context(victim(path, name)) for name, path in programs.items()]
        least = dict.fromkeys(programs, ENOUGH)
        profile = profiled(have_run(RUN_S, *[one.pid for one in ones]), least=least)
    bare = Seen(profile, programs.popitem()[0])
    for name in programs:
        check(Seen(profile, name), CPP)
    # No names are left to it: its functions are told apart by where they begin.
    assert bare.complete >= 0.99
    loop = max(bare.stacks, key=lambda met: met.value).names[-1]
    assert re.fullmatch(r"stripped\+0x[0-9a-f]+", loop)
    assert bare.part(lambda met: met.names[-1] == loop) >= 0.95


def test_rust_by_its_authors_names(profiled: Profiled, tmp_path: Path) -> None:
    """Mangled in the old way and in the new one, which came to be the default with time."""
    with ExitStack() as stack:
        ways: dict[str, list[str]] = {"usual": [], "v0": ["-C", "symbol-mangling-version=v0"]}
        with ThreadPoolExecutor() as pool:
            for name, more in ways.items():
                pool.submit(
                    built, "rustc", "-O", *more, "-o", tmp_path / name, VICTIMS / "shares.rs"
                )
        ones = [stack.enter_context(victim(tmp_path / name, name)) for name in ways]
        least = dict.fromkeys(ways, ENOUGH)
        profile = profiled(have_run(RUN_S, *[one.pid for one in ones]), least=least)
    for name in ("usual", "v0"):
        check(Seen(profile, name), RUST)


def test_go_as_it_tells_itself(profiled: Profiled, tmp_path: Path) -> None:
    """Beside its own profiler, over the same time; stripped of symbols, too.

    Go takes 100 samples a second of CPU time: what chance does to so few is not held against us.
    """
    program, own = tmp_path / "go", tmp_path / "own.pb.gz"
    built("/usr/local/go/bin/go", "build", "-ldflags=-s -w", "-o", program, VICTIMS / "shares.go")
    with victim(program, "go") as one, ThreadPoolExecutor() as pool:
        address = f"http://{one.told.strip()}/debug/pprof/profile?seconds=5"
        asked = pool.submit(urllib.request.urlretrieve, address, own)
        has_run = have_run(RUN_S, one.pid)
        # Both are asked each time: it counts from the first on.
        profile = profiled(lambda: has_run() & asked.done(), least={"go": ENOUGH})
        seen = Seen(profile, "go")
        asked.result()
    check(seen, GO)
    top = subprocess.run(["/usr/local/go/bin/go", "tool", "pprof", "-top", "-cum", own],
                         capture_output=True, text=True, check=True).stdout  # fmt: skip
    total = re.search(r"Total samples = ([\d.]+)(m?s)", top)
    assert total, top
    samples = 100 * float(total[1]) / (1000 if total[2] == "ms" else 1)
    assert samples >= 50, top
    for key, share in shares_of(seen, GO).items():
        name = GO[key].strip("^$")
        told = re.search(rf" ([\d.]+)%  {name}(?: \(inline\))?$", top, re.M)
        assert told, top
        chance = 3 * (share * (1 - share) / samples) ** 0.5
        assert abs(float(told[1]) / 100 - share) <= POINTS + chance, top


def test_javascript_by_the_perf_map(profiled: Profiled, tmp_path: Path) -> None:
    with victim(*NODE, VICTIMS / "shares.js", "node", cwd=tmp_path) as one:
        profile = profiled(have_run(RUN_S, one.pid), least={"node": ENOUGH})
    seen = Seen(profile, "node")
    check(seen, JAVASCRIPT)
    frame = next(f for f in profile.frames if re.search(JAVASCRIPT["a"], f.name))
    assert frame.kind is FrameKind.JIT


def test_java_by_the_perf_map(profiled: Profiled, tmp_path: Path) -> None:
    built("javac", "-d", tmp_path, VICTIMS / "Shares.java")
    with victim(*JAVA, "-cp", tmp_path, "Shares", "java") as one:
        assert within(60, have_run(COMPILED_S, one.pid))
        assert within(60, lambda: is_compiled(one.pid), 0.5)
        built("jcmd", str(one.pid), "Compiler.perfmap")
        profile = profiled(have_run(JAVA_RUN_S, one.pid), least={"java": ENOUGH})
    check(Seen(profile, "java"), JVM)
