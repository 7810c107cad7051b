"""podman: names and images from the storage files it shares with CRI-O; root's and each user's.

Name and image are in containers.json (containers/storage), the rest in the running container's OCI
config. Labels are in podman's database only: not told. Its helper `libpod-conmon-<id>` is no
tenant. Tried with podman 4.3 and crun or runc on cgroupfs: as root, and as a user on cgroup v2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cotenant.model import Kind
from cotenant.tenants.docker_files import inner_root
from cotenant.tenants.facts import Facts, Files, Question, text
from cotenant.tenants.files import mapping, read_below, sequence
from cotenant.tenants.oci_store import (
    RUN,
    STORAGE,
    config_of,
    embedded,
    entry_of,
    pid_of,
    upper_of,
)

_ROOTLESS_STORAGE = (".local", "share", "containers", "storage")
_DRIVERS = ("overlay", "vfs")
"""Each keeps lists of its own. A user's podman takes vfs where it has no fuse-overlayfs."""


class Podman(Files):
    """Storage below `host_root`, a user's home, or the root of the tenant around."""

    name = "podman"

    def __init__(self, host_root: Path = Path("/")) -> None:
        self._root = host_root

    def knows(self, question: Question) -> bool:
        """podman's containers, and those with nothing but an id."""
        return question.id is not None and question.runtime in ("podman", None)

    def ask(self, question: Question) -> Facts | None:
        """Its name, image, pod and writable layer; None when it is not podman's."""
        id, base = question.id or "", inner_root(self._root, question)
        if base is None:
            return None
        home: Path | None = base
        storage = STORAGE
        if question.uid and not question.nested:
            home, storage = home_of(base, question.uid), _ROOTLESS_STORAGE
        if home is None:
            return None
        config, entry = _written(home, id, storage)
        words = mapping(config.get("annotations"))
        about = embedded(entry.get("metadata"))
        manager = words.get("io.container.manager")
        if (not entry and manager != "libpod") or manager not in ("libpod", None):
            return None
        if "pod-name" in about and question.runtime is None:
            return None  # CRI-O writes its pods in the same list
        # A user's own files may claim any process and any path: root must not follow them there.
        trusted = not question.nested and not question.uid
        names = sequence(entry.get("names"))
        return Facts(
            name=text(about.get("name")) or (text(names[0]) if names else None),
            kind=Kind.CONTAINER,
            runtime="podman",
            image=text(about.get("image-name")),
            main_pid=pid_of(base, id, RUN) if trusted else None,
            rootfs=upper_of(config) if trusted else None,
        )


def _written(
    home: Path, id: str, storage: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """OCI config and list entry of the container `id`; {} for what no storage driver has."""
    for driver in _DRIVERS:
        lib = (*storage, f"{driver}-containers")
        config, entry = config_of(home, id, lib), entry_of(home, id, lib)
        if config or entry:
            return config, entry
    return {}, {}


def home_of(base: Path, uid: int) -> Path | None:
    """The user's home as seen below `base`, from its passwd file; None when it has no such user."""
    data = read_below(base, "etc", "passwd") or b""
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        words = line.split(":")
        if len(words) > 5 and words[2] == str(uid) and words[5].startswith("/"):
            return base / words[5].lstrip("/")
    return None
