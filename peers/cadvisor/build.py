"""Build cAdvisor from its released Go modules, outside the tree, once per pinned version."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from cotenant.errors import CotenantError, HostCannot
from peers.cache import folder

SOURCE = Path(__file__).parent / "server"
LIBRARY = "github.com/google/cadvisor/lib"

# Go 1.21 is the first that fetches, as a module, the newer Go that a go.mod asks for.
OLDEST_GO = (1, 21)
BUILD_SECONDS = 900

# What Go says when a module cannot be had, as opposed to code that does not compile.
_UNREACHABLE = re.compile(
    r"dial tcp|lookup |timeout|connection re|proxyconnect|module lookup disabled|x509|"
    r"(?:reading|Get) \"?https?://|40[34] |checksum database"
)


class GoMissing(HostCannot):
    """There is no Go here, or one too old to build cAdvisor."""


class ModulesUnreachable(HostCannot):
    """Go is here, but the module proxy does not hand out cAdvisor's modules."""


class BuildFailed(CotenantError):
    """Go has the modules and still does not build them."""


def _pinned_version() -> str:
    """cAdvisor's release as `server/go.mod` pins it: the one place that names it."""
    found = re.search(rf"^\s*{LIBRARY} (v\S+)$", (SOURCE / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise BuildFailed(f"{SOURCE / 'go.mod'} pins no version of {LIBRARY}.")
    return found[1]


VERSION = _pinned_version()


def build(progress: Callable[[str], None]) -> Path:
    """Build cAdvisor unless that was done before, and give the path of its binary.

    Takes about 2 minutes on 2 cores and fetches some 30 MB of modules the first time; `progress`
    gets one sentence before that. Only the binary (18 MB) stays behind.
    """
    cache = folder()
    binary = cache / f"cadvisor-{VERSION}-{_fingerprint()}"
    if binary.exists():
        return binary
    go = _find_go()
    progress(f"Building cAdvisor {VERSION} from its Go modules (2 minutes, kept in {cache}).")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="building-", dir=cache) as workshop:
        _compile(go, Path(workshop)).replace(binary)
    return binary


def _fingerprint() -> str:
    """Eight hex digits that change with anything the binary is made from."""
    files = (SOURCE / "go.mod", SOURCE / "main.go")
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


def _find_go() -> str:
    install = f"Install Go {OLDEST_GO[0]}.{OLDEST_GO[1]} or newer, or leave the peer cadvisor out."
    go = shutil.which("go")
    if go is None:
        raise GoMissing("cAdvisor is built with Go, and there is no `go` on the PATH.", install)
    says = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"go(\d+)\.(\d+)", says)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_GO:
        raise GoMissing(
            f"{go} is too old to build cAdvisor ({says.strip() or 'no version'}).", install
        )
    return go


def _compile(go: str, workshop: Path) -> Path:
    """Build in `workshop`; Go's caches of modules and objects live there too, so all of it goes."""
    source = workshop / "source"
    source.mkdir()
    for name in ("go.mod", "main.go"):
        shutil.copy(SOURCE / name, source / name)
    environment = os.environ | {
        "CGO_ENABLED": "0",  # needs no C compiler; nothing cAdvisor does by default uses one
        "GOCACHE": str(workshop / "cache"),
        "GOMODCACHE": str(workshop / "modules"),
        "GOFLAGS": "-mod=mod -modcacherw -trimpath -buildvcs=false",
        "GOWORK": "off",  # a go.work above the cache is none of ours
    }
    stamp = f"-s -w -X {LIBRARY}/version.Version={VERSION}"
    command = [go, "build", "-ldflags", stamp, "-o", str(workshop / "cadvisor"), "."]
    try:
        done = subprocess.run(
            command,
            cwd=source,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=BUILD_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildFailed(f"Go did not build cAdvisor within {BUILD_SECONDS} s.") from error
    if done.returncode != 0:
        raise _why(done.stderr)
    return workshop / "cadvisor"


def _why(said: str) -> CotenantError:
    """The error that fits what Go said on its way out."""
    lines = [line.strip() for line in said.splitlines() if not line.startswith("go: downloading")]
    last = lines[-1] if lines else "nothing"
    if _UNREACHABLE.search("\n".join(lines)):
        return ModulesUnreachable(
            f"Go cannot get cAdvisor {VERSION} from the module proxy: {last}",
            "See `go env GOPROXY`, or leave the peer cadvisor out.",
        )
    return BuildFailed(f"Go does not build cAdvisor {VERSION}: {last}", "Try another Go release.")
