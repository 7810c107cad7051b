"""Whether a file holds an interpreter: which version, its eval function, where its state lies.

Told by symbols, never by the file's name alone: a static executable, libpython, uwsgi or a
bundle of its own hold CPython all the same.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from cotenant.profile.elf import SHT_NOBITS, Elf
from cotenant.profile.python.debug_offsets import (
    DEBUG_OFFSETS_SIZE,
    DEBUG_VERSIONS,
    BadOffsets,
    debug_head,
    from_debug_offsets,
)
from cotenant.profile.python.evals import EVAL, Range, eval_ranges
from cotenant.profile.python.offsets import TABLE, Layout

RUNTIME = "_PyRuntime"
_NAMED = re.compile(r"python-?(\d)\.(\d{1,2})(?!\d)")
_COMPILED_IN = re.compile(rb"[\0/]python(3)\.(\d{1,2})\0")
_RODATA_LIMIT = 16 << 20
_FIRST, _LAST = min(TABLE), max(TABLE)
_HIGHEST = 1 << 44  # bits of an ELF address in a sample
_NATIVE = "its stacks have native frames only"


class Located(NamedTuple):
    """A CPython whose frames can be read. Addresses are the ELF file's."""

    version: tuple[int, int]
    release: str
    """As far as it is told: 3.11.2, or 3.9."""
    layout: Layout
    runtime: int
    """Where `_PyRuntime` lies."""
    evals: tuple[Range, ...]
    """Begin and end of each piece of the eval function, 1 to 4; the one with its symbol first."""


class Unreadable(NamedTuple):
    """An interpreter whose frames are not read, and why."""

    language: str
    release: str
    """Empty: not told."""
    sentence: str


def locate(elf: Elf, name: str) -> Located | Unreadable | None:
    """What interpreter the file holds; None: none that is known. May raise BrokenElf.

    `name` is the file's own; it is asked only where nothing in the file tells the version.
    """
    if runtime := elf.find(RUNTIME):
        return _python(elf, name, runtime[0], ".dynsym")
    # Reading .symtab costs 20 ms and more: only where the section tells that it is worth it.
    if ".PyRuntime" in elf.sections and (runtime := elf.find(RUNTIME, ".symtab")):
        return _python(elf, name, runtime[0], ".symtab")
    if elf.find("Py_GetVersion") and elf.find("PyEval_EvalFrameEx"):  # 3.6 and earlier
        version = _told_by_name(name)
        return _refused(f"{version[0]}.{version[1]}" if version else "")
    return _ruby(elf)


def _python(elf: Elf, name: str, runtime: int, table: str) -> Located | Unreadable:
    head = elf.at(runtime, DEBUG_OFFSETS_SIZE) or b""
    debug = debug_head(head)
    number = _version_number(elf, table) or (debug.version if debug else None)
    if number:
        version = number >> 24, number >> 16 & 0xFF
        release = f"{version[0]}.{version[1]}.{number >> 8 & 0xFF}"
    else:
        told = _told_by_name(name) or _compiled_in(elf)
        if told is None:
            return _refused("")
        version, release = told, f"{told[0]}.{told[1]}"
    if debug and debug.free_threaded:
        sentence = f"Python {release} runs without the GIL: {_NATIVE}."
        return Unreadable("Python", release, sentence)
    if version not in TABLE:
        return _refused(release)
    try:
        tells = version in DEBUG_VERSIONS
        layout = from_debug_offsets(head, version) if tells else TABLE[version]
    except BadOffsets as error:
        return Unreadable("Python", release, f"Python {release}: {error}, so {_NATIVE}.")
    evals = eval_ranges(elf, table)
    if not evals or evals[0][1] > _HIGHEST or runtime > _HIGHEST:
        sentence = f"Python {release} has no usable symbol {EVAL}, so {_NATIVE}."
        return Unreadable("Python", release, sentence)
    return Located(version, release, layout, runtime, evals)


def _refused(release: str) -> Unreadable:
    known = f"Frames of Python {_FIRST[0]}.{_FIRST[1]} to {_LAST[0]}.{_LAST[1]} are read"
    what = f"this is {release}" if release else "which one this is, it does not tell"
    return Unreadable("Python", release, f"{known}; {what}, so {_NATIVE}.")


def _version_number(elf: Elf, table: str) -> int | None:
    """Py_Version, which 3.11 and later export: PY_VERSION_HEX."""
    found = elf.find("Py_Version", table)
    data = elf.at(found[0], 4) if found else None
    return int.from_bytes(data or b"", "little") or None


def _told_by_name(name: str) -> tuple[int, int] | None:
    match = _NAMED.search(name)
    return (int(match[1]), int(match[2])) if match else None


def _compiled_in(elf: Elf) -> tuple[int, int] | None:
    """The version in the path of the standard library, for 3.10 and earlier under odd names."""
    section = elf.sections.get(".rodata")
    if section is None or section.type == SHT_NOBITS or section.size > _RODATA_LIMIT:
        return None
    data = elf.content(section) or b""
    told = {(int(major), int(minor)) for major, minor in _COMPILED_IN.findall(data)}
    return told.pop() if len(told) == 1 else None


def _ruby(elf: Elf) -> Unreadable | None:
    if not elf.find("ruby_init"):
        return None
    place = elf.find("ruby_version")
    data = elf.at(place[0], place[1]) if place and 0 < place[1] <= 32 else None
    told = re.match(rb"\d+(\.\d+)+", data or b"")
    release = told[0].decode() if told else ""
    return Unreadable("Ruby", release, f"Ruby {release or 'of unknown version'}: {_NATIVE}.")
