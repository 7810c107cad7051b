"""`runqlat` of bcc's libbpf-tools, from the package of this Debian release, not installed.

The package holds the compiled tool, CO-RE programs included: it needs neither headers nor a
compiler. It does not count apart by cgroup; it can look at one cgroup alone, chosen by the task
that is running at that moment, which is another one than the task that waits.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from cotenant.errors import HostCannot
from peers.cache import folder
from peers.runqlat.run import BuildFailed, run

PACKAGE = "libbpf-tools"
_CANDIDATE = re.compile(r"^\s*Candidate:\s*(\d\S*)$", re.MULTILINE)


def command(say: Callable[[str], None]) -> list[str]:
    """The words that run it: one summary every 1000 seconds, so it does nothing but sense."""
    return [str(_tool(say)), "1000"]


def _tool(say: Callable[[str], None]) -> Path:
    if shutil.which("apt-get") is None:
        raise HostCannot("bcc's libbpf-tools come from Debian's packages, and this is no Debian.")
    version = _CANDIDATE.search(run(["apt-cache", "policy", PACKAGE], Path("/")))
    if version is None:
        raise HostCannot(f"Debian's package lists here have no {PACKAGE}.", "sudo apt-get update")
    tool = folder() / f"bcc-runqlat-{version[1]}"
    if tool.exists():
        return tool
    say(f"Fetching bcc's runqlat from Debian's {PACKAGE} (1 MB, kept in {folder()}).")
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="unpacking-", dir=folder()) as name:
        workshop = Path(name)
        run(["apt-get", "-o", "APT::Sandbox::User=root", "download", PACKAGE], workshop)
        run(["dpkg", "-x", next(workshop.glob("*.deb")), workshop], workshop)
        found = next(workshop.glob("usr/*bin/runqlat"), None)
        if found is None:
            raise BuildFailed(f"Debian's {PACKAGE} holds no runqlat.")
        found.replace(tool)
    return tool
