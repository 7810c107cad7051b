"""What stands at an address: of a file, of an interpreter's code, of a JIT's, of the kernel.

Everything here comes from tenants' files and memory, or from the kernel's list; whoever cannot be
asked any more gives a name made of the address.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from operator import is_
from pathlib import PurePath

from cotenant.model import Frame, FrameKind
from cotenant.profile.binaries import Binaries, CodeFile
from cotenant.profile.follow import Follower, Living
from cotenant.profile.parts import UNKNOWN, Renamed
from cotenant.profile.processes.maps import Proc
from cotenant.profile.python.code import Codes, NoFrame
from cotenant.profile.read import Head
from cotenant.profile.symbols.demangle import Demangler
from cotenant.profile.symbols.kallsyms import Kallsyms
from cotenant.profile.symbols.perfmap import PerfMaps

MOST_FRAMES = 1 << 17
"""Frames remembered; then all are forgotten, and looked up again as they are met."""
MOST_PYTHON_FRAMES = 1 << 12
"""The same, of one interpreter."""


class Process:
    """What names of one process need: its interpreter's code, and the frames read so far."""

    def __init__(self, tgid: int, living: Living) -> None:
        self.started = living.started
        self.codes: Codes | None = None
        self.frames: dict[tuple[int, int, int], Frame | NoFrame] = {}
        self._memory = -1
        self._tgid = tgid
        self._file = _interpreter(living)
        if self._file and self._file.python:
            self.codes = Codes(self._file.python.layout, self._read)

    def is_still(self, living: Living | None) -> bool:
        """Whether that is this process, and it runs the same interpreter."""
        return (
            living is not None
            and living.started == self.started
            and _interpreter(living) is self._file
        )

    def next_round(self) -> bool:
        """Looks at all code again that was met; whether it has the names it had."""
        same = self.codes is None or self.codes.next_round()
        if not same or len(self.frames) > MOST_PYTHON_FRAMES:
            self.frames.clear()
            return False
        stale = [at for at, frame in self.frames.items() if frame is NoFrame.STALE]
        for at in stale:
            del self.frames[at]
        return True

    def _read(self, address: int, count: int) -> bytes:
        if self._memory < 0:
            self._open()
        found = os.pread(self._memory, count, address)
        if not found:  # the memory is that of a program which has become another since
            self.close()
            self._open()
            found = os.pread(self._memory, count, address)
        return found

    def _open(self) -> None:
        """Raises OSError where the number is nobody's, or another process's by now."""
        self._memory = os.open(f"/proc/{self._tgid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        if Proc().is_over(self._tgid, self.started):  # asked last: then it was its memory
            self.close()
            raise ProcessLookupError(self._tgid)

    def close(self) -> None:
        """Gives its descriptor back."""
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1


class Names:
    """Names of everything that samples meet; see `stacks.Names` for what is asked."""

    def __init__(self, binaries: Binaries, follower: Follower) -> None:
        self._binaries = binaries
        self._follower = follower
        self._kernel = Kallsyms()
        self._jits = PerfMaps()
        self._demangler = Demangler()
        self._processes: dict[int, Process] = {}
        self._native: dict[tuple[int, int], Frame] = {}
        self._learned: list[CodeFile] = []
        self._kernel_frames: dict[int, Frame] = {}
        self._kernel_reads = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What names lack on this host, a sentence each."""
        return tuple(filter(None, (self._kernel.reason, self._binaries.server_note)))

    def prepare(self) -> None:
        """Reads what takes long, before anything is asked."""
        self._kernel.refresh()

    def next_round(self, gone: Collection[int]) -> Renamed:
        """The dead are forgotten, and files of these numbers; what was read is looked at again."""
        living = self._follower.living
        self._jits.keep(living)
        self._kernel.refresh()
        if self._kernel_reads != self._kernel.reads or len(self._kernel_frames) > MOST_FRAMES:
            self._kernel_reads = self._kernel.reads
            self._kernel_frames.clear()
        over = {t for t, process in self._processes.items() if not process.is_still(living.get(t))}
        for tgid in over:
            self._processes.pop(tgid).close()
        changed = {tgid for tgid, process in self._processes.items() if not process.next_round()}
        if len(self._native) > MOST_FRAMES:
            self._native.clear()
        if gone:
            self._native = {at: name for at, name in self._native.items() if at[0] not in gone}
        return Renamed(bool(gone) or self._binaries.named_anew(), frozenset(over | changed))

    # --- files

    def native(self, number: int, address: int) -> Frame:
        """A function of a known file: frames tell its begin, so that all places in it are one."""
        file = self._binaries.by_number.get(number)
        if file is None:
            return Frame(f"[unknown file]+{address:#x}", FrameKind.NATIVE)
        symbols = self._binaries.symbols(file)
        if symbols is None:  # not now; perhaps the next time
            return _native_frame(file, _place(file, address), address)
        index = symbols.index(address)
        place = (number, address if index is None else ~index)
        known = self._native.get(place)
        if known is None:
            name, start = ("", address) if index is None else symbols.function(index)
            name = self._demangler.name(name) or _place(file, start)
            known = self._native[place] = _native_frame(file, name, start)
        return known

    def learn(self) -> None:
        """Takes over the names that debug files tell which a server sent since."""
        learned = self._binaries.learn()
        numbers = {file.number for file in learned}
        if numbers:
            self._native = {at: name for at, name in self._native.items() if at[0] not in numbers}
        self._learned = [
            file
            for file in (*self._learned, *learned)
            if self._binaries.by_number.get(file.number) is file
        ]

    def renamed(self, frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
        """These frames as they are called now: names may have come after whoever has them died.

        A frame tells its file by path and build id; where several files have both, it stays.
        """
        files: dict[tuple[str, str], CodeFile | None] = {}
        for file in self._binaries.by_number.values() if self._learned else ():
            place = (file.path, file.build_id)
            files[place] = None if place in files else file
        learned = {
            place: file.number
            for place, file in files.items()
            if file is not None and file in self._learned
        }
        found = tuple([self._renamed(frame, learned) for frame in frames]) if learned else frames
        return frames if all(map(is_, found, frames)) else found

    def _renamed(self, frame: Frame, learned: Mapping[tuple[str, str], int]) -> Frame:
        number = learned.get((frame.module, frame.build_id))
        if number is None or frame.kind is not FrameKind.NATIVE:
            return frame
        return self.native(number, frame.address)

    # --- processes

    def _lives(self, head: Head) -> bool:
        living = self._follower.living.get(head.tgid)
        return living is not None and is_start(living.started, head.started)

    def _process(self, head: Head) -> Process | None:
        process, living = self._processes.get(head.tgid), self._follower.living.get(head.tgid)
        if living is not None and not is_start(living.started, head.started):
            living = None  # another, of the same number
        known = process is not None and is_start(process.started, head.started)
        if process and known and (living is None or process.is_still(living)):
            return process
        if living is None:
            return None
        if process:
            process.close()
        process = self._processes[head.tgid] = Process(head.tgid, living)
        return process

    def python(self, head: Head, code: int, first_line: int, come: int) -> Frame | NoFrame:
        """A Python function, and the line it has come to."""
        process = self._process(head)
        if process is None or process.codes is None:
            return NoFrame.STALE
        place = (code, first_line, come)
        frame = process.frames.get(place)
        if frame is None:
            frame = process.frames[place] = process.codes.frame(*place)
        return frame

    def other(self, head: Head, address: int) -> Frame:
        """JIT code by the process's own list; else nothing that is known."""
        found = self._jits.lookup(head.tgid, address) if self._lives(head) else None
        if found:
            name = self._demangler.name(found[0])
            return Frame(name, FrameKind.JIT, module="[jit]", address=found[1])
        return UNKNOWN

    def may_tell(self, head: Head) -> bool:
        """Whether that process lives, and has a list of the code it makes: names come late."""
        return self._lives(head) and self._jits.has(head.tgid)

    # --- the kernel

    def kernel(self, address: int) -> Frame:
        """A function of the kernel or of one of its modules."""
        frame = self._kernel_frames.get(address)
        if frame is None:
            found = self._kernel.lookup(address)
            if found is None:  # perhaps the next time
                return Frame(f"{address:#x}", FrameKind.KERNEL, module="[kernel]", address=address)
            name, module, start = found
            frame = Frame(name, FrameKind.KERNEL, module=module, address=start)
            self._kernel_frames[address] = frame
        return frame

    def close(self) -> None:
        """Gives all descriptors back, ends the demangler's child."""
        self._demangler.close()
        for process in self._processes.values():
            process.close()
        self._processes.clear()


def is_start(told: int, started: int) -> bool:
    """Whether these are one start: of a fork, user space may have learnt one tick late."""
    return told in (started, started + 1)


def _interpreter(living: Living) -> CodeFile | None:
    return next((file for file in reversed(living.files) if file.python), None)


def _place(file: CodeFile, address: int) -> str:
    return f"{PurePath(file.path).name}+{address:#x}"


def _native_frame(file: CodeFile, name: str, address: int) -> Frame:
    return Frame(name, FrameKind.NATIVE, module=file.path, build_id=file.build_id, address=address)
