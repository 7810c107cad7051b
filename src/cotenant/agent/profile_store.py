r"""The last hour of profiles in bounded files: a file per window, a block per tenant in it.

    store = Store(Path("/var/lib/cotenant/profiles"), most_bytes=64 << 20, most_s=3600)
    store.add(profile)                              # a window of one type, all tenants
    store.query("web", from_s, until_s, "cpu")      # the windows of that time, put together

A file is written under another name and renamed, so that it is there whole or not at all. It is

    "CTPROF1\n", CRC-32 and length of the head, the head, the blocks

where the head is MessagePack of `_Head`, compressed, and tells each block's place, length and
CRC-32; a block is MessagePack of the tenant's Profile, compressed. So a query for one tenant
unfolds no more than that tenant's blocks. What does not fit its checksum is skipped and counted; a
file whose head does not is taken away as well.

The oldest files go when there are too many bytes, and those past their age. Two threads may use a
Store at once: one adds, others query.
"""

from __future__ import annotations

import os
import re
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from cotenant.export.merge import merge
from cotenant.export.parts import by_tenant
from cotenant.export.profile_families import KeptRow
from cotenant.export.visible import visible
from cotenant.model import UNITS, Profile, ProfileLost, ProfileType, Tenant

_MAGIC = b"CTPROF1\n"
_FRONT = struct.Struct("<8sII")
_NAME = re.compile(r"([0-9]{13})-([0-9]{13})-([a-z0-9-]+(?:\.[a-z0-9_-]+)?)\.profile")
_TYPE = re.compile(r"[a-z0-9-]+(/[a-z0-9_-]+)?")
_TEMPORARY = ".new"
LEVEL = 3
"""Of zlib: 6 would save a tenth of the bytes for twice the time."""
LONGEST_HEAD = 1 << 24
LONGEST_BLOCK = 1 << 26
"""Bytes that a head or a block may unfold to: a file may have been put there by someone else."""

GAUGES = ("go/heap", "go/goroutine")
"""Types that tell what is there now: of a time only the newest one of each tenant is meant."""

Match = Callable[[Sequence[Tenant]], Iterable[Tenant]]


class _Block(Struct, frozen=True, array_like=True):
    """A tenant and where its profile is: offset behind the head, length, CRC-32."""

    tenant: Tenant
    at: int
    length: int
    crc: int


class _Head(Struct, frozen=True, array_like=True):
    type: str
    unit: str
    from_s: float
    until_s: float
    lost: ProfileLost
    notes: tuple[str, ...]
    blocks: tuple[_Block, ...]


class Kept(NamedTuple):
    """A window's file, as its name tells it."""

    name: str
    type: str
    from_s: float
    until_s: float
    bytes: int


_to_bytes = msgspec.msgpack.Encoder().encode
_to_head = msgspec.msgpack.Decoder(_Head).decode
_to_profile = msgspec.msgpack.Decoder(Profile).decode
_to_tenant = msgspec.msgpack.Decoder(Tenant).decode


