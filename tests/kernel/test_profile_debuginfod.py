"""Names from a real debuginfod, of a binary that has none: elfutils' server, in its own network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.kernel.conftest import Cgroup, within
from tests.kernel.profiling import VICTIMS, victim

from cotenant.profile.binary import Binary
from cotenant.profile.elf import Elf

pytestmark = pytest.mark.kernel

PORT = 8002
SERVER = f"http://127.0.0.1:{PORT}"
NAMES = {"tenant::burn(unsigned int)", "tenant::B::operator()(unsigned int)"}
IN_ITS_NETWORK = "ip link set lo up && exec debuginfod -F -p {} -d :memory: {}"
NO_PROXY = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
FETCH = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1]).read(1)"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Its functions have no names here; nobody has met this build before."""
    whole, bare = tmp_path / "whole", tmp_path / "bare"
    source = VICTIMS / "shares.cpp"
    flags = ("-O2", "-g", "-Wl,--build-id=uuid", "-static-libstdc++")
    subprocess.run(["g++", *flags, "-o", whole, source], check=True)
    debug = tmp_path / "served" / "bare.debug"
    debug.parent.mkdir()
    subprocess.run(["objcopy", "--only-keep-debug", whole, debug], check=True)
    subprocess.run(["objcopy", "--strip-all", whole, bare], check=True)
    whole.unlink()
    return bare


@pytest.fixture
def network(program: Path) -> Iterator[list[str]]:
    """How to run a command where a server has that program's debug file."""
    with Binary.at(program) as file:
        build_id = Elf(file).build_id
    script = IN_ITS_NETWORK.format(PORT, program.parent / "served")
    with (program.parent / "log").open("w") as log:
        server = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", script], stdout=log, stderr=log, cwd=program.parent
        )
    inside = ["nsenter", f"--net=/proc/{server.pid}/ns/net"]
    address = f"{SERVER}/buildid/{build_id}/debuginfo"

    def serves() -> bool:
        asked = [*inside, sys.executable, "-c", FETCH, address]
        return not subprocess.run(asked, capture_output=True, check=False, env=NO_PROXY).returncode

    try:
        assert within(60, serves, 0.5), (program.parent / "log").read_text()
        yield inside
    finally:
        server.terminate()
        server.wait()


def functions_of(group: Cgroup, before: list[str], *options: str | Path) -> tuple[set[str], str]:
    """Functions met in that cgroup in two seconds, and what was said."""
    done = subprocess.run(
        [*before, sys.executable, "-m", "cotenant", "profile", "--tenant", group.path,
         "--duration", "2s", "--json", *options],
        capture_output=True, text=True, check=False, timeout=120, env=NO_PROXY,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    frames = found["frames"]
    met = {i for stack in found["stacks"] for i in stack["frames"]}
    return {frames[i]["name"] for i in met}, done.stderr


def test_names_come_from_the_server_that_was_named_and_from_nobody_else(
    program: Path, network: list[str], tmp_path: Path, cgroup: Callable[[str], Cgroup]
) -> None:
    """They come after the first samples were named; the next time they are here at once."""
    config = tmp_path / "cotenant.toml"
    config.write_text(f'[profile]\ndebuginfod = "{SERVER}"\n')
    with victim(program, "named") as told:
        group = cgroup("/ct-debuginfod")
        group.add(told.pid)
        without, _ = functions_of(group, network)
        assert without and not NAMES & without
        first, said = functions_of(group, network, "--debuginfod", SERVER)
        assert first >= NAMES, said
        assert not [name for name in first if name.startswith("bare+")], "each has its name"
        again, said = functions_of(group, [], "--config", config)
        assert again >= NAMES, "kept"
        other, said = functions_of(group, [], "--debuginfod", "http://127.0.0.1:9")
        assert other and not NAMES & other
        assert "The debuginfod server at http://127.0.0.1:9 gave no answer" in said
