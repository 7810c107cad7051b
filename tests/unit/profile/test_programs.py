"""What goes into the programs' maps, against maps that only note it."""

from __future__ import annotations

from typing import Any, cast

from cotenant.profile.programs import Programs


class Noting:
    """Notes what is put, in one list with other maps."""

    def __init__(self, name: str, noted: list[tuple[str, int, bytes]]) -> None:
        self.name = name
        self.noted = noted

    def put(self, key: bytes, value: bytes) -> bool:
        self.noted.append((self.name, int.from_bytes(key, "little"), value))
        return True


def test_what_was_found_in_a_file_is_forgotten_once_its_entry_is_another() -> None:
    """After the entry, or a program would keep what it finds between the two."""
    noted: list[tuple[str, int, bytes]] = []
    programs = object.__new__(Programs)
    programs._files = cast(Any, Noting("files", noted))
    programs._epochs = cast(Any, Noting("epochs", noted))
    programs._epoch = 0xFFFF_FFFE
    programs.write_file(5, b"one")
    programs.write_file(5, b"two")
    assert noted == [
        ("files", 5, b"one"),
        ("epochs", 0, b"\xff\xff\xff\xff"),
        ("files", 5, b"two"),
        ("epochs", 0, b"\0\0\0\0"),
    ], "it begins again after the last number that a word holds"
