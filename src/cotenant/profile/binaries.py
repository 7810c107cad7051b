"""The files whose code is mapped somewhere: what is known of each, once, however many map it.

Files are one when all that matters of them is the same to the byte, so that copies in many images
count once. A build id is not enough: it is what a tenant says, and would make his file theirs.
A file is opened through a process that maps it, and kept open until its symbols were needed: by
then that process may be gone. Where too many are open it is opened again, if one still maps it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from time import monotonic

from cotenant.kernel import records
from cotenant.profile.binary import Binary, open_mapped, open_named
from cotenant.profile.elf import BrokenElf, Elf, Segment
from cotenant.profile.processes.mappings import VDSO, Mapping
from cotenant.profile.processes.maps import Proc, View
from cotenant.profile.python.interpreters import packed
from cotenant.profile.python.locate import Located, Unreadable, locate
from cotenant.profile.symbols.debugfiles import roots_of
from cotenant.profile.symbols.debuginfod import Server
from cotenant.profile.symbols.functions import Symbols
from cotenant.profile.symbols.naming import Cache, Naming, digest
from cotenant.profile.unwind.loaded import Tables
from cotenant.profile.unwind.making import Making, fingerprint
from cotenant.profile.unwind.rules import Table

MOST_OPEN = 128
"""Files kept open at most."""
MOST_PLACES = 8
"""Processes remembered through which a file can be opened again."""
IDLE_S = 10.0
"""A file that nobody mapped for so long has no samples left without names."""
MOST_IDLE = 512
"""Such files that are still remembered: who ran a minute ago may run again."""
MOST_NAMES = 1 << 15
"""Names of files remembered; then all are forgotten, and files are recognised by their content."""
MOST_VIEWS = 1 << 12
MOST_SYMBOLS_BYTES = 48 << 20
"""Symbol tables kept in memory at most; the one not asked for longest goes first."""
VDSO_NAME = "[vdso]"
UNKNOWN = 0
"""Number of files that have none."""


class CodeFile:
    """One file. `number` is the programs' for it; `note` a sentence on what it cannot give."""

    def __init__(self, number: int, path: str, build_id: str, identity: str) -> None:
        self.number = number
        self.path = path
        self.build_id = build_id
        self.identity = identity
        self.used_s = monotonic()
        """When a process was last met that maps it."""
        self.unwound_by = ""
        """What its .eh_frame is told apart by: the file may change under our hands."""
        self.kind = records.PROFILE_MAPPING_TABLE
        self.places: deque[tuple[int, Mapping]] = deque(maxlen=MOST_PLACES)
        """Processes that map it, the last that were met, and where."""
        self.elf: Elf | None = None
        self.segments: list[Segment] = []
        self.python: Located | None = None
        self.python_number = 0
        self.python_slot = 0
        self.note = ""

    def bias(self, mapping: Mapping) -> int:
        """Address in memory less address as the file's symbols count."""
        shift = self.elf.executable_bias(mapping.pgoff) if self.elf else None
        return mapping.start - mapping.pgoff - (shift or 0)


NOTHING = CodeFile(UNKNOWN, "", "", "")
"""Stands for files that cannot be read, or for which there is no number left."""


