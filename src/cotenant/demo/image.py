"""A container image made on the spot from the host's static busybox: no registry is asked."""

from __future__ import annotations

import io
import shutil
import struct
import tarfile
from pathlib import Path

from cotenant.errors import HostCannot

# What the loads use; busybox's own list has 270.
APPLETS = ("sh", "sleep", "dd", "httpd", "wget", "mkdir")
_PT_INTERP = 3


def busybox() -> Path:
    """The host's static busybox. Raises HostCannot where there is none."""
    found = shutil.which("busybox")
    if found is None:
        raise HostCannot("No busybox here to make an image from.", "apt install busybox-static")
    if not is_static(Path(found)):
        raise HostCannot(
            f"{found} needs libraries, so it cannot be an image alone.",
            "apt install busybox-static",
        )
    return Path(found)


def is_static(program: Path) -> bool:
    """True for a 64-bit ELF program that asks for no dynamic loader."""
    with program.open("rb") as file:
        head = file.read(64)
        if len(head) < 64 or head[:5] != b"\x7fELF\x02":
            return False
        order = "<" if head[5] == 1 else ">"
        (offset,) = struct.unpack_from(order + "Q", head, 32)
        size, count = struct.unpack_from(order + "HH", head, 54)
        file.seek(offset)
        table = file.read(size * count)
    kinds = (struct.unpack_from(order + "I", table, n * size)[0] for n in range(count))
    return _PT_INTERP not in kinds


def image_tar(program: Path) -> bytes:
    """The image's only layer: `program` as /bin/busybox, its applets, and an empty /tmp."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in ("bin", "tmp"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        entry = tarfile.TarInfo("bin/busybox")
        entry.mode, entry.size = 0o755, program.stat().st_size
        with program.open("rb") as file:
            tar.addfile(entry, file)
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return packed.getvalue()
