"""Where each CPython keeps its frames: offsets in bytes into its structs, by version (x86-64).

From offsetof() of the fields in the internal headers of 3.9.18, 3.10.13, 3.11.7, 3.12.1, 3.13.0 and
3.14.10, compared with live processes by tests/kernel/test_profile_python.py. From 3.13 on a binary
tells most of them itself (debug_offsets.py); what it tells is preferred.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

CODE_MASK: Final = ~3 & (1 << 64) - 1
"""Takes the tags off a pointer to a code object: 3.14 keeps some in its low bits."""
KEY_AFTER_HEAD: Final = 1528
"""autoTSSkey - interpreters.head in _PyRuntime, which debug offsets leave out: 3.13 and 3.14."""


class Lasti(IntEnum):
    """What a frame's `frame_lasti` holds."""

    BYTES = 0
    """Offset into the bytecode in bytes, an int."""
    WORDS = 1
    """The same in units of two bytes."""
    POINTER = 2
    """Address of the instruction: offset = it - code object - `code_adaptive`."""


class Layout(NamedTuple):
    """Offsets of one CPython, in bytes. None: that version has no such field."""

    version: tuple[int, int]
    # What the kernel side walks with.
    tstate_frame: int
    """In the thread state: the innermost frame, or where `tstate_cframe` is looked up."""
    tstate_cframe: int | None
    """3.11, 3.12: in what `tstate_frame` points to, the innermost frame."""
    frame_code: int
    frame_previous: int
    frame_lasti: int
    lasti: Lasti
    frame_entry: int | None
    """In a frame: the byte that tells the last frame of one run of the eval function. None: each
    run has exactly one frame."""
    entry_value: int
    """That byte's value in such a frame."""
    entry_kept: bool
    """Whether that frame is Python's (3.11) or a shim without a name (3.12 and later)."""
    code_firstlineno: int
    code_adaptive: int
    """In the code object: where its bytecode begins; 0 when it does not lie in there."""
    default_slot: int
    """From a thread's fsbase to its thread state on glibc with no other key made before."""
    # What names are read with.
    code_filename: int
    code_name: int
    code_qualname: int | None
    code_linetable: int
    """co_lnotab up to 3.9."""
    code_argcount: int
    code_kwonlyargcount: int
    code_flags: int
    str_length: int
    str_state: int
    """Four bytes: kind in bits 2 to 4, then compact, then ascii."""
    str_ascii: int
    """Where the characters of an ASCII string begin; of any other, `str_compact`."""
    str_compact: int
    bytes_size: int
    bytes_data: int
    # What threads are found with.
    runtime_interpreters: int
    runtime_key: int
    """autoTSSkey in _PyRuntime; the pthread key lies four bytes further."""
    interpreter_next: int
    interpreter_threads: int
    tstate_next: int
    tstate_interp: int
    tstate_thread_id: int
    """pthread_self(), which is fsbase on glibc."""
    tstate_native_id: int | None
    """The thread's id as the kernel of its own pid namespace counts."""


_3_9 = Layout(
    version=(3, 9),
    tstate_frame=24,
    tstate_cframe=None,
    frame_code=32,
    frame_previous=24,
    frame_lasti=104,
    lasti=Lasti.BYTES,
    frame_entry=None,
    entry_value=0,
    entry_kept=True,
    code_firstlineno=40,
    code_adaptive=0,
    default_slot=0x318,
    code_filename=104,
    code_name=112,
    code_qualname=None,
    code_linetable=120,
    code_argcount=16,
    code_kwonlyargcount=24,
    code_flags=36,
    str_length=16,
    str_state=32,
    str_ascii=48,
    str_compact=72,
    bytes_size=16,
    bytes_data=32,
    runtime_interpreters=32,
    runtime_key=584,
    interpreter_next=0,
    interpreter_threads=8,
    tstate_next=8,
    tstate_interp=16,
    tstate_thread_id=176,
    tstate_native_id=None,
)
_3_10 = _3_9._replace(version=(3, 10), frame_lasti=96, lasti=Lasti.WORDS)
_3_11 = _3_10._replace(
    version=(3, 11),
    tstate_frame=56,
    tstate_cframe=8,
    frame_previous=48,
    frame_lasti=56,
    lasti=Lasti.POINTER,
    frame_entry=68,  # is_entry
    entry_value=1,
    code_firstlineno=72,
    code_adaptive=184,
    code_filename=112,
    code_name=120,
    code_qualname=128,
    code_linetable=136,
    code_argcount=56,
    code_kwonlyargcount=64,
    code_flags=48,
    runtime_interpreters=40,
    runtime_key=592,
    interpreter_threads=16,
    tstate_thread_id=152,
    tstate_native_id=160,
)
_3_12 = _3_11._replace(
    version=(3, 12),
    tstate_cframe=0,
    frame_code=0,
    frame_previous=8,
    frame_entry=70,  # owner
    entry_value=3,  # FRAME_OWNED_BY_CSTACK
    entry_kept=False,
    code_firstlineno=68,
    code_adaptive=192,
    code_argcount=52,
    code_kwonlyargcount=60,
    str_ascii=40,
    str_compact=56,
    runtime_key=1544,
    interpreter_threads=72,
    tstate_thread_id=136,
    tstate_native_id=144,
)
_3_13 = _3_12._replace(
    version=(3, 13),
    tstate_frame=72,
    tstate_cframe=None,
    code_adaptive=200,
    default_slot=0x328,
    runtime_interpreters=632,
    runtime_key=632 + KEY_AFTER_HEAD,
    interpreter_next=7264,
    interpreter_threads=7344,
    tstate_thread_id=152,
    tstate_native_id=160,
)
_3_14 = _3_13._replace(
    version=(3, 14),
    frame_entry=74,
    entry_value=3,  # FRAME_OWNED_BY_INTERPRETER, with the value that CSTACK had
    code_adaptive=208,
    runtime_interpreters=808,
    runtime_key=808 + KEY_AFTER_HEAD,
    interpreter_next=7272,
)
TABLE: Final = {layout.version: layout for layout in (_3_9, _3_10, _3_11, _3_12, _3_13, _3_14)}
"""The layout of each version that is known."""
