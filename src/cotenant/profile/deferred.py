"""Stacks walked later: of processes that the programs in the kernel did not know in time.

A snapshot tells registers and the top of the stack. Once it is known what the process had mapped at
that moment, it is walked by the same tables and the same rules as in `bpf/profile/native.bpf.h`,
and becomes the very sample that the kernel would have told. Python's frames lie elsewhere in the
process's memory, so they are missing: such a sample is marked as one without its Python frames.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from msgspec import Struct

from cotenant.kernel import records
from cotenant.profile.binaries import CodeFile
from cotenant.profile.processes import mappings as spans
from cotenant.profile.processes.mappings import Mapping
from cotenant.profile.programs import SAMPLE
from cotenant.profile.unwind.rules import LOST, Rule, RuleKind, Table

MOST_HELD = 256
"""Snapshots kept at a time, some 16 KiB each; any more are told as they are."""
MOST_WAIT_NS = 3_000_000_000
"""So long a snapshot waits for the unwind table of a binary that was just met."""
FILE_WORD = 1 << 62
_MASK = (1 << 64) - 1
_ADDRESS = (1 << records.PROFILE_ADDRESS_BITS) - 1
_WORD = struct.Struct("<Q")
_TOP = struct.Struct("<QQQ")  # ip, sp, bp
_KERNEL_AT = SAMPLE.size + _TOP.size
_WHOLE = (1 + records.PROFILE_SNAPSHOT_PAGES) * records.PROFILE_PAGE
_FIELD = {name: i for i, name in enumerate(records.PROFILE_SAMPLE_LAYOUT.fields)}
_TGID, _STARTED = _FIELD["tgid"], _FIELD["started"]
_END, _PYTHON_END = _FIELD["end"], _FIELD["python_end"]
_USER, _KERNEL = _FIELD["user"], _FIELD["kernel"]
# struct sigcontext behind the rsp of a signal's frame; see native.bpf.h
_SIGNAL_RBP, _SIGNAL_RSP, _SIGNAL_RIP = 40 + 10 * 8, 40 + 15 * 8, 40 + 16 * 8

_ENDS: dict[int, int] = {
    RuleKind.START: records.PROFILE_END_COMPLETE,
    RuleKind.UNSUPPORTED: records.PROFILE_END_UNSUPPORTED,
}


class Files(Protocol):
    """Whoever knows binaries: `binaries.Binaries`."""

    def rules(self, file: CodeFile) -> Table | None:
        """The file's unwind table; None: there is none."""

    def is_waiting(self, file: CodeFile) -> bool:
        """Whether it is still to be made."""

    def hurry(self, file: CodeFile) -> None:
        """It is wanted first."""


class Snapshot(Struct, gc=False):
    """A sample with registers and the top of the stack. `mappings`: the process's, at that time."""

    raw: bytes
    at_ns: int
    tgid: int
    started: int
    mappings: tuple[Mapping, ...] | None = None

    @classmethod
    def of(cls, raw: bytes) -> Snapshot:
        """Out of a record as the kernel tells it."""
        head = SAMPLE.unpack_from(raw)
        return cls(raw, head[0], head[_TGID], head[_STARTED])


class Waiting(Exception):
    """The table of that file is not made yet."""

    def __init__(self, file: CodeFile) -> None:
        super().__init__()
        self.file = file


class Deferred:
    """Snapshots from when they are told until they are walked.

    `settle` them in the order of time with what their process had mapped by then; `finish` hands
    each over as a sample. `file` tells the binary of a process's mapping.
    """

    def __init__(self, files: Files, file: Callable[[int, Mapping], CodeFile]) -> None:
        self._files = files
        self._file = file
        self._new: list[Snapshot] = []
        self._settled: deque[Snapshot] = deque()

    def keep(self, raw: bytes) -> None:
        """Takes in a snapshot."""
        self._new.append(Snapshot.of(raw))

    def due(self, until_ns: int) -> Iterator[Snapshot]:
        """Snapshots up to that time, the earliest first: give each its mappings."""
        self._new.sort(key=_at)
        after = 0
        for snapshot in self._new:
            if snapshot.at_ns > until_ns:
                break
            after += 1
            yield snapshot
        self._settled.extend(self._new[:after])
        del self._new[:after]

    def finish(self, now_ns: int) -> Iterator[bytes]:
        """Samples of all that can be walked by now; others wait a little. 0: none waits."""
        for _ in range(len(self._settled)):
            snapshot = self._settled.popleft()
            patient = now_ns - snapshot.at_ns < MOST_WAIT_NS and len(self._settled) < MOST_HELD
            try:
                yield self._sample(snapshot, bool(now_ns) and patient)
            except Waiting as waiting:
                self._files.hurry(waiting.file)
                self._settled.append(snapshot)

    def _sample(self, snapshot: Snapshot, patient: bool) -> bytes:
        raw = snapshot.raw
        head = list(SAMPLE.unpack_from(raw))
        kernel = raw[_KERNEL_AT : _KERNEL_AT + 8 * head[_KERNEL]]
        registers = _TOP.unpack_from(raw, SAMPLE.size)
        words = [registers[0]]
        if snapshot.mappings:
            walk = Walk(registers, raw[_KERNEL_AT + len(kernel) :], snapshot.mappings)
            walk.go(self._files, lambda mapping: self._file(snapshot.tgid, mapping), patient)
            words, head[_END], head[_PYTHON_END] = walk.words, walk.end, walk.python_end
        head[_USER] = len(words)
        return SAMPLE.pack(*head) + struct.pack(f"<{len(words)}Q", *words) + kernel


