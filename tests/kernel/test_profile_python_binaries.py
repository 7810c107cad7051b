"""Which files hold an interpreter, which one, and where its eval function lies in pieces."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.kernel.pythons import NEWEST, PYENV, RELEASES, command, library, newest_library

from cotenant.profile.elf import Elf
from cotenant.profile.python.locate import Located, Unreadable, locate
from cotenant.profile.python.offsets import TABLE

pytestmark = pytest.mark.kernel

LINES = Path(__file__).parents[1] / "unit/profile/stdlib_lines.py"
SOURCE = Path(__file__).parents[2] / "src/cotenant/profile/python/lines.py"
EVAL = "_PyEval_EvalFrameDefault"

MADE_UP = """
#include <stdint.h>
struct { char cookie[8]; uint64_t numbers[130]; } _PyRuntime
    __attribute__((section(".PyRuntime"))) = {"xdebugpy", {VERSION, FREE_THREADED}};
const unsigned long Py_Version = VERSION;
"""
IN_PIECES = """
extern void unlikely(int *) __attribute__((cold));
char _PyRuntime[4096] __attribute__((section(".PyRuntime")));
const unsigned long Py_Version = 0x030b02f0;
__attribute__((noinline)) int called_last(int sum) { return sum * 3 + _PyRuntime[sum & 7]; }
int _PyEval_EvalFrameDefault(int *values, int count) {
    int sum = 0;
    for (int i = 0; i < count; i++) {
        if (values[i] < 0) {
            unlikely(&values[i]);
            sum ^= values[i] / 7;
        }
        sum += values[i];
    }
    return called_last(sum);
}
void unlikely(int *value) { __asm__ volatile("" : : "r"(value) : "memory"); }
"""


def located(path: Path, name: str = "odd") -> Located:
    found = locate(Elf(path.read_bytes()), name)
    assert isinstance(found, Located), found
    return found


@pytest.mark.parametrize("release", [*RELEASES, "debian"])
def test_a_stripped_copy_tells_the_same(release, tmp_path):
    stripped = tmp_path / "some-server"
    subprocess.run(["strip", "-o", stripped, library(release)], check=True)
    found = located(stripped)
    assert found == located(library(release))
    version = (3, 11) if release == "debian" else tuple(map(int, release.split(".")[:2]))
    assert found.version == version
    assert release in ("debian", found.release) or version < (3, 11)  # these have no Py_Version
    assert found.layout == TABLE[found.version]


@pytest.mark.parametrize("release", RELEASES)
def test_pieces_are_those_that_symbols_tell(release):
    begin, end = located(library(release)).evals[0]
    symbols = symbols_of(library(release))
    assert symbols.pop(EVAL) == (begin, end - begin)
    # The rest is a jump to nowhere after what cannot happen: a few bytes that nothing runs.
    assert all(size <= 8 for _, size in symbols.values())
    assert len(located(library(release)).evals) == 1


def test_a_cold_piece_is_found_without_its_symbol(tmp_path):
    binary = compiled(IN_PIECES, tmp_path, "-O2", "-freorder-blocks-and-partition")
    symbols = symbols_of(binary)
    wanted = [symbols[EVAL], symbols[f"{EVAL}.cold"]]
    subprocess.run(["strip", binary], check=True)
    assert symbols_of(binary) == {}
    found = located(binary)
    assert [(begin, end - begin) for begin, end in found.evals] == wanted


def test_debians_cold_piece_is_part_of_a_function():
    """A function's first row has the CFA at rsp+8; a part's has the frame already made."""
    assert pieces_with_a_frame(library("debian")) == [False, True]


@pytest.mark.slow
def test_the_newest_python_has_its_loop_in_a_cold_piece():
    found = located(library(NEWEST))
    (begin, end), (cold, cold_end) = found.evals
    assert cold_end - cold > 10 * (end - begin)
    assert pieces_with_a_frame(library(NEWEST)) == [False, True]
    assert found.layout == located(newest_library()).layout == TABLE[3, 14]
    assert len(located(newest_library()).evals) == 1


def test_a_static_program_without_exports_is_found(tmp_path):
    source = IN_PIECES + "int main(int n, char **v) { return _PyEval_EvalFrameDefault(&n, 1); }"
    found = located(compiled(source, tmp_path, "-O2", "-static", shared=False))
    assert found.version == (3, 11)


@pytest.mark.parametrize("release", ["2.7.18", "3.6.15", "3.7.16", "3.8.18"])
def test_older_pythons_are_recognised(release):
    version = release.rsplit(".", 1)[0]
    (path,) = PYENV.joinpath(release, "lib").glob(f"libpython{version}*.so.1.0")
    found = locate(Elf(path.read_bytes()), path.name)
    assert found == Unreadable(
        "Python",
        version,
        f"Frames of Python 3.9 to 3.14 are read; this is {version}, "
        "so its stacks have native frames only.",
    )


@pytest.mark.parametrize(
    ("version", "free_threaded", "sentence"),
    [
        ("0x030f02f0", 0, "Frames of Python 3.9 to 3.14 are read; this is 3.15.2, so"),
        ("0x030d01f0", 1, "Python 3.13.1 runs without the GIL:"),
        ("0x030e00f0", 1, "Python 3.14.0 runs without the GIL:"),
        ("0x030e00a3", 0, "Python 3.14.0: its debug offsets have an order that is not known, so"),
    ],
)
def test_what_cannot_be_read_has_a_sentence(tmp_path, version, free_threaded, sentence):
    flags = (f"-DVERSION={version}", f"-DFREE_THREADED={free_threaded}")
    found = locate(Elf(compiled(MADE_UP, tmp_path, *flags).read_bytes()), "libpython.so")
    assert isinstance(found, Unreadable)
    assert found.sentence == f"{sentence} its stacks have native frames only."


def test_ruby_is_recognised(tmp_path):
    source = 'void ruby_init(void) {} const char ruby_version[] = "3.3.8";'
    found = locate(Elf(compiled(source, tmp_path).read_bytes()), "libruby-3.3.so.3.3.8")
    sentence = "Ruby 3.3.8: its stacks have native frames only."
    assert found == Unreadable("Ruby", "3.3.8", sentence)


def test_other_binaries_hold_no_interpreter():
    for path in ("/bin/sh", "/usr/lib/x86_64-linux-gnu/libc.so.6", shutil.which("gcc")):
        assert path and locate(Elf(Path(path).read_bytes()), "python3.11") is None


@pytest.mark.slow
@pytest.mark.parametrize("release", [*RELEASES, NEWEST])
def test_lines_of_the_whole_standard_library(release):
    """Each instruction of it, compared by that Python with what it says itself."""
    start = command(release)
    environment = dict(os.environ)
    if release == NEWEST:
        environment["PYTHONHOME"] = str(Path(start[3]).parents[1])
    done = subprocess.run(
        [*start, "-B", LINES, SOURCE], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    compared, offsets = map(int, done.stdout.split())
    assert compared > 10_000 and offsets > 500_000


def compiled(source: str, folder: Path, *flags: str, shared: bool = True) -> Path:
    """A binary of this C source; shared unless told otherwise."""
    target = folder / "made-up"
    kind = ("-shared", "-fPIC", "-Wl,-Bsymbolic") if shared else ()
    subprocess.run(
        ["gcc", "-x", "c", "-w", *kind, *flags, "-o", target, "-"],
        input=source.encode(),
        check=True,
    )
    return target


def symbols_of(path: Path) -> dict[str, tuple[int, int]]:
    """Where .symtab says that the pieces of the eval function are, and their sizes."""
    told = subprocess.run(["nm", "-S", path], capture_output=True, text=True, check=False).stdout
    rows = [line.split() for line in told.splitlines() if EVAL in line]
    return {name: (int(at, 16), int(size, 16)) for at, size, _, name in rows}


def pieces_with_a_frame(path: Path) -> list[bool]:
    """Of each piece, whether binutils sees a frame at its first instruction."""
    text = subprocess.run(
        ["readelf", "-wF", path], capture_output=True, text=True, check=True
    ).stdout
    told = []
    for begin, end in located(path).evals:
        at = text.index(f"pc={begin:016x}..{end:016x}")
        row = text[at:].splitlines()[2].split()
        assert int(row[0], 16) == begin
        told.append(row[1] != "rsp+8")
    return told
