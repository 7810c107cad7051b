"""Binaries to read: the system's own, and small ones made for a test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

LIBC = Path("/lib/x86_64-linux-gnu/libc.so.6")
CXX = Path("/usr/lib/x86_64-linux-gnu/libstdc++.so.6")
PYTHON = Path(f"/usr/bin/python{sysconfig.get_python_version()}")
GO = shutil.which("go") or "/usr/local/go/bin/go"

SOURCE = """
#include <stdio.h>
__attribute__((noinline)) static int hidden_one(int n) { return n * 3 + 1; }
__attribute__((noinline)) static int hidden_two(int n) { return hidden_one(n) ^ 5; }
__attribute__((noinline)) int shown(int n) { return hidden_two(n) + 7; }
__asm__(".text\\n.globl bare\\nbare:\\n nop\\n nop\\n nop\\n ret\\n");
int main(int argc, char **argv) { printf("%d\\n", shown(argc)); return 0; }
"""

GO_SOURCE = """package main

import "fmt"

//go:noinline
func work(n int) int {
	s := 0
	for i := 0; i < n; i++ {
		s += i * i
	}
	return s
}

func main() { fmt.Println(work(10)) }
"""


def run(*words: str | Path, where: Path | None = None) -> str:
    """What the command prints; a test fails where the command does."""
    answer = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, cwd=where, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def made(folder: Path, *flags: str) -> Path:
    """The C program of this file, compiled."""
    source, binary = folder / "victim.c", folder / "victim"
    source.write_text(SOURCE)
    run("gcc", "-O1", "-g", "-Wl,--build-id", "-o", binary, source, *flags)
    return binary


def made_go(folder: Path, name: str, *flags: str) -> Path:
    """The Go program of this file, built by the toolchain that is here: never fetches one."""
    if not Path(GO).exists():
        pytest.fail("There is no Go to build a test program with: apt-get install golang-go")
    (folder / "go.mod").write_text("module victim\ngo 1.18\n")
    (folder / "main.go").write_text(GO_SOURCE)
    answer = subprocess.run(
        [GO, "build", "-o", name, *flags, "."],
        cwd=folder,
        env={**os.environ, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "GO111MODULE": "on"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return folder / name


def nm(binary: Path, *flags: str) -> dict[int, tuple[int, set[str]]]:
    """Functions with a size as nm tells them: size and all names, by address."""
    found: dict[int, tuple[int, set[str]]] = {}
    for line in run("nm", "-S", "--defined-only", *flags, binary).splitlines():
        words = line.split()
        if len(words) == 4 and words[2] in "tTwWi":
            address, size = int(words[0], 16), int(words[1], 16)
            _, names = found.get(address, (0, set()))
            found[address] = size, names | {words[3].split("@")[0]}
    return found
