"""The real ebpf_exporter, built from its Go module, with a runqlat beside this file.

Its Go part needs a newer libbpf than older Debian releases have: then libbpf's source package of
the first release that has it is fetched, past the system's own lists, and built for this alone.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from cotenant.errors import HostCannot
from peers.cache import folder
from peers.runqlat.run import BuildFailed, run

MODULE = "github.com/cloudflare/ebpf_exporter/v2"
VERSION = "v2.5.1"
LIBBPF_SUITE = "trixie"
"""The first Debian release with a libbpf (1.5) that this version is written for."""
OWN = Path(__file__).with_name("ebpf_exporter")
NAME = "runqlat"
_ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64"}


def command(say: Callable[[str], None]) -> list[str]:
    """The words that run it on a free port of the loopback; nobody asks it anything."""
    built = _built(say)
    return [
        str(built / "ebpf_exporter"),
        f"--config.dir={built}",
        f"--config.names={NAME}",
        "--web.listen-address=127.0.0.1:0",
    ]


def _built(say: Callable[[str], None]) -> Path:
    """The directory with the exporter, its configuration and the compiled program."""
    place = folder() / f"ebpf_exporter-{VERSION}-{_fingerprint()}"
    if place.exists():
        return place
    if platform.machine() not in _ARCHITECTURES:
        raise HostCannot(f"ebpf_exporter has no kernel types for {platform.machine()}.")
    for tool in ("go", "clang", "make", "gcc"):
        if shutil.which(tool) is None:
            raise HostCannot(f"ebpf_exporter is built with {tool}, and there is none here.")
    say(f"Building ebpf_exporter {VERSION} from its Go module (4 minutes, kept in {folder()}).")
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="building-", dir=folder()) as name:
        _build(Path(name)).replace(place)
    return place


def _fingerprint() -> str:
    """Eight hex digits that change with anything it is made from."""
    files = (Path(__file__), *sorted(OWN.iterdir()))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


def _build(workshop: Path) -> Path:
    """All of it in `workshop`, Go's caches included, so that all but the result goes."""
    libbpf = _libbpf(workshop)
    environment = os.environ | {
        "CGO_ENABLED": "1",
        "CGO_CFLAGS": f"-I{libbpf}/include",
        "CGO_LDFLAGS": f"{libbpf}/lib/libbpf.a -lelf -lz",
        "GOCACHE": str(workshop / "cache"),
        "GOMODCACHE": str(workshop / "modules"),
        "GOFLAGS": "-modcacherw -trimpath -buildvcs=false",
        "GOWORK": "off",
    }
    said = run(["go", "mod", "download", "-json", f"{MODULE}@{VERSION}"], workshop, environment)
    source = Path(msgspec.json.decode(said)["Dir"])
    done = workshop / "done"
    done.mkdir()
    run(
        ["go", "build", "-ldflags", "-s -w", "-o", done / "ebpf_exporter", "./cmd/ebpf_exporter"],
        source,
        environment,
    )
    architecture = _ARCHITECTURES[platform.machine()]
    includes = (source / "include" / architecture, source / "examples", libbpf / "include")
    run(
        ["clang", "-g", "-O2", "-mcpu=v3", "-target", "bpf", f"-D__TARGET_ARCH_{architecture}",
         *(f"-I{include}" for include in includes),
         "-c", OWN / f"{NAME}.bpf.c", "-o", done / f"{NAME}.bpf.o"],
        workshop,
    )  # fmt: skip
    shutil.copy(OWN / f"{NAME}.yaml", done)
    return done


def _libbpf(workshop: Path) -> Path:
    """A static libbpf with its headers, from Debian's source package."""
    apt = workshop / "apt"
    (apt / "lists" / "partial").mkdir(parents=True)
    (apt / "source.sources").write_text(_source_list())
    options = [
        f"-oDir::Etc::sourcelist={apt}/source.sources",
        "-oDir::Etc::sourceparts=-",
        f"-oDir::State::lists={apt}/lists",
        f"-oDir::Cache={apt}",
        "-oAPT::Sandbox::User=root",
    ]
    run(["apt-get", *options, "-q", "update"], apt)
    run(["apt-get", *options, "source", "--download-only", "libbpf"], apt)
    archive = next(apt.glob("libbpf_*.orig.tar.*"), None)
    if archive is None:
        raise BuildFailed("Debian's source package of libbpf holds no source.")
    run(["tar", "-xf", archive], apt)
    source = next(apt.glob("libbpf-*/src"))
    place = workshop / "libbpf"
    words = ["BUILD_STATIC_ONLY=1", f"PREFIX={place}", f"LIBDIR={place}/lib"]
    run(["make", *words, "install", "install_uapi_headers"], source)
    return place


def _source_list() -> str:
    """The system's own mirror, asked for the sources of another release."""
    for file in sorted(Path("/etc/apt").glob("sources.list.d/*.sources")):
        for stanza in file.read_text().split("\n\n"):
            if changed := source_stanza(stanza):
                return changed
    for file in (Path("/etc/apt/sources.list"), *Path("/etc/apt").glob("sources.list.d/*.list")):
        for line in file.read_text().splitlines() if file.exists() else ():
            if found := re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S+/debian/?)\s", line):
                return stanza_of(found[1])
    raise HostCannot("apt knows no mirror of Debian here, which has libbpf's source.")


def source_stanza(stanza: str) -> str | None:
    """The stanza of apt's deb822 form for the sources; None where it is no mirror of Debian's."""
    found = re.search(r"^URIs:\s*(\S+/debian/?)\s*$", stanza, re.MULTILINE)
    return stanza_of(found[1]) if found else None


def stanza_of(mirror: str) -> str:
    """A stanza for the sources of the release that is wanted, at this mirror."""
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    return (
        f"Types: deb-src\nURIs: {mirror}\nSuites: {LIBBPF_SUITE}\nComponents: main\n"
        f"Signed-By: {keys}\n"
    )
