"""Build the receiver, or another small Go program, outside the tree, once per source."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from cotenant.errors import CotenantError, HostCannot
from peers.cache import folder

SOURCE = Path(__file__).parent / "server"
BUILD_SECONDS = 900


def build(source: Path = SOURCE, name: str = "pyroscope-receiver") -> Path:
    """Path of the binary; some two minutes the first time. Raises where Go or a module is missing.

    `source` holds a go.mod and a main.go; what Go adds to the go.mod never lands in the tree.
    """
    files = sorted(source.glob("*.*"))
    print_ = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]
    binary = folder() / f"{name}-{print_}"
    if binary.exists():
        return binary
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        raise HostCannot("There is no `go` on the PATH.", "apt-get install golang-go")
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="building-", dir=folder()) as workshop:
        for file in files:
            shutil.copy(file, workshop)
        environment = os.environ | {
            "CGO_ENABLED": "0",
            "GOFLAGS": "-mod=mod -trimpath -buildvcs=false",
            "GOWORK": "off",
        }
        done = subprocess.run(
            [go, "build", "-o", "built", "."],
            cwd=workshop, env=environment, capture_output=True, text=True, check=False,
            timeout=BUILD_SECONDS,
        )  # fmt: skip
        if done.returncode != 0:
            raise CotenantError(f"Go does not build {name}: {done.stderr.strip()[-600:]}")
        (Path(workshop) / "built").replace(binary)
    return binary
