"""systemd: which directory names are units and slices, and what their escapes mean.

Needs no D-Bus: the cgroup path already says unit and slices (systemd's CGROUP_DELEGATION.md).
Tried on recorded layouts; on the real thing only in tests that make such directories.
"""

from __future__ import annotations

import re

UNIT = re.compile(r"[^/]+\.(?:service|scope|mount|socket|swap|automount|timer|path|device|target)")
LIVES_WITHOUT_PROCESSES = re.compile(
    r".+\.(?:mount|socket|swap|automount|timer|path|device|target)"
)
"""Units whose cgroup may stay behind with no process in it for days: tenants only with one."""
MANAGER = re.compile(r"user@(\d+)\.service")
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")


def unit_name(directory: str) -> str:
    """The unit's name as systemctl writes it, from its cgroup's directory name.

    Names that could be taken for a kernel file (`cgroup.service`, `_x.service`) carry an
    underscore in front in the tree (systemd, src/basic/cgroup-util.c, cg_escape).
    """
    return directory[1:] if directory.startswith("_") else directory


def unescape(text: str) -> str:
    r"""Undo systemd's escapes: `qemu\x2d1\x2dweb` is `qemu-1-web`. Bad escapes stay as they are."""
    raw = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    try:
        return raw.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return raw
