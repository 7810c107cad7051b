"""py-spy and Austin, taken out of their wheels on PyPI: each wheel holds the program itself."""

from __future__ import annotations

import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from cotenant.errors import HostCannot
from peers.cache import folder
from peers.runqlat.run import BuildFailed, run

PY_SPY = "0.4.3"
AUSTIN = "3.7.0"
"""4.0.0, the newest wheel, needs glibc 2.38, and Debian 12 has 2.36. Debian's own Austin is 1.0.1,
which does not know Python 3.11."""


def py_spy(say: Callable[[str], None]) -> Path:
    """py-spy's program."""
    return _program("py-spy", PY_SPY, "py-spy", say)


def austin(say: Callable[[str], None]) -> Path:
    """Austin's program."""
    return _program("austin-dist", AUSTIN, "austin", say)


def _program(package: str, version: str, name: str, say: Callable[[str], None]) -> Path:
    place = folder() / f"{name}-{version}"
    if place.exists():
        return place
    say(f"Fetching {package} {version} from PyPI (kept in {folder()}).")
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="building-", dir=folder()) as workshop:
        where = Path(workshop)
        run([*_pip(), "download", "--quiet", "--no-deps", "--only-binary=:all:",
             "--dest", ".", f"{package}=={version}"], where)  # fmt: skip
        wheel = next(where.glob("*.whl"), None)
        if wheel is None:
            raise BuildFailed(f"pip tells of no wheel of {package} {version}.")
        unpacked(wheel, name, where / name).replace(place)
    return place


def unpacked(wheel: Path, name: str, target: Path) -> Path:
    """The program of that name in a wheel's scripts, put at `target`. Raises BuildFailed."""
    with zipfile.ZipFile(wheel) as archive:
        inside = [each for each in archive.namelist() if each.endswith(f".data/scripts/{name}")]
        if not inside:
            raise BuildFailed(f"{wheel.name} holds no {name}.")
        with archive.open(inside[0]) as source, target.open("wb") as made:
            shutil.copyfileobj(source, made)
    target.chmod(0o755)
    return target


def _pip() -> list[str]:
    """Some pip: our own Python may have none."""
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            run([python, "-m", "pip", "--version"], Path("/"))
        except (BuildFailed, HostCannot):
            continue
        return [python, "-m", "pip"]
    pip = shutil.which("pip") or shutil.which("pip3")
    if pip is None:
        raise HostCannot("There is no pip here.", "sudo apt-get install python3-pip")
    return [pip]
