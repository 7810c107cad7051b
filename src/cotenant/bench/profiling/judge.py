"""What a stack must have to be called whole: one rule for all profilers.

Each is read from its own output. A stack is whole when its outermost frame is where a thread
starts. Its name says so; where a profiler gives an address only, or a name of its own guess, the
same symbol table (ours, with the distribution's debug files where they are) names it for all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from cotenant.profile.binary import Binary
from cotenant.profile.elf import BrokenElf, Elf
from cotenant.profile.symbols.functions import Symbols
from cotenant.profile.symbols.naming import Naming

STARTS = frozenset((
    "start", "libc_start_main", "libc_start_main_impl", "libc_start_call_main",
    "clone", "clone3", "start_thread",
    "runtime.goexit", "runtime.mstart", "runtime.mcall", "runtime.systemstack",
    "runtime.rt0_go", "rt0_amd64_linux",
))  # fmt: skip
"""Functions that threads start in, without the underscores before; Go's stacks begin in its own."""
_DECORATION = re.compile(r"^_+|(?:@.*|\+0x[0-9a-f]+|\.abi0)$")
_MAPPED = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) ..x. ([0-9a-f]+) \S+ \d+\s+(/.*)$", re.MULTILINE)


class Seen(Struct):
    """Samples of one program as a profiler told them: so many, whole, with Python frames."""

    samples: int = 0
    whole: int = 0
    python: int = 0

    def add(self, count: int, whole: bool, python: bool) -> None:
        """Take in `count` samples of one stack."""
        self.samples += count
        self.whole += count * whole
        self.python += count * python

    def join(self, other: Seen) -> None:
        """Take in all of another."""
        self.samples += other.samples
        self.whole += other.whole
        self.python += other.python


def is_start(name: str) -> bool:
    """Whether threads start in a function of that name."""
    bare = _DECORATION.sub("", _DECORATION.sub("", name))
    return bare in STARTS


class Starts:
    """Whether threads start at an address: of a file, or of one of these processes."""

    def __init__(self, pids: Iterable[int] = ()) -> None:
        self._naming = Naming()
        self._symbols: dict[str, tuple[Symbols, Elf] | None] = {}
        self._mapped = {pid: _mappings(pid) for pid in pids}
        self._known: dict[tuple[int, int], bool] = {}

    def of_file(self, path: str, address: int) -> bool:
        """By an address as the file's symbols count; of a return address any of the call's end."""
        made = self._of(path)
        if made is None:
            return False
        found = made[0].lookup(address) or made[0].lookup(address - 1)
        return found is not None and is_start(found[0])

    def of_mapped(self, pid: int, name: str, address: int) -> bool:
        """By the name of a file that a process maps, without its folder, and an address of it."""
        paths = {path for *_, path in self._mapped.get(pid, ()) if Path(path).name == name}
        return any(self.of_file(path, address) for path in paths)

    def of_process(self, pid: int, address: int) -> bool:
        """By an address in a process's memory."""
        known = self._known.get((pid, address))
        if known is None:
            known = self._known[pid, address] = self._at(pid, address)
        return known

    def _at(self, pid: int, address: int) -> bool:
        for start, end, offset, path in self._mapped.get(pid, ()):
            if start <= address < end:
                made = self._of(path)
                bias = made[1].executable_bias(offset) if made else None
                return bias is not None and self.of_file(path, address - start + offset + bias)
        return False

    def _of(self, path: str) -> tuple[Symbols, Elf] | None:
        if path not in self._symbols:
            self._symbols[path] = self._read(path)
        return self._symbols[path]

    def _read(self, path: str) -> tuple[Symbols, Elf] | None:
        try:
            with Binary.at(Path(path)) as opened:
                elf = Elf(opened)
                _ = elf.segments  # read while the file is open
                return self._naming.symbols(elf, path, [Path("/")]), elf
        except (OSError, BrokenElf):
            return None


def _mappings(pid: int) -> list[tuple[int, int, int, str]]:
    """Code that the process maps: begin, end, offset in the file, path."""
    text = Path(f"/proc/{pid}/maps").read_text()
    return [
        (int(start, 16), int(end, 16), int(offset, 16), path)
        for start, end, offset, path in _MAPPED.findall(text)
    ]
