#!/usr/bin/env python3
"""Writes kernel/records.py: the layout of what crosses the border, from the compiled objects.

gen_records.py            write it
gen_records.py --check    fail where it differs from what would be written
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from cotenant.kernel.btf import ARRAY, ENUM, INT, STRUCT, Btf, Type

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "cotenant"
TARGET = PACKAGE / "kernel" / "records.py"
LETTERS = {(1, False): "B", (4, False): "I", (4, True): "i", (8, False): "Q", (8, True): "q"}
SIGNED = 1 << 24

HEAD = '''"""What crosses the border to the kernel. Made by scripts/gen_records.py: do not edit.

Each layout holds `format` (for the struct module), `size` in bytes, and `fields`: the name of every
value in order, arrays as `name[0]`, structs inside as `outer.inner`.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Layout(NamedTuple):
    """How one C struct lies in memory."""

    name: str
    size: int
    format: str
    fields: tuple[str, ...]

    def slice(self, first: str, last: str) -> slice:
        """Where the values from `first` to `last`, both included, stand in an unpacked tuple."""
        return slice(self.fields.index(first), self.fields.index(last) + 1)


def _names(words: str) -> tuple[str, ...]:
    return tuple(words.split())

'''


def flatten(btf: Btf, number: int, name: str) -> Iterator[tuple[str, str, int]]:
    """Every plain value inside a type: its name, its struct letter, its size in bytes."""
    found = btf.resolved(number)
    if found.kind == STRUCT:
        for member in btf.members(found):
            yield from flatten(btf, member.type, f"{name}.{member.name}" if name else member.name)
    elif found.kind == ARRAY:
        element, length = btf.array(found)
        if btf.resolved(element).name == "char":
            yield name, f"{length}s", length
            return
        for i in range(length):
            yield from flatten(btf, element, f"{name}[{i}]")
    elif found.kind in (INT, ENUM):
        signed = found.kind == INT and int.from_bytes(_word(found), "little") & SIGNED != 0
        yield name, LETTERS[found.size, signed], found.size
    else:
        raise SystemExit(f"{name}: a type that may not cross the border (kind {found.kind}).")


def _word(found: Type) -> bytes:
    import ctypes

    return ctypes.string_at(found.at, 4)


def layout(btf: Btf, found: Type) -> str:
    """One struct as Python source."""
    values = list(flatten(btf, found.id, ""))
    if sum(size for _, _, size in values) != found.size:
        raise SystemExit(f"struct {found.name} has padding: order its fields by size.")
    words = textwrap.wrap(" ".join(name for name, _, _ in values), 85, break_on_hyphens=False)
    names = "".join(f'        "{line} "\n' for line in words)
    asked = f"(\n{names}    )" if len(words) > 1 else f'("{words[0]}")'
    form = "=" + "".join(letter for _, letter, _ in values)
    return (
        f"{found.name.upper()}_LAYOUT: Final = Layout(\n"
        f'    "{found.name}",\n    {found.size},\n    "{form}",\n    _names{asked},\n)\n'
    )


def constants(btf: Btf, found: Type) -> str:
    """One enum as Python source."""
    lines = (f"{name}: Final = {value}\n" for name, value in btf.enumerators(found).items())
    return "".join(lines)


def render(path: Path) -> str:
    """The source for one object: all structs and enums whose name starts with the object's."""
    stem = path.name.split(".")[0]
    with Btf.of_object(path) as btf:
        own = sorted((t for t in btf.all() if t.name.startswith(f"{stem}_")), key=lambda t: t.name)
        enums = [constants(btf, t) for t in own if t.kind == ENUM]
        structs = [layout(btf, t) for t in own if t.kind == STRUCT and shareable(t, stem)]
        return "\n".join([f"# {stem}.h\n", *enums, *structs])


def shareable(found: Type, stem: str) -> bool:
    """False for structs that stay on the kernel side (scratch space, loop contexts)."""
    return found.name.removeprefix(f"{stem}_") not in ("scratch", "total", "words")


def main() -> int:
    """Writes or checks; 1 when a check finds a difference."""
    objects = [header.with_suffix(".bpf.o") for header in sorted((PACKAGE / "bpf").glob("*.h"))]
    text = HEAD + "\n" + "\n".join(render(path) for path in objects)
    if "--check" not in sys.argv:
        TARGET.write_text(text)
        return 0
    if TARGET.exists() and TARGET.read_text() == text:
        return 0
    print("kernel/records.py is not what the headers say. hint: make generate", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