class Walk:
    """One walk up a copied stack; `words` and `end` are as the kernel tells them."""

    def __init__(
        self, registers: Sequence[int], stack: bytes, mappings: tuple[Mapping, ...]
    ) -> None:
        self._ip, self._sp, self._bp = registers
        self._base = self._sp
        self._stack = stack
        self._mappings = list(mappings)
        self.words: list[int] = []
        self.end = records.PROFILE_END_DEEP
        self.python_end = records.PROFILE_PYTHON_FINE

    def go(self, files: Files, file_of: Callable[[Mapping], CodeFile], patient: bool) -> None:
        """Walks to the end. Raises Waiting, if `patient`, where a table is still to be made."""
        for _ in range(records.PROFILE_STEPS):
            if len(self.words) >= records.PROFILE_USER_WORDS - 1:
                return
            try:
                end = self._step(files, file_of, patient)
            except _NotThere as error:
                end = error.end
            if end is not None:
                self.end = end
                return

    def _step(
        self, files: Files, file_of: Callable[[Mapping], CodeFile], patient: bool
    ) -> int | None:
        """One frame; None: there is another one."""
        mapping = spans.at(self._mappings, self._ip)
        if mapping is None:
            self.words.append(self._ip)
            return records.PROFILE_END_NO_MAPPING
        file = file_of(mapping)
        if not file.number:
            self.words.append(self._ip)
            if mapping.kind == spans.ANONYMOUS:
                return self._by_pointer(jit=True)
            return records.PROFILE_END_NO_TABLE
        address = (self._ip - file.bias(mapping)) & _MASK
        self.words.append(
            FILE_WORD | file.number << records.PROFILE_ADDRESS_BITS | address & _ADDRESS
        )
        if file.python and any(begin <= address < end for begin, end in file.python.evals):
            self.python_end = records.PROFILE_PYTHON_NO_THREAD
        if file.kind != records.PROFILE_MAPPING_TABLE:
            return self._by_pointer(jit=False)
        if patient and files.is_waiting(file):
            raise Waiting(file)
        table = files.rules(file)
        return self._by_rule(table.lookup(address)) if table else records.PROFILE_END_NO_TABLE

    def _by_pointer(self, jit: bool) -> int | None:
        if not self._bp:
            return records.PROFILE_END_COMPLETE
        if jit and self._bp < self._sp:
            return records.PROFILE_END_JIT
        return self._return_to(self._bp + 16, self._bp)

    def _by_rule(self, rule: Rule) -> int | None:
        if rule.kind in _ENDS:
            return _ENDS[rule.kind]
        if rule.kind == RuleKind.NONE:
            return self._unruled()
        if rule.kind == RuleKind.SIGNAL:
            self._back_from_signal()
            return None
        cfa = self._frame_address(rule) & _MASK
        saved_bp = self._bp if rule.kind == RuleKind.RBP_DEREF else None
        if rule.rbp == LOST:
            self._bp, saved_bp = LOST, None  # whoever needs it will find no memory there
        elif rule.rbp:
            saved_bp = cfa + rule.rbp
        return self._return_to(cfa, saved_bp)

    def _unruled(self) -> int | None:
        if not self._bp:
            return records.PROFILE_END_COMPLETE
        try:
            back = self._read(self._bp + 8) if self._bp >= self._sp else 0
        except _NotThere:
            back = 0
        if not back or spans.at(self._mappings, back) is None:
            return records.PROFILE_END_NO_RULE
        return self._return_to(self._bp + 16, self._bp)

    def _frame_address(self, rule: Rule) -> int:
        if rule.kind == RuleKind.RSP:
            return self._sp + rule.cfa
        if rule.kind == RuleKind.RBP:
            return self._bp + rule.cfa
        if rule.kind == RuleKind.PLT:
            return self._sp + 8 + (8 if self._ip & 15 >= rule.cfa else 0)
        if rule.kind == RuleKind.RSP_DEREF:
            return self._read(self._sp + rule.cfa) + 8
        return self._read(self._bp + rule.cfa)

    def _return_to(self, cfa: int, saved_bp: int | None) -> int | None:
        back = self._read(cfa - 8)
        bp = self._bp if saved_bp is None else self._read(saved_bp)
        if not back:
            return records.PROFILE_END_COMPLETE
        self._ip, self._sp, self._bp = back - 1, cfa & _MASK, bp
        return None

    def _back_from_signal(self) -> None:
        frame = self._sp
        self._bp = self._read(frame + _SIGNAL_RBP)
        self._sp = self._read(frame + _SIGNAL_RSP)
        self._ip = self._read(frame + _SIGNAL_RIP)

    def _read(self, address: int) -> int:
        at = (address & _MASK) - self._base
        if 0 <= at <= len(self._stack) - 8:
            return int(_WORD.unpack_from(self._stack, at)[0])
        # All pages were there: so it lies behind them. Else the stack itself ended, or never was.
        cut = at > 0 and len(self._stack) > _WHOLE - records.PROFILE_PAGE
        raise _NotThere(records.PROFILE_END_SNAPSHOT if cut else records.PROFILE_END_FAULT)


class _NotThere(Exception):
    def __init__(self, end: int) -> None:
        super().__init__()
        self.end = end


def _at(snapshot: Snapshot) -> int:
    return snapshot.at_ns
