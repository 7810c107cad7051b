"""Reading state files that somebody else wrote: never hangs, never wanders off, never grows.

A container's root is its tenant's to fill: a link there may point anywhere, a file may be a pipe,
a device that does something when it is opened, or gigabytes. So every step below a trusted base is
taken without following links, only regular files are opened, and of those at most `LIMIT` bytes
are read.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import msgspec

LIMIT = 1 << 20
"""Largest state file that is read, in bytes; an OCI config is 10 to 60 kB."""
_STEP = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_DECODE = msgspec.json.Decoder(Any)


def read_below(base: Path, *steps: str, limit: int = LIMIT) -> bytes | None:
    """The file `base/steps...`; None when it is absent, no regular file, too big or out of reach.

    Links in `base` are followed, those in `steps` are not.
    """
    try:
        fd = open_below(base, *steps)
    except (OSError, ValueError):
        return None
    try:
        if os.fstat(fd).st_size > limit:
            return None
        data = os.read(fd, limit + 1)
        return data if len(data) <= limit else None
    except OSError:
        return None
    finally:
        os.close(fd)


def open_below(base: Path, *steps: str) -> int:
    """A descriptor of the regular file `base/steps...`, to read; whoever called closes it.

    OSError when it is absent or out of reach, ValueError when it is no regular file or a step is
    no plain name. Links in `base` are followed, those in `steps` are not.
    """
    return regular(_open(base, steps, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC))


def regular(found: int) -> int:
    """A descriptor to read the file that `found`, opened with O_PATH and closed here, stands for.

    ValueError when it is no regular file: it has not been opened then, and does not know of us.
    """
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise ValueError("It is no regular file.")
        return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    finally:
        os.close(found)


def json_below(base: Path, *steps: str, limit: int = LIMIT) -> dict[str, Any]:
    """The JSON object in the file `base/steps...`; {} when there is none."""
    data = read_below(base, *steps, limit=limit)
    if data is None:
        return {}
    try:
        found = _DECODE.decode(data)
    except (msgspec.MsgspecError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def names_below(base: Path, *steps: str) -> list[str]:
    """Names in the directory `base/steps...`; [] when it cannot be read."""
    try:
        fd = _open(base, steps, _STEP | os.O_DIRECTORY)
    except (OSError, ValueError):
        return []
    try:
        return os.listdir(fd)
    except OSError:
        return []
    finally:
        os.close(fd)


def _open(base: Path, steps: tuple[str, ...], flags: int) -> int:
    fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for step in steps[:-1]:
            if "/" in step or step in ("", "..", "."):
                raise ValueError(step)
            below = os.open(step, _STEP | os.O_DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = below
        if not steps or "/" in steps[-1] or steps[-1] in ("", "..", "."):
            raise ValueError(steps)
        return os.open(steps[-1], flags, dir_fd=fd)
    finally:
        os.close(fd)


def mapping(value: object) -> dict[str, Any]:
    """`value` when it is a JSON object, else {}: for walking through what nobody vouches for."""
    return value if isinstance(value, dict) else {}


def sequence(value: object) -> list[Any]:
    """`value` when it is a JSON array, else []."""
    return value if isinstance(value, list) else []
