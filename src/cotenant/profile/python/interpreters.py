"""What the programs know of an interpreter: packed for them, and found in a live process."""

from __future__ import annotations

import os

from cotenant.kernel import records
from cotenant.profile.programs import PYTHON
from cotenant.profile.python.locate import Located
from cotenant.profile.python.offsets import Lasti, Layout
from cotenant.profile.python.threads import ByThread, NoThreads, Slot, find

_SCALES = {Lasti.POINTER: 0, Lasti.BYTES: 1, Lasti.WORDS: 2}


def packed(python: Located, slot: int) -> bytes:
    """A profile_python. `slot`: from a thread's fs base to its state; 0: not known yet."""
    layout = python.layout
    ranges = [address for piece in python.evals for address in piece]
    ranges += [0] * (2 * records.PROFILE_RANGES - len(ranges))
    return PYTHON.pack(
        *ranges,
        slot,
        _kind(layout),
        layout.tstate_frame,
        layout.tstate_cframe or 0,
        int(layout.tstate_cframe is not None),
        _frame_bytes(layout),
        layout.frame_code,
        layout.frame_previous,
        layout.frame_lasti,
        layout.frame_entry or 0,
        layout.entry_value,
        _SCALES[layout.lasti],
        layout.code_firstlineno,
        layout.code_adaptive,
    )


def _kind(layout: Layout) -> int:
    if layout.frame_entry is None:
        return records.PROFILE_PYTHON_ONE
    return records.PROFILE_PYTHON_ENTRY if layout.entry_kept else records.PROFILE_PYTHON_SHIM


def _frame_bytes(layout: Layout) -> int:
    """No more than is needed: behind a frame the memory may end."""
    last = max(layout.frame_code, layout.frame_previous, layout.frame_lasti)
    return max(last + 8, (layout.frame_entry or 0) + 1)


def find_threads(tgid: int, python: Located, bias: int) -> Slot | ByThread | NoThreads:
    """Where that process's threads keep their state; `bias` is of the interpreter's file."""
    try:
        memory = os.open(f"/proc/{tgid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return NoThreads("Its memory cannot be read (CAP_SYS_PTRACE).")
    try:
        return find(
            python.layout,
            python.runtime + bias,
            lambda address, count: os.pread(memory, count, address),
        )
    finally:
        os.close(memory)


def thread_key(tgid: int, fs_base: int) -> int:
    """The key of a thread in profile_threads: the process above, the fs base less six zero bits."""
    return tgid << 41 | fs_base >> 6
