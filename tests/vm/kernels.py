"""Debian kernels for the VMs: found by a private apt, unpacked into the cache, never installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.vm.apt import PrivateApt, Suite, last_line, unpack
from tests.vm.errors import VmError

FRESH_SECONDS = 7 * 24 * 3600
Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """A kernel to test on: where Debian keeps it, and which tests it gets.

    `file_tier`: only the file tier works there. `the_one`: it also gets the tests that one VM runs
    for all, as they ask for pure cgroup v2 and not for a kernel.
    """

    name: str
    suites: tuple[Suite, ...]
    file_tier: bool = False
    the_one: bool = False


@dataclass(frozen=True)
class Kernel:
    """A kernel that is ready to boot: its image has its modules in `tree`/lib/modules."""

    name: str
    release: str
    version: str
    tree: Path
    file_tier: bool
    the_one: bool

    @property
    def image(self) -> Path:
        """The boot image."""
        return self.tree / "boot" / f"vmlinuz-{self.release}"


WANTED = (
    Wanted("6.1", (Suite("debian", "bookworm"), Suite("debian-security", "bookworm-security"))),
    Wanted(
        "6.12",
        (Suite("debian", "trixie"), Suite("debian-security", "trixie-security")),
        the_one=True,
    ),
    Wanted("newest", (Suite("debian", "sid"),)),
    # The one below 5.15: no BPF iterator over cgroups, so the figures come from files.
    Wanted(
        "5.10",
        (Suite("debian", "bullseye"), Suite("debian-security", "bullseye-security")),
        file_tier=True,
    ),
)


def cache_folder() -> Path:
    """Where kernels, tools and logs of runs are kept, outside the tree."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base).absolute() / "cotenant" / "vm"


def get_kernel(wanted: Wanted, cache: Path, *, refresh: bool, say: Say) -> Kernel:
    """The kernel, unpacked and ready; from the cache when it was asked for within a week."""
    root = cache / "kernels" / wanted.name
    known, age = read_stamp(root, wanted)
    if known is not None and age < FRESH_SECONDS and not refresh:
        return known
    try:
        return _fetch(wanted, root, known, say)
    except VmError as error:
        if known is None:
            raise
        say(f"{wanted.name}: {error}\n  going on with {known.release} from the cache")
        return known


def read_stamp(root: Path, wanted: Wanted) -> tuple[Kernel | None, float]:
    """The kernel that an earlier run left in the cache and its age in seconds, if it is whole."""
    try:
        stamp = json.loads((root / "kernel.json").read_text())
        kernel = Kernel(
            name=wanted.name,
            release=stamp["release"],
            version=stamp["version"],
            tree=Path(stamp["tree"]),
            file_tier=wanted.file_tier,
            the_one=wanted.the_one,
        )
        age = time.time() - float(stamp["fetched"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, 0.0
    return (kernel, age) if kernel.image.exists() else (None, 0.0)


def _fetch(wanted: Wanted, root: Path, known: Kernel | None, say: Say) -> Kernel:
    apt = PrivateApt(root / "apt", wanted.suites)
    say(f"{wanted.name}: asking Debian for its newest build")
    apt.update()
    depends = apt.field("linux-image-amd64", "Depends") or ""
    version = apt.field("linux-image-amd64", "Version") or ""
    package = next(
        (word for word in depends.replace(",", " ").split() if word.startswith("linux-image-")),
        None,
    )
    if package is None:
        suites = ", ".join(suite.name for suite in wanted.suites)
        raise VmError(
            f"the mirror has no linux-image-amd64 in {suites}, so there is no kernel "
            f"{wanted.name} to test on",
            "leave it out by naming the others: --kernel 6.1 --kernel 6.12 --kernel newest",
        )
    release = package.removeprefix("linux-image-")
    if known is None or (known.release, known.version) != (release, version):
        tree = _unpack_build(apt, package, root, f"{release}_{version}", say)
    else:
        tree = known.tree
    kernel = Kernel(wanted.name, release, version, tree, wanted.file_tier, wanted.the_one)
    _write_stamp(root, kernel)
    return kernel


def _unpack_build(apt: PrivateApt, package: str, root: Path, build: str, say: Say) -> Path:
    """Download and unpack one build; builds of earlier runs are removed."""
    packages = apt.same_build(package)
    say(f"{root.name}: downloading and unpacking {' '.join(sorted(packages))}")
    downloads, fresh, tree = root / "debs", root / "unpacking", root / f"tree-{build}"
    for folder in (downloads, fresh, tree):
        shutil.rmtree(folder, ignore_errors=True)
    for deb in apt.download(packages, downloads):
        unpack(deb, fresh)
    shutil.rmtree(downloads)
    _settle(fresh, package.removeprefix("linux-image-"))
    fresh.rename(tree)
    for old in root.glob("tree-*"):
        if old != tree:
            shutil.rmtree(old, ignore_errors=True)
    return tree


def _settle(tree: Path, release: str) -> None:
    """Give every build the one layout that virtme-ng looks for.

    Debian 13 keeps modules below usr/lib, and its development release the image beside them.
    """
    if not (tree / "lib").exists():
        (tree / "lib").symlink_to("usr/lib")
    modules = tree / "lib" / "modules" / release
    image = tree / "boot" / f"vmlinuz-{release}"
    if not image.exists() and (modules / "vmlinuz").exists():
        image.parent.mkdir(exist_ok=True)
        os.link(modules / "vmlinuz", image)
    if not image.exists() or not modules.is_dir():
        raise VmError(
            f"the packages of kernel {release} hold no image or no modules where they used to",
            f"look at what was unpacked: find {tree} -maxdepth 4",
        )
    done = subprocess.run(
        ["depmod", "-b", str(tree), release], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise VmError(
            f"depmod failed for kernel {release}: {last_line(done.stderr)}",
            "install kmod: apt-get install kmod",
        )


def _write_stamp(root: Path, kernel: Kernel) -> None:
    stamp = {**asdict(kernel), "tree": str(kernel.tree), "fetched": time.time()}
    (root / "kernel.json").write_text(json.dumps(stamp, indent=1))
