"""The configuration as it changes under a running agent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cotenant.config import DEFAULT_PATH, Settings, load

NEEDS_RESTART = (
    "tier", "http", "socket", "socket_group", "host_root", "docker_sockets", "runtime_labels",
    "space_interval_s", "keep_finals_s",
)  # fmt: skip
"""Settings that are read only at the start."""


class ConfigFile:
    """The file the settings came from. `path` None: the default one, which may come and go."""

    def __init__(self, path: Path | None, flags: Mapping[str, object] | None = None) -> None:
        self._path = path
        self._flags = dict(flags or {})
        self._seen = self._look()

    def has_changed(self) -> bool:
        """Whether it is another file, or was written, since the last call."""
        seen, self._seen = self._seen, self._look()
        return seen != self._seen

    def read(self) -> Settings:
        """The settings it gives now, flags still over them. Raises ConfigError."""
        self._seen = self._look()
        return load(self._path, self._flags)

    def _look(self) -> tuple[int, int, int, int] | None:
        try:
            found = (self._path or DEFAULT_PATH).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def changes(before: Settings, after: Settings) -> tuple[list[str], list[str]]:
    """Names of the settings that differ: those that take effect now, those that need a restart."""
    names = [
        name
        for name in Settings.__struct_fields__
        if name not in ("sources", "path") and getattr(before, name) != getattr(after, name)
    ]
    return (
        [name for name in names if name not in NEEDS_RESTART],
        [name for name in names if name in NEEDS_RESTART],
    )
