"""OpenTelemetry's eBPF profiler: as `ebpf-profiler` on the PATH, else built from its Go module.

Two things are changed before it is built. A module that only its tests use is left out, since the
proxy does not hand out every version of it. And where the limit of locked memory cannot be raised,
as in a container without CAP_SYS_RESOURCE, it goes on: kernels since 5.11 do not ask for that.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from cotenant.errors import HostCannot
from peers.cache import folder
from peers.runqlat.run import BuildFailed, run

MODULE = "go.opentelemetry.io/ebpf-profiler"
VERSION = "v0.0.202633"
NAME = "ebpf-profiler"
FOR_TESTS = "github.com/open-telemetry/sig-profiling/profcheck"
_UNREACHABLE = re.compile(r"40[34] |not available|unrecognized import|dial tcp|lookup |timeout")
_LIMIT = re.compile(r'return nil, (fmt\.Errorf\("failed to set temporary rlimit: %w", err\))')


def binary(say: Callable[[str], None]) -> Path:
    """The profiler's program."""
    found = shutil.which(NAME)
    place = folder() / f"{NAME}-{VERSION}"
    if found or place.exists():
        return Path(found or place)
    if shutil.which("go") is None:
        raise HostCannot(f"It is built with Go, and there is neither `go` nor `{NAME}` here.")
    say(f"Building {NAME} {VERSION} from its Go module (5 minutes, kept in {folder()}).")
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="building-", dir=folder()) as workshop:
        try:
            _build(Path(workshop)).replace(place)
        except BuildFailed as error:
            raise _refused(str(error)) from None
    return place


def _build(workshop: Path) -> Path:
    """All of it in `workshop`, Go's caches included, so that all but the result goes."""
    environment = os.environ | {
        "CGO_ENABLED": "0",
        "GOCACHE": str(workshop / "cache"),
        "GOMODCACHE": str(workshop / "modules"),
        "GOFLAGS": "-modcacherw -trimpath -buildvcs=false -mod=mod",
        "GOWORK": "off",
    }
    said = run(["go", "mod", "download", "-json", f"{MODULE}@{VERSION}"], workshop, environment)
    source = workshop / "source"
    shutil.copytree(msgspec.json.decode(said)["Dir"], source)
    for file in (source / "go.mod", source / "go.sum", source / "rlimit" / "rlimit.go"):
        file.chmod(0o644)
    run(["go", "mod", "edit", f"-droprequire={FOR_TESTS}"], source, environment)
    limit = source / "rlimit" / "rlimit.go"
    limit.write_text(going_on(limit.read_text()))
    run(["go", "build", "-ldflags", "-s -w", "-o", workshop / NAME, "."], source, environment)
    return workshop / NAME


def going_on(source: str) -> str:
    """Its Go code that raises the limit, which no longer ends where that fails."""
    return _LIMIT.sub(r"_ = \1; return func() {}, nil", source)


def _refused(said: str) -> HostCannot | BuildFailed:
    if not _UNREACHABLE.search(said):
        return BuildFailed(said)
    return HostCannot(
        f"Go's module proxy does not hand out {MODULE} {VERSION}: {said}",
        f"put a built {NAME} on the PATH",
    )
