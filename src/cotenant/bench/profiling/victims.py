"""Programs to be profiled, each in a cgroup of its own, gone when the block is left."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from cotenant.bench.form import Result
from cotenant.bench.tenants import PARENT, clear
from cotenant.bench.turns import Progress
from cotenant.demo.cgroups import Cgroups
from cotenant.demo.loads import Load
from cotenant.errors import CotenantError, HostCannot
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.model import Kind, Tenant

SCRIPT = Path(__file__).with_name("victim.py")
GO_SOURCE = Path(__file__).with_name("victim.go")
DEBIAN_PYTHON = "/usr/bin/python3"
WEB, HASH, XZ, GO, CLIENT = "web", "hash", "xz", "go", "client"
PYTHON = (WEB, HASH)
"""The first works with the GIL held, but for moments; the second without, but for moments."""
DOES = {
    WEB: "an HTTP server, a thread for each connection, of the Python that the system has",
    HASH: "two threads of that Python that hash without the GIL",
    XZ: "xz -T2",
    GO: "a Go program that sorts and encodes",
}
SETTLE_SECONDS = 2.0
GO_SECONDS = 240


class Victim(Struct, frozen=True):
    """One program: its main process, and its cgroup as a tenant."""

    name: str
    pid: int
    tenant: Tenant


@contextlib.contextmanager
def victims(hierarchies: Hierarchies, told: Progress, result: Result) -> Iterator[list[Victim]]:
    """All that can be had here, working; why one cannot is in `skipped`.

    Raises CotenantError where not even the Python ones can be started.
    """
    clear(hierarchies)
    made = Cgroups(hierarchies, PARENT.format(os.getpid()))
    with tempfile.TemporaryDirectory(prefix="cotenant-bench-") as folder:
        words = _words(Path(folder), result)
        try:
            made.prepare()
            loads = [Load(f"bench-{os.getpid()}-{name}", DOES.get(name, ""), "") for name in words]
            by_name = dict(zip((load.name for load in loads), words.values(), strict=True))
            paths = made.start(loads, told, lambda load: list(by_name[load.name]))
            time.sleep(SETTLE_SECONDS)
            found = zip(words, loads, paths, strict=True)
            yield [
                _victim(hierarchies, name, load.name, path)
                for name, load, path in found
                if name != CLIENT
            ]
        finally:
            made.remove(told)


def _victim(hierarchies: Hierarchies, name: str, group: str, path: str) -> Victim:
    pids = hierarchies.pids(path)
    if not pids:
        raise CotenantError(f"The program {name} to be profiled has ended.")
    tenant = Tenant(0, group, Kind.CGROUP, path, hierarchies.ids(path))
    return Victim(name, min(pids), tenant)


def _words(folder: Path, result: Result) -> dict[str, Sequence[str]]:
    """How each is started."""
    if not Path(DEBIAN_PYTHON).exists():
        raise HostCannot(f"There is no {DEBIAN_PYTHON} here.", "sudo apt-get install python3")
    script, meeting = [DEBIAN_PYTHON, "-I", "-S", str(SCRIPT)], str(folder / "web")
    words: dict[str, Sequence[str]] = {
        WEB: [*script, "serve", meeting],
        CLIENT: [*script, "ask", meeting],
        HASH: [*script, "hash"],
    }
    for name, how in ((XZ, _xz), (GO, _go)):
        try:
            words[name] = how()
        except CotenantError as error:
            result.skip(f"the program {name} to be profiled", str(error))
    return words


def _xz() -> Sequence[str]:
    if shutil.which("xz") is None:
        raise HostCannot("There is no `xz` here.", "sudo apt-get install xz-utils")
    return ["sh", "-c", "exec xz -3 -T2 -c </dev/urandom"]


def _go() -> Sequence[str]:
    """Built once; kept where the peers are."""
    source = GO_SOURCE.read_bytes()
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cotenant" / "peers"
    binary = base / f"victim-go-{hashlib.sha256(source).hexdigest()[:8]}"
    if not binary.exists():
        go = shutil.which("go")
        if go is None:
            raise HostCannot("It is built with Go, and there is no `go` here.")
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="building-", dir=base) as workshop:
            made = Path(workshop, "victim")
            _build(go, made)
            made.replace(binary)
    return [str(binary)]


def _build(go: str, made: Path) -> None:
    words = [go, "build", "-trimpath", "-o", str(made), str(GO_SOURCE)]
    environment = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-buildvcs=false"}
    try:
        done = subprocess.run(
            words, env=environment, cwd=made.parent, capture_output=True, text=True, check=False,
            timeout=GO_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise CotenantError(f"Go did not build it within {GO_SECONDS} s.") from None
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise CotenantError(f"Go does not build it: {' '.join(last) or 'it says nothing'}")
