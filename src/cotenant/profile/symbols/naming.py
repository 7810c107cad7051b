"""The names of one binary, from whatever source has them, and from the disk cache first."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from cotenant.profile.binary import Binary
from cotenant.profile.elf import SECTION_LIMIT, SHT_NOBITS, BrokenElf, Elf, Section
from cotenant.profile.symbols.debugfiles import debug_files
from cotenant.profile.symbols.debuginfod import Server
from cotenant.profile.symbols.functions import Row, Symbols
from cotenant.profile.symbols.gopclntab import GoTable
from cotenant.profile.unwind.tables import functions, linkage, mini_debug_info, nameless

CACHE_KIND = "functions"
_PART = 1 << 20
MOST_DIGESTED = 1 << 30
"""Bytes of names of one binary, with its debug file, that are looked at."""
_NAMING = frozenset(
    """.symtab .strtab .dynsym .dynstr .gnu_debugdata .eh_frame_hdr .plt .plt.sec .plt.got
    .rela.plt .rela.dyn .gopclntab .data.rel.ro.gopclntab .go.module""".split()
)


class Cache(Protocol):
    """What is kept on disk, by kind and key."""

    def get(self, kind: str, key: str) -> bytes | None:
        """What was put; None: nothing."""

    def put(self, kind: str, key: str, data: bytes) -> bool:
        """Keeps it, as long as there is room; whether that was possible."""


class Naming:
    """Makes the Symbols of binaries. `server`: a debuginfod server; None, the default: not asked.

    `refused` counts sources that were there and could not be read, `last_refusal` tells the last.
    """

    def __init__(self, cache: Cache | None = None, server: Server | None = None) -> None:
        self._cache = cache
        self._server = server
        self.refused = 0
        self.last_refusal = ""

    def symbols(self, elf: Elf, path: str = "", roots: Sequence[Path] = ()) -> Symbols:
        """Names of the functions in that binary; empty when it has none. Raises nothing.

        `path` is the binary's as its tenant sees it, `roots` where separate debug files are looked
        for (`debugfiles.roots_of`). Functions of several sources are joined; of one address, the
        first source named it: Go's own table, .symtab, else a separate debug file, else .dynsym
        with MiniDebugInfo, then the procedure linkage table.

        A server is asked for the debug file of a binary with neither; that comes later (`served`).
        """
        try:
            with closing(_Debug(elf, path, roots)) as debug:
                if self._server and not (debug.elf or elf.is_go or ".symtab" in elf.sections):
                    return self._asked(elf, self._server)
                return self._kept(elf, debug.elf)
        except BrokenElf as error:
            self._refuse(error)
            return Symbols.of(())

    def served(self, elf: Elf, file: Binary) -> Symbols | None:
        """The same, with the debug file that the server sent for it; None: that is no good."""
        try:
            debug = Elf(file)
            if debug.build_id != elf.build_id:
                raise BrokenElf("The debuginfod server sent a file of another build.")
            return self._kept(elf, debug, self._server)
        except BrokenElf as error:
            self._refuse(error)
            return None

    def _asked(self, elf: Elf, server: Server) -> Symbols:
        """What the server's file told before; else what the binary tells, and the server is asked.

        The key has no bytes of that file, which is not here: who names a server, trusts it.
        """
        kept = self._get(digest(elf, server=server.address))
        if kept is None:
            server.ask(elf.build_id)
            return self._kept(elf, None)
        return kept

    def _get(self, key: str) -> Symbols | None:
        kept = self._cache.get(CACHE_KIND, key) if self._cache else None
        return Symbols.from_bytes(kept) if kept else None

    def _kept(self, elf: Elf, debug: Elf | None, server: Server | None = None) -> Symbols:
        """From the cache, by all the bytes that names are made of.

        Not by build id: that is a tenant's claim, and who forged it would name his neighbours'
        functions. `server`: who sent the debug file.
        """

        def key() -> str:
            return digest(elf, server=server.address) if server else digest(elf, debug)

        before = key()
        found = self._get(before)
        if found is None:
            found = self._collect(elf, debug, "debuginfod" if server else "debug file")
            if key() != before:
                raise BrokenElf("The file changed while it was read.")
            if self._cache:
                self._cache.put(CACHE_KIND, before, found.to_bytes())
        return found

    def _collect(self, elf: Elf, debug: Elf | None, whence: str) -> Symbols:
        rows: list[Row] = []
        sources: list[str] = []

        def take(source: str, read: Callable[[], Iterator[Row]]) -> bool:
            """True when that source named anything."""
            before = len(rows)
            try:
                rows.extend(read())
            except BrokenElf as error:
                self._refuse(error)
            if len(rows) > before:
                sources.append(source)
            return len(rows) > before

        take("Go", lambda: _go(elf))
        if not (
            take(".symtab", lambda: functions(elf, ".symtab"))
            or (debug and take(whence, lambda: functions(debug, ".symtab")))
        ):
            take(".dynsym", lambda: functions(elf, ".dynsym"))
            take("MiniDebugInfo", lambda: _mini(elf))
            take(".eh_frame_hdr", lambda: nameless(elf, tuple(rows)))
        take("PLT", lambda: linkage(elf))
        return Symbols.of(rows, "+".join(sources))

    def _refuse(self, error: BrokenElf) -> None:
        self.refused += 1
        self.last_refusal = str(error)


def _go(elf: Elf) -> Iterator[Row]:
    table = GoTable.of(elf)
    if table:
        yield from table.functions()


def _mini(elf: Elf) -> Iterator[Row]:
    mini = mini_debug_info(elf)
    if mini:
        yield from functions(mini, ".symtab")


class _Debug:
    """The separate debug file of a binary that has no .symtab of its own, while it is open."""

    def __init__(self, elf: Elf, path: str, roots: Sequence[Path]) -> None:
        self._file: Binary | None = None
        if ".symtab" not in elf.sections:
            self._file = next(debug_files(elf, path, roots), None)
        self.elf = Elf(self._file) if self._file else None

    def close(self) -> None:
        """Gives the file back."""
        if self._file:
            self._file.close()


def digest(
    elf: Elf,
    debug: Elf | None = None,
    server: str | None = None,
) -> str:
    """SHA-256 over whatever names come from, in hex."""
    digest = hashlib.sha256(f"{elf.build_id}\n{server}\n".encode())
    left = MOST_DIGESTED
    for file in (elf, debug):
        if file is None:
            continue
        for section in file.section_list:
            digest.update(repr(section).encode())
            if section.name in _NAMING and section.type != SHT_NOBITS:
                left -= section.size  # many sections may lie at the same place
                if left < 0:
                    raise BrokenElf(f"Its names take more than {MOST_DIGESTED} bytes.")
                _add(digest, file, section)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, file: Elf, section: Section) -> None:
    for at in range(0, min(section.size, SECTION_LIMIT), _PART):
        count = min(_PART, section.size - at)
        digest.update(file.source.read(section.offset + at, count))
