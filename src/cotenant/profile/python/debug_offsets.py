"""The offsets that a CPython tells itself, from 3.13 on: `struct _Py_DebugOffsets`.

`_PyRuntime` begins with it, in the file as in the process (Include/internal/
pycore_debug_offsets.h). Its fields change with each minor version, so they are named per version.
It comes from a tenant's file: each number is compared with bounds before it is taken.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from cotenant.profile.python.offsets import KEY_AFTER_HEAD, TABLE, Layout

COOKIE: Final = b"xdebugpy"
DEBUG_OFFSETS_SIZE: Final = 1024
"""As many bytes of `_PyRuntime` are asked for; the structs of 3.13 and 3.14 are shorter."""
_MOST = 0xFFFF  # what the kernel side takes

_GROUPS_3_13 = """
    runtime size finalizing interpreters_head
    interpreter size id next threads_head gc imports_modules sysdict builtins ceval_gil gil gil_on
        gil_locked gil_holder
    thread size prev next interp current_frame thread_id native_thread_id datastack_chunk status
    frame size previous executable instr_ptr localsplus owner
    code size filename name qualname linetable firstlineno argcount localsplusnames
        localspluskinds adaptive
    object size ob_type
    type size tp_name tp_repr tp_flags
    tuple size ob_item ob_size
    list size ob_item ob_size
    dict size ma_keys ma_values
    float size ob_fval
    long size lv_tag ob_digit
    bytes size ob_size ob_sval
    unicode size state length ascii_size
"""
_GROUPS_3_14 = (
    _GROUPS_3_13.replace("threads_head gc", "threads_head threads_main gc")
    .replace("gil_holder", "gil_holder code_object_generation tlbc_generation")
    .replace("localsplus owner", "localsplus owner stackpointer tlbc_index")
    .replace("localspluskinds adaptive", "localspluskinds adaptive co_tlbc")
    .replace("dict size", "set size used table mask\n    dict size")
)


class BadOffsets(ValueError):
    """These debug offsets are of no CPython that is known: a sentence says why."""


def _fields(groups: str) -> tuple[tuple[str, str], ...]:
    """Group and field of each number, in order. A group's line may go on, further indented."""
    found = []
    group = ""
    for line in groups.strip("\n").splitlines():
        words = line.split()
        if not line.startswith(" " * 8):
            group, *words = words
        found += [(group, word) for word in words]
    return tuple(found)


_FIELDS = {(3, 13): _fields(_GROUPS_3_13), (3, 14): _fields(_GROUPS_3_14)}
DEBUG_VERSIONS: Final = tuple(_FIELDS)
"""Versions whose binaries tell their offsets in a way known here."""


class DebugHead(NamedTuple):
    """How debug offsets begin, in every version that has them."""

    version: int
    """PY_VERSION_HEX."""
    free_threaded: bool


def debug_head(data: bytes) -> DebugHead | None:
    """Version out of the first bytes of `_PyRuntime`; None: no debug offsets (3.12 and earlier)."""
    if len(data) < 24 or data[:8] != COOKIE:
        return None
    version, free_threaded = struct.unpack_from("<QQ", data, 8)
    return DebugHead(version & 0xFFFFFFFF, free_threaded != 0)


def from_debug_offsets(data: bytes, version: tuple[int, int]) -> Layout:
    """The layout that a binary of `DEBUG_VERSIONS` tells; BadOffsets when it cannot be one."""
    fields = _FIELDS[version]
    if not data.startswith(COOKIE) or len(data) < 24 + 8 * len(fields):
        raise BadOffsets("its debug offsets are missing")
    numbers = struct.unpack_from(f"<{len(fields)}Q", data, 24)
    told = dict(zip(fields, numbers, strict=True))
    _check(told)
    return TABLE[version]._replace(
        tstate_frame=told["thread", "current_frame"],
        frame_code=told["frame", "executable"],
        frame_previous=told["frame", "previous"],
        frame_lasti=told["frame", "instr_ptr"],
        frame_entry=told["frame", "owner"],
        code_firstlineno=told["code", "firstlineno"],
        code_adaptive=told["code", "adaptive"],
        code_filename=told["code", "filename"],
        code_name=told["code", "name"],
        code_qualname=told["code", "qualname"],
        code_linetable=told["code", "linetable"],
        code_argcount=told["code", "argcount"],
        str_length=told["unicode", "length"],
        str_state=told["unicode", "state"],
        str_ascii=told["unicode", "ascii_size"],
        str_compact=told["unicode", "ascii_size"] + 16,  # a length and a pointer between
        bytes_size=told["bytes", "ob_size"],
        bytes_data=told["bytes", "ob_sval"],
        runtime_interpreters=told["runtime", "interpreters_head"],
        runtime_key=told["runtime", "interpreters_head"] + KEY_AFTER_HEAD,
        interpreter_next=told["interpreter", "next"],
        interpreter_threads=told["interpreter", "threads_head"],
        tstate_next=told["thread", "next"],
        tstate_interp=told["thread", "interp"],
        tstate_thread_id=told["thread", "thread_id"],
        tstate_native_id=told["thread", "native_thread_id"],
    )


_READ_GROUPS = ("runtime", "interpreter", "thread", "frame", "code", "unicode", "bytes")
_READ_FIELDS = """
    interpreters_head next interp threads_head current_frame thread_id native_thread_id previous
    executable instr_ptr owner filename name qualname linetable firstlineno argcount adaptive
    ob_size ob_sval state length ascii_size
""".split()


def _check(told: dict[tuple[str, str], int]) -> None:
    """Refuse numbers of a struct with other fields: each offset lies in its own struct."""
    for (group, field), offset in told.items():
        if group not in _READ_GROUPS or field not in _READ_FIELDS:
            continue
        size = told[group, "size"]
        aligned = offset % 8 == 0 or field in ("owner", "firstlineno", "argcount")
        if not 0 <= offset <= min(size, _MOST) or not aligned:
            raise BadOffsets(f"its debug offsets put {group}.{field} at {offset} of {size} bytes")
    # Public since 3.3 and part of the stable ABI's shapes: these tell a shifted struct apart.
    fixed = (told["bytes", "ob_sval"], told["unicode", "length"], told["unicode", "state"])
    if fixed != (32, 16, 32):
        raise BadOffsets("its debug offsets have an order that is not known")
