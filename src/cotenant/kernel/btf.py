"""Type information (BTF) of the running kernel or of a compiled object, read through libbpf.

The layout of `struct btf_type` and of what follows it is documented in the kernel's
Documentation/bpf/btf.rst and has not changed since 4.18, so a few words are decoded here.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cotenant.errors import NoBpf
from cotenant.kernel.libbpf import library

INT, POINTER, ARRAY, STRUCT, UNION, ENUM, TYPEDEF = 1, 2, 3, 4, 5, 6, 8
VOLATILE, CONST, RESTRICT, FUNC, VAR, DATASEC, TYPE_TAG, ENUM64 = 9, 10, 11, 12, 14, 15, 18, 19
_TRANSPARENT = (TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG)


class Type(NamedTuple):
    """One type: `kind` as above, `size` in bytes or the id of the type it refers to."""

    id: int
    name: str
    kind: int
    length: int
    size: int
    at: int


class Member(NamedTuple):
    """A field of a struct, or a variable of a section: its type and its offset in bytes."""

    name: str
    type: int
    offset: int


class Btf:
    """Looks types up by name; close it soon, the kernel's costs about 10 MB while open."""

    def __init__(self, handle: int | None, of_what: str) -> None:
        if not handle:
            raise NoBpf(f"{of_what} has no type information (BTF).", "cotenant check")
        self._handle = handle

    @classmethod
    def of_kernel(cls) -> Btf:
        """The running kernel's; NoBpf where it was built without."""
        return cls(library().btf__load_vmlinux_btf(), "This kernel")

    @classmethod
    def of_object(cls, path: Path) -> Btf:
        """A compiled BPF object's."""
        return cls(library().btf__parse(str(path).encode(), None), path.name)

    def __enter__(self) -> Btf:
        return self

    def __exit__(self, *_: object) -> None:
        library().btf__free(self._handle)

    def find(self, name: str, kind: int) -> Type | None:
        """The type of that name and kind; None where this kernel has none."""
        number = library().btf__find_by_name_kind(self._handle, name.encode(), kind)
        return self.type(number) if number > 0 else None

    def has_function(self, name: str) -> bool:
        """True when the kernel has a function of that name."""
        return self.find(name, FUNC) is not None

    def all(self) -> Iterator[Type]:
        """Every type."""
        for number in range(1, library().btf__type_cnt(self._handle)):
            yield self.type(number)

    def type(self, number: int) -> Type:
        """The type with that id."""
        at = library().btf__type_by_id(self._handle, number)
        name, info, size = struct.unpack("=III", ctypes.string_at(at, 12))
        return Type(number, self._name(name), info >> 24 & 0x1F, info & 0xFFFF, size, at + 12)

    def resolved(self, number: int) -> Type:
        """The type behind typedefs and qualifiers."""
        found = self.type(number)
        while found.kind in _TRANSPARENT:
            found = self.type(found.size)
        return found

    def size_of(self, number: int) -> int:
        """Bytes a value of that type takes."""
        return int(library().btf__resolve_size(self._handle, number))

    def members(self, of: Type) -> Iterator[Member]:
        """Fields of a struct or union in order; variables of a section."""
        for i in range(of.length):
            first, second, third = struct.unpack("=III", ctypes.string_at(of.at + 12 * i, 12))
            if of.kind == DATASEC:
                yield Member(self.type(first).name, self.type(first).size, second)
            else:
                yield Member(self._name(first), second, (third & 0xFFFFFF) // 8)

    def array(self, of: Type) -> tuple[int, int]:
        """Element type and number of elements of an array."""
        element, _index, length = struct.unpack("=III", ctypes.string_at(of.at, 12))
        return element, length

    def enumerators(self, of: Type) -> dict[str, int]:
        """Names and values of an enum."""
        values = {}
        for i in range(of.length):
            name, value = struct.unpack("=Ii", ctypes.string_at(of.at + 8 * i, 8))
            values[self._name(name)] = value
        return values

    def enum(self, name: str) -> dict[str, int]:
        """Names and values of the enum of that name; empty where this kernel has none."""
        found = self.find(name, ENUM)
        return self.enumerators(found) if found else {}

    def field(self, of: str, name: str) -> Member | None:
        """The field `name` of the struct `of`; None where this kernel has none."""
        found = self.find(of, STRUCT)
        return next((m for m in self.members(found) if m.name == name), None) if found else None

    def _name(self, offset: int) -> str:
        return str(library().btf__name_by_offset(self._handle, offset).decode())
