"""Build hook: puts the compiled BPF objects and libbpf, with the libraries it needs, in the wheel.

A checkout uses the system's libbpf; a wheel brings its own, in cotenant/_vendor, so that a user
needs neither a compiler nor a package manager.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Part of every system that runs a manylinux wheel (PEP 600); all else comes along.
GLIBC = re.compile(r"(ld-linux|libc\.so|libm\.so|libdl\.so|libpthread\.so|librt\.so|linux-vdso)")


class WheelHook(BuildHookInterface[Any]):
    """Fills the wheel with what the kernel side needs, and tags it with where it runs."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, gather, tag. An editable install keeps using the tree and the system."""
        if version == "editable":
            return
        root = Path(self.root)
        for source in sorted((root / "src/cotenant/bpf").glob("*.bpf.c")):
            subprocess.run(
                [root / "scripts/build-bpf", source, source.with_suffix(".o")], check=True
            )
        vendor = root / "build" / "vendor"
        shutil.rmtree(vendor, ignore_errors=True)
        vendor.mkdir(parents=True)
        libraries = gather("libbpf.so.1", vendor)
        build_data["force_include"][str(vendor)] = "cotenant/_vendor"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag(libraries)}"


def gather(soname: str, into: Path) -> list[Path]:
    """Copies of a library and of all it needs but glibc, with licences; $ORIGIN joins them."""
    found = {soname: locate(soname)}
    for line in run("ldd", found[soname]).splitlines():
        needed = re.match(r"\s*(\S+) => (\S+)", line)
        if needed and not GLIBC.match(needed[1]):
            found[needed[1]] = Path(needed[2])
    copies, notes = [], []
    for name, path in found.items():
        copy = into / name
        shutil.copyfile(path.resolve(), copy)
        copy.chmod(0o755)
        run("patchelf", "--set-rpath", "$ORIGIN", copy)
        package, version, source = owner(path)
        shutil.copyfile(f"/usr/share/doc/{package}/copyright", into / f"{name}.LICENSE")
        notes.append(f"{name}: Debian package {package} {version}, source package {source}\n")
        copies.append(copy)
    (into / "SOURCES").write_text("".join(notes))
    return copies


def locate(soname: str) -> Path:
    """Where the dynamic linker finds the library."""
    for line in run("/sbin/ldconfig", "-p").splitlines():
        if line.split(" ", 1)[0].strip() == soname:
            return Path(line.rsplit("=> ", 1)[1])
    raise SystemExit(f"{soname} is not installed.\nhint: make setup")


def owner(path: Path) -> tuple[str, str, str]:
    """The Debian package a library came from: name, version, and source with its version."""
    # dpkg may know the file by its path before /lib became a link to /usr/lib.
    real = path.resolve()
    for known in (real, Path(*real.parts[:1], *real.parts[2:]), Path("/usr", *real.parts[1:])):
        listed = subprocess.run(["dpkg", "-S", known], capture_output=True, text=True)
        if listed.returncode == 0:
            package = listed.stdout.split(":", 1)[0]
            shown = run(
                "dpkg-query", "-W", "-f", "${Version} ${source:Package}=${source:Version}", package
            )
            version, source = shown.split(" ", 1)
            return package, version, source
    raise SystemExit(f"{path} comes from no Debian package, so its licence is not known")


def platform_tag(libraries: list[Path]) -> str:
    """The manylinux tag of the oldest glibc that has every symbol the libraries ask for."""
    symbols = {
        v for library in libraries for v in re.findall(rb"GLIBC_2\.(\d+)", library.read_bytes())
    }
    return f"manylinux_2_{max(map(int, symbols))}_{platform.machine()}"


def run(*words: str | os.PathLike[str]) -> str:
    """Run a command that must succeed, and return what it said."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout
