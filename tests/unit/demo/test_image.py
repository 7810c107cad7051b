"""An image out of one program."""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path

from cotenant.demo.image import APPLETS, image_tar, is_static


def elf(path: Path, kinds: list[int]) -> Path:
    """A program of nothing but a header and program headers of these kinds."""
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0,
                                                          64, 56, len(kinds), 0, 0, 0)  # fmt: skip
    path.write_bytes(head + b"".join(struct.pack("<I", kind) + bytes(52) for kind in kinds))
    return path


def test_a_program_that_asks_for_a_loader_is_not_static(tmp_path: Path) -> None:
    assert is_static(elf(tmp_path / "static", [1, 1, 2]))
    assert not is_static(elf(tmp_path / "dynamic", [6, 3, 1]))


def test_a_script_is_not_static(tmp_path: Path) -> None:
    script = tmp_path / "busybox"
    script.write_text("#!/bin/sh\n" * 20)
    assert not is_static(script)


def test_the_layer_holds_the_program_and_its_names(tmp_path: Path) -> None:
    program = elf(tmp_path / "busybox", [1])
    with tarfile.open(fileobj=io.BytesIO(image_tar(program))) as tar:
        assert tar.getmember("bin/busybox").mode == 0o755
        kept = tar.extractfile("bin/busybox")
        assert kept is not None and kept.read() == program.read_bytes()
        assert {tar.getmember(f"bin/{a}").linkname for a in APPLETS} == {"busybox"}
