"""What a source tells about a tenant, cleaned: whatever a runtime says is taken as hostile."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from cotenant.model import Kind

NAME_LIMIT = 253
"""Longest name taken over, in characters: the longest Kubernetes allows for an object."""
LABELS_LIMIT = 256
LABEL_LIMIT = 4096
"""At most so many labels of a tenant, each so long, are kept: a label may be megabytes."""
POD_SANDBOX = "POD"
"""Container name of a pod's pause container, as cAdvisor and its dashboards have it."""


class Facts(Struct, frozen=True):
    """What one source knows of one tenant. None: it does not know.

    `groups` stand inside those the path gives (a Compose project, a pod by its name).
    """

    name: str | None = None
    kind: Kind | None = None
    runtime: str | None = None
    id: str | None = None
    image: str | None = None
    labels: dict[str, str] | None = None
    namespace: str | None = None
    pod: str | None = None
    container: str | None = None
    groups: tuple[str, ...] = ()
    started_at: float | None = None
    main_pid: int | None = None
    rootfs: str | None = None

    def over(self, older: Facts | None) -> Facts:
        """These facts, filled up where they are silent by what was known before."""
        if older is None:
            return self
        fields = self.__struct_fields__
        pairs = ((getattr(self, field), getattr(older, field)) for field in fields)
        return Facts(*(old if new is None or new == () else new for new, old in pairs))


class Question(Struct, frozen=True):
    """One look-up: which container, by which path, and where its files are seen.

    `root_pid` is a process of the tenant around it: a nested runtime's files lie in its root.
    """

    key: int
    id: str | None
    path: str
    runtime: str | None = None
    uid: int | None = None
    pid: int | None = None
    nested: bool = False
    root_pid: int | None = None


class Source(Protocol):
    """Somebody who may know tenants better: a runtime's socket, or the files it leaves."""

    name: str

    def knows(self, question: Question) -> bool:
        """Whether it is worth asking; looks at nothing but the question."""
        ...

    def recall(self, question: Question) -> Facts | None:
        """What is in memory already. Never blocks."""
        ...

    def ask(self, question: Question) -> Facts | None:
        """Look it up; None when it is not this source's. Raises RuntimeSilent when it cannot."""
        ...

    def more(self, question: Question) -> Facts | None:
        """What takes longer to find out and nobody waits for; None when there is no more."""
        ...

    def instead(self, question: Question) -> Facts | None:
        """What can be told at once although `ask` failed or hangs."""
        ...

    def close(self) -> None:
        """Let go of sockets and threads."""
        ...


class Files:
    """Base of sources that read state files: nothing in memory, no more than the first answer."""

    def recall(self, question: Question) -> Facts | None:
        """Nothing is kept."""
        return None

    def more(self, question: Question) -> Facts | None:
        """Nothing more to tell."""
        return None

    def instead(self, question: Question) -> Facts | None:
        """Nobody else to turn to."""
        return None

    def close(self) -> None:
        """Nothing to let go of."""


def text(value: object, limit: int = NAME_LIMIT) -> str | None:
    r"""`value` as text that any encoder takes, cut at `limit`; None when it is none or empty.

    Bytes that are no UTF-8 (they arrive as lone surrogates) show as `\xff`.
    """
    if not isinstance(value, str) or not value:
        return None
    value = value[:limit]
    if value.isascii():
        return value
    raw = value.encode("utf-8", "surrogateescape" if _escaped(value) else "replace")
    return raw.decode("utf-8", "backslashreplace")


def _escaped(value: str) -> bool:
    """Whether every lone surrogate in it stands for one byte (os.fsdecode made it)."""
    return all(not "\ud800" <= char <= "\udfff" or "\udc80" <= char <= "\udcff" for char in value)


def labels(value: object) -> dict[str, str]:
    """Labels out of whatever was sent: pairs of text, few and short enough to keep."""
    if not isinstance(value, dict):
        return {}
    kept: dict[str, str] = {}
    for key, word in value.items():
        name = text(key)
        if name is not None and isinstance(word, str) and len(kept) < LABELS_LIMIT:
            kept[name] = text(word, LABEL_LIMIT) or ""
    return kept
