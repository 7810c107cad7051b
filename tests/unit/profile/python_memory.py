"""Made-up memory of a process, with CPython's objects in it."""

from __future__ import annotations

import struct

from cotenant.profile.python.offsets import Layout


class Memory:
    """Pages of bytes by address; what lies outside cannot be read, as in /proc/PID/mem."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.reads = 0
        self._parts: dict[int, bytearray] = {}
        self._next = 0x10_0000

    def read(self, address: int, count: int) -> bytes:
        """As many bytes as there are from the address on; OSError when there is none."""
        self.reads += 1
        for start, part in self._parts.items():
            if start <= address < start + len(part):
                return bytes(part[address - start : address - start + count])
        raise OSError(5, "Input/output error")

    def put(self, data: bytes) -> int:
        """Where the bytes were put."""
        address = self._next
        self._parts[address] = bytearray(data)
        self._next += (len(data) + 0x1FFF) & ~0xFFF
        return address

    def set(self, address: int, data: bytes) -> None:
        """Overwrite what was put."""
        for start, part in self._parts.items():
            if start <= address < start + len(part):
                part[address - start : address - start + len(data)] = data
                return
        raise AssertionError(hex(address))

    def set_word(self, address: int, number: int) -> None:
        """Overwrite 64 bits."""
        self.set(address, struct.pack("<Q", number))

    def drop(self, address: int) -> None:
        """Unmap what was put at that address."""
        del self._parts[address]

    def text(self, value: str, state: int | None = None, length: int | None = None) -> int:
        """A str object; with a lie about its state or length where one is given."""
        layout = self.layout
        width = 1 if max(value, default="a") < "Ā" else 2 if max(value) < "\U00010000" else 4
        is_ascii = value.isascii()
        start = layout.str_ascii if is_ascii else layout.str_compact
        codec = {1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}[width]
        data = bytearray(start) + value.encode(codec, "surrogatepass")
        honest = width << 2 | 1 << 5 | is_ascii << 6
        struct.pack_into("<q", data, layout.str_length, len(value) if length is None else length)
        struct.pack_into("<I", data, layout.str_state, honest if state is None else state)
        return self.put(bytes(data))

    def blob(self, value: bytes, size: int | None = None) -> int:
        """A bytes object; with a lie about its size where one is given."""
        data = bytearray(self.layout.bytes_data) + value
        struct.pack_into("<q", data, self.layout.bytes_size, len(value) if size is None else size)
        return self.put(bytes(data))

    def code(self, name: int, file: int, first_line: int, table: int) -> int:
        """A code object of these parts."""
        layout = self.layout
        data = bytearray(256)
        name_at = layout.code_name if layout.code_qualname is None else layout.code_qualname
        struct.pack_into("<Q", data, name_at, name)
        struct.pack_into("<Q", data, layout.code_filename, file)
        struct.pack_into("<Q", data, layout.code_linetable, table)
        struct.pack_into("<i", data, layout.code_firstlineno, first_line)
        return self.put(bytes(data))
