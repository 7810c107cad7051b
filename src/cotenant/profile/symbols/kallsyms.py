"""Names of the kernel's functions by address: its own, its modules', and BPF programs'."""

from __future__ import annotations

import re
import time
from array import array
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from cotenant.profile.symbols.functions import Row, Symbols

KERNEL = "[kernel]"
"""Module of what is in the kernel itself."""
NOT_ALLOWED = (
    "The kernel hides its addresses from this process (CAP_SYSLOG is missing, or "
    "kernel.kptr_restrict is 2): kernel frames have no names."
)
_RETRY_S = 10.0
_LARGEST_GAP = 64 << 10
_LINE = re.compile(rb"^([0-9a-f]+) [tTwW] ([^\n]+)$", re.MULTILINE)  # name, or "name\t[module]"
_LOCAL = ord("t")
_BOUNDS = frozenset((b"_etext", b"_einittext"))
"""Labels behind the last function: they end it and are none."""


class Kallsyms:
    """/proc/kallsyms as a table, read when it is first asked, and again when modules came or went.

    Keeping it takes 5 MB.

    reason    why there are no names; None: there are
    reads     how often it was read: names of before may be others' by now
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._table = Symbols.of(())
        self._modules: bytes | None = None
        self._looked_at = 0.0
        self.reason: str | None = None
        self.reads = 0

    def lookup(self, address: int) -> tuple[str, str, int] | None:
        """Function, module (`[kernel]`, `[nf_tables]`, `[bpf]`) and begin; None: not known.

        An unknown address lets it look for new modules, once in 10 s at the most: BPF programs
        come and go without a change of /proc/modules, so the table is then read again.
        """
        found = self._table.lookup(address)
        if found is None and time.monotonic() - self._looked_at > _RETRY_S:
            self._read()
            found = self._table.lookup(address)
        if found is None:
            return None
        name, _, module = found[0].partition("\t")
        return name, module or KERNEL, found[1]

    def refresh(self) -> None:
        """Reads the table again if modules changed; cheap otherwise. Once per output is enough."""
        if self._modules is None or self._modules != self._loaded():
            self._read()

    def __len__(self) -> int:
        return len(self._table)

    def _loaded(self) -> bytes:
        """Names and sizes of the modules; not their use counts, which change all the time."""
        try:
            lines = (self._proc / "modules").read_bytes().splitlines()
        except OSError:  # a kernel without modules
            return b""
        return b"\n".join(b" ".join(line.split(b" ", 2)[:2]) for line in lines)

    def _read(self) -> None:
        self._looked_at = time.monotonic()
        self.reads += 1
        self._modules = self._loaded()
        try:
            text = (self._proc / "kallsyms").read_bytes()
        except OSError as error:
            self.reason = f"/proc/kallsyms cannot be read: {error.strerror}."
            return
        self._table = Symbols.of(_rows(text), "kallsyms", ordered=True)
        self.reason = None if len(self._table) else NOT_ALLOWED


def _rows(text: bytes) -> Iterator[Row]:
    """Functions by address; none when all addresses are hidden. Each ends where the next begins.

    Behind a module's last function comes another module or nothing: 64 KiB are enough for it.
    """
    # Names stay in the text, and only their places are sorted: 120,000 tuples take 50 MB.
    starts, names, ends = array("Q"), array("I"), array("I")
    for line in _LINE.finditer(text):
        starts.append(int(line[1], 16))
        names.append(line.start(2))
        ends.append(line.end())
    if not any(starts):
        return
    order = sorted(range(len(starts)), key=starts.__getitem__)
    for start, same in groupby(order, starts.__getitem__):
        lines = [(text[names[index] - 2], text[names[index] : ends[index]]) for index in same]
        _, name = lines[0] if len(lines) == 1 else min(lines, key=_rank)
        yield Row(start, 0, name, start if name in _BOUNDS else start + _LARGEST_GAP)


def _rank(line: tuple[int, bytes]) -> tuple[bool, bool, bool, int, int, bytes]:
    """Which of several names of one address is taken, lowest: as `tables` does it."""
    kind, name = line
    underscores = len(name) - len(name.lstrip(b"_"))
    return name in _BOUNDS, kind in b"wW", kind == _LOCAL, underscores, -len(name), name
