"""Two network namespaces and the veth between them: the chatty pair's own wire.

Nothing of it is in the host's own namespace, so it cannot meet the host's addresses or firewall;
the names are fixed, so that it is found again after a crash.
"""

from __future__ import annotations

import shutil
import subprocess

from cotenant.demo.loads import SERVER_ADDRESS, Load
from cotenant.errors import HostCannot

PREFIX = "cotenant-demo-"
CLIENT_ADDRESS = "10.213.7.2"
ADDRESSES = {"server": SERVER_ADDRESS, "client": CLIENT_ADDRESS}
CALL_SECONDS = 20


def lay() -> None:
    """Make the namespaces and the veth, unless they are there.

    Raises HostCannot where `ip` is missing or fails; nothing is left half-laid then.
    """
    if len(_namespaces()) == len(ADDRESSES):
        return
    try:
        _lay()
    except HostCannot:
        take_up()
        raise


def _lay() -> None:
    take_up()  # what an interrupted one left
    ours, theirs = (PREFIX + side for side in ADDRESSES)
    for namespace in (ours, theirs):
        _ip("netns", "add", namespace)
    _ip("link", "add", "eth0", "netns", ours, "type", "veth",
        "peer", "name", "eth0", "netns", theirs)  # fmt: skip
    for side, address in ADDRESSES.items():
        inside = ("-n", PREFIX + side)
        _ip(*inside, "address", "add", f"{address}/30", "dev", "eth0")
        _ip(*inside, "link", "set", "eth0", "up")
        _ip(*inside, "link", "set", "lo", "up")


def at(load: Load) -> list[str]:
    """The words that start `load` at its end of the wire; as they are if it has none."""
    if load.side is None:
        return load.command()
    return [_program(), "netns", "exec", PREFIX + load.side, *load.command()]


def take_up() -> None:
    """Remove both namespaces, and the veth with them. Call it when nothing runs in them."""
    for namespace in _namespaces():
        _ip("netns", "delete", namespace)


def _namespaces() -> list[str]:
    if shutil.which("ip") is None:
        return []
    words = (line.split() for line in _ip("netns", "list").splitlines())
    return [line[0] for line in words if line and line[0].startswith(PREFIX)]


def _program() -> str:
    found = shutil.which("ip")
    if found is None:
        raise HostCannot("The chatty pair's veth is made with `ip`.", "apt install iproute2")
    return found


def _ip(*words: str) -> str:
    try:
        done = subprocess.run(
            [_program(), *words], capture_output=True, text=True, check=False, timeout=CALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise HostCannot(f"`ip {' '.join(words)}` hangs.") from None
    if done.returncode:
        raise HostCannot(f"`ip {' '.join(words)}` fails: {done.stderr.strip()}.")
    return done.stdout
