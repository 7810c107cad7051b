"""A private apt: Debian suites and packages, without touching the machine's own apt lists.

Everything apt writes (lists, archives, its status file) lies below one folder of the cache, and
apt checks signatures and hashes as it always does. Nothing is ever installed.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.vm.errors import VmError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DEFAULT_MIRROR = "http://deb.debian.org"
# A package that belongs to the same build says so by an exact version.
SAME_BUILD = re.compile(r"(linux-(?:binary|modules|base|image)-[^\s,]+) \(= [^)]+\)")


@dataclass(frozen=True)
class Suite:
    """One suite of a Debian archive, such as `bookworm` of `debian`."""

    archive: str
    name: str


def host_mirrors() -> dict[str, str]:
    """Address of each Debian archive (`debian`, `debian-security`) in the machine's sources."""
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    found: dict[str, str] = {}
    for line in done.stdout.splitlines():
        address = line.strip().rstrip("/")
        found.setdefault(address.rsplit("/", 1)[-1], address)
    return {
        archive: found.get(archive, f"{DEFAULT_MIRROR}/{archive}")
        for archive in ("debian", "debian-security")
    }


class PrivateApt:
    """apt over a few suites, with all its state in `root`."""

    def __init__(self, root: Path, suites: tuple[Suite, ...], keyring: Path = KEYRING) -> None:
        self.root = root
        self.suites = suites
        self.keyring = keyring

    def update(self) -> None:
        """Fetch the suites' package lists; raise VmError when no list could be had."""
        self._write_config()
        done = self._run("apt-get", "update")
        if "NO_PUBKEY" in done.stderr and self.keyring == KEYRING:
            self.keyring = newer_keyring(self.root.parent / "keyring")
            self._write_config()
            done = self._run("apt-get", "update")
        if done.returncode != 0 or "\nE: " in f"\n{done.stderr}":
            names = ", ".join(suite.name for suite in self.suites)
            raise VmError(
                f"apt could not read the package lists of {names}: {last_line(done.stderr)}",
                "check that the Debian mirror of your apt sources is reachable: apt-get update",
            )

    def field(self, package: str, name: str) -> str | None:
        """One field of the newest version of a package; None when no suite carries it."""
        done = self._run("apt-cache", "show", "--no-all-versions", package)
        for line in done.stdout.splitlines():
            if line.startswith(f"{name}: "):
                return line.split(": ", 1)[1]
        return None

    def same_build(self, package: str) -> list[str]:
        """The package and every package of the very same build that it needs."""
        wanted, seen = [package], list[str]()
        while wanted:
            name = wanted.pop()
            if name not in seen:
                seen.append(name)
                wanted += SAME_BUILD.findall(self.field(name, "Depends") or "")
        return seen

    def download(self, packages: list[str], into: Path) -> list[Path]:
        """Download packages into a folder, checked against the signed lists; their paths."""
        into.mkdir(parents=True, exist_ok=True)
        done = self._run("apt-get", "download", *packages, cwd=into)
        if done.returncode != 0:
            raise VmError(
                f"apt could not download {' '.join(packages)}: {last_line(done.stderr)}",
                "the mirror may have moved on since its lists were read: try again with --refresh",
            )
        return sorted(into.glob("*.deb"))

    def _run(
        self, tool: str, *arguments: str, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [tool, "-q", "-c", str(self.root / "apt.conf"), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
        )

    def _write_config(self) -> None:
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "status").touch()
        mirrors = host_mirrors()
        (self.root / "sources.list").write_text(
            "".join(
                f"deb [arch=amd64 signed-by={self.keyring}] "
                f"{mirrors[suite.archive]} {suite.name} main\n"
                for suite in self.suites
            )
        )
        (self.root / "apt.conf").write_text(apt_conf(self.root))


def apt_conf(root: Path) -> str:
    """The configuration that keeps apt inside `root`, read after the machine's own.

    The machine's hooks are cleared (they tidy or index the machine's own lists), its pins are
    ignored, and the sandbox user is off because it cannot enter a home folder.
    """
    return f"""\
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Dir::State "{root}/state";
Dir::State::lists "{root}/state/lists";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
"""


def newer_keyring(root: Path) -> Path:
    """A newer Debian keyring unpacked in the cache, fetched with the keys this machine trusts.

    Needed on machines whose keyring is older than the suite to be read: the stable release that
    the machine does trust carries the keys of the releases after it.
    """
    trusted = PrivateApt(root, (Suite("debian", "bookworm"),))
    trusted._write_config()
    trusted._run("apt-get", "update")
    for package in trusted.download(["debian-archive-keyring"], root / "debs"):
        unpack(package, root / "tree")
    return root / "tree" / KEYRING.relative_to("/")


def unpack(package: Path, tree: Path) -> None:
    """Unpack one .deb file into a folder without installing it."""
    tree.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["dpkg", "-x", str(package), str(tree)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise VmError(
            f"{package.name} could not be unpacked: {last_line(done.stderr)}",
            f"look for free space: df -h {tree}",
        )


def last_line(text: str) -> str:
    """The last line of a tool's complaint, or a word for silence."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "(it said nothing)"