class Binaries:
    """All files, by how mappings name them. `work()` makes their tables, oldest wish first.

    `server` is a debuginfod server to ask; None: nobody is asked. `untabled` counts files whose
    table is broken, beyond a bound, or found no room.
    """

    def __init__(
        self, tables: Tables, cache: Cache | None = None, server: Server | None = None
    ) -> None:
        self._tables = tables
        self._naming = Naming(cache, server)
        self._server = server
        self._by_mapping: dict[tuple[View, str, str], CodeFile] = {}
        self._viewers: OrderedDict[View, int] = OrderedDict()
        self._by_identity: dict[str, CodeFile] = {}
        self.by_number: dict[int, CodeFile] = {}
        self._open: OrderedDict[int, Binary] = OrderedDict()
        self._symbols: OrderedDict[int, Symbols | None] = OrderedDict()
        self._waiting: deque[CodeFile] = deque()
        self._made: tuple[CodeFile, Future[Table | None]] | None = None
        self._making = Making(cache)
        self._mapped: frozenset[int] = frozenset()
        self._vdso: CodeFile | None = None
        self._proc = Proc()
        self._roomless: list[CodeFile] = []
        self._nameless: set[int] = set()
        self._named_anew = False
        self.untabled = 0

    def view(self, tgid: int) -> View | None:
        """How that process sees the files; None: it is gone."""
        found = self._proc.view(tgid)
        if found is not None:
            self._viewers[found] = tgid
            self._viewers.move_to_end(found)
            if len(self._viewers) > MOST_VIEWS:
                self._viewers.popitem(last=False)
        return found

    def of(self, tgid: int, mapping: Mapping, view: View | None) -> CodeFile:
        """The file of a mapping. Opened through that process when it was never seen before.

        `view` is how it sees the files, or saw them: what a tenant has under a name is not taken
        for what another has there, be their build ids the same.
        """
        if mapping.kind == VDSO:
            if self._vdso is None:
                self._vdso = self._meet_vdso()
            return self._vdso
        if view is None:
            return NOTHING
        key = (view, mapping.path, mapping.build_id or f"{mapping.device}:{mapping.inode}")
        found = self._by_mapping.get(key)
        if found is None:
            found = self._meet(tgid, mapping, view)
            if found is None:  # perhaps the next process can show it
                return NOTHING
            if len(self._by_mapping) >= MOST_NAMES:
                self._by_mapping.clear()
            self._by_mapping[key] = found
            if found.build_id:  # /proc, unlike records, does not tell it
                self._by_mapping.setdefault((view, mapping.path, found.build_id), found)
        if found is NOTHING:
            return found
        self._meet_again(found, tgid, mapping)
        return found

    def _meet_again(self, file: CodeFile, tgid: int, mapping: Mapping) -> None:
        file.used_s = monotonic()
        if file.number in self._tables.evicted:
            self._tables.evicted.discard(file.number)
            self._waiting.append(file)
        if not file.places or file.places[0][0] != tgid:
            file.places.appendleft((tgid, mapping))
            if file.number in self._nameless:
                self._nameless.discard(file.number)
                self._named_anew = True

    def _meet(self, tgid: int, mapping: Mapping, view: View) -> CodeFile | None:
        """The file, looked at for the first time; NOTHING: it is no good. None: out of reach."""
        opened = open_mapped(tgid, mapping.start, mapping.end, mapping.path, mapping.inode)
        surely = opened is not None
        if opened is None and mapping.build_id and view in self._viewers:
            # It is gone, or became another program; someone else sees the same files.
            opened = open_named(self._viewers[view], mapping.path)
        if opened is None:
            return None
        try:
            elf = Elf(opened)
            if not surely and elf.build_id != mapping.build_id:
                opened.close()
                return None
            unwound_by = fingerprint(elf)
            identity = digest(elf) + unwound_by
            known = self._by_identity.get(identity)
            if known is not None:
                opened.close()
                return known
            file = self._add(elf, identity, mapping.path, unwound_by)
        except BrokenElf:
            file = NOTHING
        if file is NOTHING:
            self.untabled += 1
            opened.close()
        else:
            self._keep_open(file, opened)
        return file

    def _meet_vdso(self) -> CodeFile:
        """The kernel's code in every process: no file, but the same in this one."""
        try:
            elf = Elf(own_vdso())
            unwound_by = fingerprint(elf)
            return self._add(elf, digest(elf) + unwound_by, VDSO_NAME, unwound_by)
        except (OSError, BrokenElf):
            return NOTHING

    def _add(self, elf: Elf, identity: str, path: str, unwound_by: str) -> CodeFile:
        file = CodeFile(self._tables.number(), path, elf.build_id, identity)
        file.unwound_by = unwound_by
        if file.number == UNKNOWN:
            return NOTHING
        file.elf = elf
        file.segments = elf.segments  # read while the file is open
        if elf.is_go:
            file.kind = records.PROFILE_MAPPING_POINTER
        interpreter = locate(elf, path)
        if isinstance(interpreter, Unreadable):
            file.note = interpreter.sentence
        elif interpreter is not None:
            file.python = interpreter
            file.python_number = self._tables.put_python(packed(interpreter, 0))
        self._by_identity[identity] = file
        self.by_number[file.number] = file
        if file.kind == records.PROFILE_MAPPING_TABLE:
            self._waiting.append(file)
        return file

    def learn_slot(self, file: CodeFile, slot: int) -> None:
        """Where one process's threads keep their state, those of the next most likely do, too."""
        if file.python and not file.python_slot:
            file.python_slot = slot
            self._tables.change_python(file.python_number, packed(file.python, slot))

    def _keep_open(self, file: CodeFile, opened: Binary) -> None:
        self._open[file.number] = opened
        if len(self._open) > MOST_OPEN:
            number, oldest = self._open.popitem(last=False)
            if self.by_number[number] in self._waiting:  # now or never
                self._waiting.remove(self.by_number[number])
                self._publish(self.by_number[number], self._making.of(self.by_number[number]))
            oldest.close()

    # --- unwind tables

    @property
    def waiting(self) -> int:
        """Files whose tables are still to be made."""
        return len(self._waiting) + bool(self._made)

    def hurry(self, file: CodeFile) -> None:
        """That file's table is wanted first: a stack was cut in it."""
        if file in self._waiting:
            self._waiting.remove(file)
            self._waiting.appendleft(file)

    def work(self, seconds: float, mapped: Iterable[int] = ()) -> None:
        """Makes tables for about so long; `mapped` are the files that processes map now."""
        until = monotonic() + seconds
        self._mapped = frozenset(mapped)
        while (self._made or self._waiting) and monotonic() < until:
            if self._made is None:
                file = self._waiting.popleft()
                with self._readable(file):
                    self._made = file, self._making.begin(file)
                if file.number in self._symbols:
                    self._let_go(file)
            file, future = self._made
            try:
                found = future.result(max(0.0, until - monotonic()))
            except TimeoutError:
                return
            self._made = None
            self._publish(file, found)

    @contextmanager
    def _readable(self, file: CodeFile) -> Iterator[bool]:
        """A file that was named was closed; it is opened again. False: no process maps it now."""
        is_open = file.number in self._open
        opened = None if is_open else self._open_again(file)
        try:
            yield is_open or opened is not None
        finally:
            if opened:
                opened.close()

    def _publish(self, file: CodeFile, made: Table | None) -> None:
        roomy = self._tables.put(file.number, made, file.python_number, self._mapped)
        self.untabled += not (roomy and made)
        if not roomy:
            self._roomless.append(file)

    def retire(self, mapped: Collection[int]) -> set[int]:
        """Forgets files that nobody has mapped for a while, beyond the number that is kept.

        Their numbers, which come out, are soon other files'. Call it when samples have their names.
        """
        now = monotonic()
        for number in mapped:
            if number:
                self.by_number[number].used_s = now
        idle = [file for file in self.by_number.values() if now - file.used_s > IDLE_S]
        idle = [file for file in idle if file is not self._vdso and not self.is_waiting(file)]
        most = MOST_IDLE if self._tables.numbers_left > MOST_IDLE else 0
        idle.sort(key=lambda file: file.used_s)
        gone = {file.number for file in idle[: max(0, len(idle) - most)]}
        for number in gone:
            self._forget(self.by_number.pop(number))
        if gone:
            self._by_mapping = {
                name: file
                for name, file in self._by_mapping.items()
                if file.number and file.number not in gone
            }
            self._waiting.extend(file for file in self._roomless if file.number not in gone)
            self._roomless.clear()
        return gone

    def _forget(self, file: CodeFile) -> None:
        del self._by_identity[file.identity]
        self._making.forget(file.number)
        self._symbols.pop(file.number, None)
        self._nameless.discard(file.number)
        opened = self._open.pop(file.number, None)
        if opened:
            opened.close()
        self._tables.release(file.number, file.python_number)

    def rules(self, file: CodeFile) -> Table | None:
        """The same table for who walks stacks in user space; None: there is none."""
        if self._making.remembers(file):
            return self._making.rules(file)
        with self._readable(file):
            return self._making.rules(file)

    def is_waiting(self, file: CodeFile) -> bool:
        """Whether that file's table is still to be made."""
        return file in self._waiting or bool(self._made and self._made[0] is file)

    # --- symbols

    def symbols(self, file: CodeFile) -> Symbols | None:
        """The file's functions; None where it can no longer be opened, or has none."""
        if file.number in self._symbols:
            self._symbols.move_to_end(file.number)
            return self._symbols[file.number]
        with self._readable(file) as readable:
            if not readable and file.places:
                self._nameless.add(file.number)
                return None  # perhaps the next process can show it
            holder = file.places[0][0] if file.places else 0
            roots = roots_of(holder)
            found = self._naming.symbols(file.elf, file.path, roots) if file.elf else None
        self._symbols[file.number] = found
        self._let_go(file)
        while len(self._symbols) > 1 and self._symbol_bytes > MOST_SYMBOLS_BYTES:
            self._symbols.popitem(last=False)
        return found

    def _let_go(self, file: CodeFile) -> None:
        """Closes a file that has its names, unless its table is still to be made of it."""
        if file.number in self._open and file not in self._waiting:
            self._open.pop(file.number).close()

    def learn(self) -> list[CodeFile]:
        """Reads the debug files that a server sent since: whose functions have other names now."""
        renamed: list[CodeFile] = []
        for build_id, debug in self._server.come() if self._server else ():
            for file in [file for file in self.by_number.values() if file.build_id == build_id]:
                with self._readable(file) as readable:
                    if not readable or file.elf is None:
                        continue  # it goes by the names that it told itself
                    found = self._naming.served(file.elf, debug)
                if found is not None:
                    self._symbols[file.number] = found
                    renamed.append(file)
        self._named_anew |= bool(renamed)
        return renamed

    @property
    def server_waiting(self) -> int:
        """Debug files that a server was asked for, and that `learn` has not read yet."""
        return self._server.waiting if self._server else 0

    @property
    def server_note(self) -> str:
        """A sentence on what that server did not answer; empty: nothing of that kind."""
        return self._server.note if self._server else ""

    def named_anew(self) -> bool:
        """Whether, since last asked, a process or debug file came that shows what nobody could."""
        found, self._named_anew = self._named_anew, False
        return found

    def _open_again(self, file: CodeFile) -> Binary | None:
        """The file through a process that was seen with it; None: all are gone."""
        for tgid, at in file.places:
            opened = open_mapped(tgid, at.start, at.end, at.path, at.inode)
            if opened is None:
                continue
            try:
                elf = Elf(opened)
                if digest(elf) + fingerprint(elf) == file.identity:
                    file.elf = elf
                    return opened
            except BrokenElf:
                pass
            opened.close()
        return None

    @property
    def _symbol_bytes(self) -> int:
        return sum(table.memory_bytes for table in self._symbols.values() if table)

    def close(self) -> None:
        """Closes every file."""
        self._making.close()
        if self._server:
            self._server.close()
        for opened in self._open.values():
            opened.close()
        self._open.clear()


def own_vdso() -> bytes:
    """The vDSO's image, an ELF file, out of this process's own memory. OSError: there is none."""
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb") as memory:
        for line in maps:
            if line.rstrip().endswith("[vdso]"):
                start, end = (int(word, 16) for word in line.split()[0].split("-"))
                memory.seek(start)
                return memory.read(end - start)
    raise FileNotFoundError("This process has no vDSO.")
