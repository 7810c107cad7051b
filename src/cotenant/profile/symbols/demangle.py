"""C++ and Rust names as their authors wrote them.

Mangled names are a tenant's, and may be written to expand without end: 254 letters become 436 MB,
some thousand nested pointers overflow the stack (both tried). So a child without rights, files or
memory of its own takes them apart (pydemumble, LLVM's demangler); if it dies, a name stays as is.
"""

from __future__ import annotations

import importlib.util
import os
import re
import selectors
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

NAME_LIMIT = 4096
"""Longest name that is taken apart, in bytes, and longest that comes out, in characters."""
_MOST_KEPT = 16_384
_BATCH_BYTES = 32 << 10  # half of what a pipe holds, so that writing never waits for the child
_PATIENCE_S = 2.0
_CAREFUL_AFTER = 8
_MOST_DEATHS = 64
_MOST_REFERENCES = 12
_MANGLED = re.compile(r"_{1,4}Z|_R[A-Z]")
_REFERENCE = re.compile(r"[ST][0-9A-Z]*_|B[0-9a-zA-Z]*_")

# Runs before rights are given up: pydemumble may lie where nobody else can read.
_CHILD = """
import os, resource, sys
sys.path.insert(0, sys.argv[1])
import pydemumble
os.chdir("/")
if os.getuid() == 0:
    try:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    except OSError:
        pass
now = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
for limit, value in (
    (resource.RLIMIT_AS, now + (8 << 20)), (resource.RLIMIT_NOFILE, 0),
    (resource.RLIMIT_NPROC, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0),
    (resource.RLIMIT_CPU, 60),
):
    resource.setrlimit(limit, (value, value))
for line in sys.stdin.buffer:
    try:
        name = pydemumble.demangle(line[:-1].decode("ascii"))
        out = name[:int(sys.argv[2])].encode("utf-8", "replace").replace(b"\\n", b" ")
    except (MemoryError, ValueError):
        name, out = "", b""
    sys.stdout.buffer.write(out + b"\\n")
    sys.stdout.buffer.flush()
"""


class Demangler:
    """Takes names apart, and remembers the last 16,384. Close it to end its child.

    `refused` counts names that stayed mangled because they were too much for the child.
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._child: subprocess.Popen[bytes] | None = None
        self._deaths = 0
        self.refused = 0

    def name(self, mangled: str) -> str:
        """One name; unchanged when it is not mangled, or cannot be taken apart."""
        return self.names((mangled,))[mangled]

    def names(self, mangled: Iterable[str]) -> dict[str, str]:
        """Each name by its mangled one. One call for many is faster: 5 us a name, else 50."""
        found: dict[str, str] = {}
        asked: list[str] = []
        for name in dict.fromkeys(mangled):
            known = self._known.get(name)
            if known is None and _can_ask(name) and not self._fears(name):
                asked.append(name)
            else:
                found[name] = known if known is not None else name
        for name, plain in self._ask(asked):
            found[name] = self._known[name] = plain
        while len(self._known) > _MOST_KEPT:
            del self._known[next(iter(self._known))]
        return found

    def close(self) -> None:
        """Ends the child; the next name starts another."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe:
                pipe.close()

    def __enter__(self) -> Demangler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fears(self, name: str) -> bool:
        """Once some names have killed it: whether this one refers back often enough to do so."""
        if self._deaths < _CAREFUL_AFTER or len(_REFERENCE.findall(name)) <= _MOST_REFERENCES:
            return False
        self.refused += 1
        return True

    def _ask(self, names: list[str]) -> Iterable[tuple[str, str]]:
        while names:
            batch = _batch(names)
            answers = self._answers(batch) if self._deaths < _MOST_DEATHS else None
            if answers is None:
                self.refused += len(names)
                yield from zip(names, names, strict=True)
                return
            for name, answer in zip(batch, answers, strict=False):
                yield name, _joined(name, answer)
            names = names[len(answers) :]
            if len(answers) < len(batch):  # the next one killed it
                self.close()
                self._deaths += 1
                self.refused += 1
                yield names[0], names[0]
                names = names[1:]

    def _answers(self, batch: list[str]) -> list[str] | None:
        """What the child says to each; fewer when one killed it; None when there is no child."""
        child = self._start()
        if child is None or child.stdin is None or child.stdout is None:
            return None
        until = time.monotonic() + _PATIENCE_S
        data = b""
        try:
            child.stdin.write("".join(f"{_split(name)[0]}\n" for name in batch).encode())
            child.stdin.flush()
        except OSError:
            return []
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while data.count(b"\n") < len(batch):
                if not selector.select(until - time.monotonic()):
                    break
                part = os.read(child.stdout.fileno(), 1 << 16)
                if not part:
                    break
                data += part
        return data.decode("utf-8", "replace").split("\n")[:-1]

    def _start(self) -> subprocess.Popen[bytes] | None:
        if self._child is None:
            spec = importlib.util.find_spec("pydemumble")
            if spec is None or not spec.origin:
                return None
            folder = str(Path(spec.origin).parent.parent)
            try:
                self._child = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", _CHILD, folder, str(NAME_LIMIT)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env={},
                    start_new_session=True,
                )
            except OSError:
                return None
        return self._child


def _can_ask(name: str) -> bool:
    return (
        _MANGLED.match(name) is not None
        and len(name) <= NAME_LIMIT
        and name.isascii()
        and name.isprintable()
    )


def _batch(names: list[str]) -> list[str]:
    """As many of the first as fit into the pipe."""
    room = _BATCH_BYTES
    for index, name in enumerate(names):
        room -= len(name) + 1
        if room < 0:
            return names[:index]
    return names


def _split(name: str) -> tuple[str, str]:
    """The mangled part, and what was added to it: `@plt`, or a version."""
    mangled, at, rest = name.partition("@")
    return mangled, at + rest


def _joined(name: str, answer: str) -> str:
    return answer + _split(name)[1] if answer else name