class Store:
    """Windows of profiles on disk. The directory is made with the first one, open to its user only.

    `most_bytes`: of all files together; `most_s`: how long a window is kept after its end.
    Raises nothing but what `add` says: what is damaged or gone is left out, and counted.
    """

    def __init__(
        self,
        directory: Path,
        *,
        most_bytes: int = 64 << 20,
        most_s: float = 3600.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.directory = directory
        self.most_bytes = most_bytes
        self.most_s = most_s
        self._clock = clock
        self._lock = threading.Lock()
        self._corrupt = self._evicted = self._failed = 0
        self._kept: dict[str, Kept] = {}
        self._damaged: set[tuple[str, int]] = set()
        with suppress(OSError):
            self._take_stock()

    def _take_stock(self) -> None:
        """What an agent before this one left; half-written files are taken away."""
        for entry in os.scandir(self.directory):
            if entry.name.endswith(_TEMPORARY):
                _unlink(self.directory / entry.name)
                continue
            found = _NAME.fullmatch(entry.name)
            if found and entry.is_file(follow_symlinks=False):
                size = entry.stat(follow_symlinks=False).st_size
                kept = Kept(entry.name, _type_of(found[3]), int(found[1]) / 1e3,
                            int(found[2]) / 1e3, size)  # fmt: skip
                self._kept[entry.name] = kept
        with self._lock:
            self._trim()

    # --- writing

    def add(self, profile: Profile) -> bool:
        """Keeps one window; whether it is on disk. OSError of a full disk is counted and raised."""
        if not _TYPE.fullmatch(profile.type):
            raise ValueError(f"{profile.type!r} is no type of profile")
        if not profile.stacks:
            return False
        data = _written(profile)
        name = _name_of(profile)
        if len(data) > self.most_bytes:
            with self._lock:
                self._evicted += 1
            return False
        try:
            self._write(name, data)
        except OSError:
            with self._lock:
                self._failed += 1
            raise
        with self._lock:
            self._kept[name] = Kept(name, profile.type, profile.from_s, profile.until_s, len(data))
            self._trim()
        return True

    def _write(self, name: str, data: bytes) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.directory.stat().st_mode & 0o077:
            self.directory.chmod(0o700)
        temporary = self.directory / (name + _TEMPORARY)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
                file.write(data)
            temporary.rename(self.directory / name)
        except OSError:
            _unlink(temporary)
            raise

    def _trim(self) -> None:
        """Takes away what is past its age, and the oldest while there are too many bytes."""
        oldest_s = self._clock() - self.most_s
        size = sum(kept.bytes for kept in self._kept.values())
        for kept in sorted(self._kept.values(), key=lambda one: one.until_s):
            aged = kept.until_s < oldest_s
            if not aged and size <= self.most_bytes:
                break
            del self._kept[kept.name]
            size -= kept.bytes
            self._evicted += not aged
            self._damaged -= {one for one in self._damaged if one[0] == kept.name}
            _unlink(self.directory / kept.name)

    def configure(self, most_bytes: int, most_s: float) -> None:
        """Other bounds, in force at once."""
        with self._lock:
            self.most_bytes, self.most_s = most_bytes, most_s
            self._trim()

    # --- reading

    def query(
        self,
        tenant: str | Match | None,
        from_s: float,
        until_s: float,
        type: str = ProfileType.CPU,
    ) -> Profile:
        """What was sampled from one time to another, Unix seconds: all windows that touch it.

        Of GAUGES, which cannot be added up over time, the newest window that has the tenant.
        `tenant`: a name, or what chooses among those of a window; None: all. Where nothing is kept,
        a profile without stacks whose note says so.
        """
        chosen = _chooser(tenant)
        windows = self.windows(from_s, until_s, type)
        if type in GAUGES:
            windows.reverse()
            chosen = _first_met(chosen)
        found = list(self._read(chosen, windows))
        if found:
            return merge(found)
        return Profile(
            type=type,
            unit=UNITS.get(type, "count"),  # type: ignore[call-overload]
            from_s=from_s,
            until_s=until_s,
            period=0,
            tenants=(),
            frames=(),
            stacks=(),
            notes=("Nothing of that time is kept.",),
        )

    def windows(self, from_s: float, until_s: float, type: str | None = None) -> list[Kept]:
        """What is kept of a time, oldest first; `type` None: of all types."""
        with self._lock:
            kept = list(self._kept.values())
        inside = [
            one for one in kept
            if one.until_s >= from_s and one.from_s <= until_s and type in (None, one.type)
        ]  # fmt: skip
        return sorted(inside, key=lambda one: (one.from_s, one.until_s))

    def tenants(self, from_s: float, until_s: float) -> list[Tenant]:
        """Who is in the windows of a time, each once: as the newest window knows it."""
        found = {}
        for kept in self.windows(from_s, until_s):
            head, _ = self._head(kept) or (None, memoryview(b""))
            for block in head.blocks if head else ():
                found[block.tenant.path, block.tenant.name] = block.tenant
        return list(found.values())

    def _read(self, chosen: Match, windows: Sequence[Kept]) -> Iterator[Profile]:
        for kept in windows:
            head, rest = self._head(kept) or (None, memoryview(b""))
            if head is None:
                continue
            wanted = {id(tenant) for tenant in chosen([block.tenant for block in head.blocks])}
            parts = [
                self._profile(kept, block, rest)
                for block in head.blocks
                if id(block.tenant) in wanted
            ]
            whole = [part for part in parts if part is not None]
            if whole:
                one = merge(whole)
                yield replace(one, lost=head.lost, notes=head.notes)

    def _head(self, kept: Kept) -> tuple[_Head, memoryview] | None:
        """Head of a file and what is behind it; None where the file is gone or damaged."""
        path = self.directory / kept.name
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                data = memoryview(file.read(self.most_bytes + 1))
        except FileNotFoundError:
            return None  # trimmed meanwhile
        except OSError:
            self._spoiled(kept)
            return None
        try:
            magic, crc, length = _FRONT.unpack_from(data)
            packed = data[_FRONT.size : _FRONT.size + length]
            if magic != _MAGIC or zlib.crc32(packed) != crc:
                raise ValueError
            return _to_head(_unfolded(packed, LONGEST_HEAD)), data[_FRONT.size + length :]
        except (struct.error, ValueError, zlib.error, msgspec.DecodeError):
            self._spoiled(kept)
            return None

    def _spoiled(self, kept: Kept) -> None:
        """A file that cannot be read is of no use to anyone."""
        with self._lock:
            if self._kept.pop(kept.name, None) is not None:
                self._corrupt += 1
                _unlink(self.directory / kept.name)

    def _profile(self, kept: Kept, block: _Block, rest: memoryview) -> Profile | None:
        packed = rest[block.at : block.at + block.length]
        try:
            if zlib.crc32(packed) != block.crc:
                raise ValueError
            return _to_profile(_unfolded(packed, LONGEST_BLOCK))
        except (ValueError, zlib.error, msgspec.DecodeError):
            with self._lock:
                if kept.name in self._kept and (kept.name, block.at) not in self._damaged:
                    self._damaged.add((kept.name, block.at))
                    self._corrupt += 1
            return None

    @property
    def counts(self) -> KeptRow:
        """What is held now, and what was lost since the start."""
        with self._lock:
            return KeptRow(
                windows=len(self._kept),
                bytes=sum(kept.bytes for kept in self._kept.values()),
                evicted=self._evicted,
                corrupt=self._corrupt,
                failed=self._failed,
            )


def _written(profile: Profile) -> bytes:
    """The whole file of a window."""
    blocks, packed, at = [], [], 0
    for part in by_tenant(replace(profile, lost=ProfileLost(), notes=())):
        block = zlib.compress(_packed(part), LEVEL)
        tenant = _to_tenant(_packed(part.tenants[0]))
        blocks.append(_Block(tenant, at, len(block), zlib.crc32(block)))
        packed.append(block)
        at += len(block)
    head = _Head(profile.type, profile.unit, profile.from_s, profile.until_s, profile.lost,
                 profile.notes, tuple(blocks))  # fmt: skip
    front = zlib.compress(_packed(head), LEVEL)
    return b"".join([_FRONT.pack(_MAGIC, zlib.crc32(front), len(front)), front, *packed])


def _packed(record: Any) -> bytes:
    """MessagePack; names that are no UTF-8 as every outside format shows them."""
    try:
        return _to_bytes(record)
    except UnicodeEncodeError:
        return _to_bytes(_spelt(msgspec.to_builtins(record)))


def _spelt(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {_spelt(key): _spelt(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_spelt(one) for one in value]
    return value


def _unfolded(packed: memoryview, most: int) -> bytes:
    """What was compressed; ValueError where it is cut off or unfolds to more than `most`."""
    fold = zlib.decompressobj()
    data = fold.decompress(packed, most)
    if not fold.eof:
        raise ValueError("cut off, or larger than it may be")
    return data


def _name_of(profile: Profile) -> str:
    begin, end = (
        min(max(0, round(s * 1e3)), 10**13 - 1) for s in (profile.from_s, profile.until_s)
    )
    return f"{begin:013d}-{end:013d}-{profile.type.replace('/', '.')}.profile"


def _type_of(word: str) -> str:
    """The type as the record has it, from a file's name, which may not hold a slash."""
    return word.replace(".", "/")


def _chooser(tenant: str | Match | None) -> Match:
    if tenant is None:
        return lambda tenants: tenants
    if callable(tenant):
        return tenant
    return lambda tenants: [one for one in tenants if one.name == tenant]


def _first_met(chosen: Match) -> Match:
    """Those who are chosen, each in the first window that has it and in no other."""
    met: set[tuple[str, str]] = set()

    def choose(tenants: Sequence[Tenant]) -> Iterable[Tenant]:
        for tenant in list(chosen(tenants)):
            key = (tenant.path, tenant.name)
            if key not in met:
                met.add(key)
                yield tenant

    return choose


def _unlink(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
