"""`cotenant check` on the real host: as root, as nobody, with eBPF refused or its parts gone."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.conftest import within
from tests.kernel.test_capabilities import with_only

from cotenant.errors import CotenantError
from cotenant.kernel.btf import Btf
from cotenant.kernel.capabilities import CAPABILITIES
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.meter import programs
from cotenant.meter.read import Meter

COTENANT = str(Path(sys.executable).with_name("cotenant"))


def asked(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COTENANT, *words], capture_output=True, text=True, timeout=180)


def told(done: subprocess.CompletedProcess[str]) -> tuple[str, dict[str, dict[str, Any]]]:
    """Tier and findings by what they are about."""
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    answer = json.loads(done.stdout)
    return answer["tier"], {finding["what"]: finding for finding in answer["findings"]}


@pytest.fixture(scope="module")
def as_root() -> tuple[str, dict[str, dict[str, Any]]]:
    """What root is told; once for several tests, as it takes 20 s on an emulated CPU."""
    return told(asked("check", "--json"))


@pytest.mark.any_kernel
@pytest.mark.claim
def test_root_is_told_that_every_program_loads_and_attaches(hierarchies: Hierarchies, as_root):
    tier, found = as_root
    assert tier in ("kfunc", "iterator")
    parts = {what: finding for what, finding in found.items() if what.startswith("program ")}
    assert len(parts) == 5
    assert {finding["state"] for finding in parts.values()} == {"ok"}, parts
    assert found["noise programs"]["state"] == found["waits for a CPU"]["state"] == "ok"
    assert hierarchies.layout in found["cgroups"]["found"]
    for what in ("kernel", "capabilities", "libbpf", "type information", "cgroup iterator"):
        assert found[what]["state"] == "ok", found[what]


@pytest.mark.file_tier
@pytest.mark.claim
def test_check_names_what_a_kernel_lacks_and_what_that_costs(as_root):
    """Below 6.1 the files are read; the same test runs on kernels that lack nothing."""
    tier, found = as_root
    iterator = found["cgroup iterator"]
    assert (tier == "files") == (iterator["state"] == "missing")
    if tier == "files":
        assert "files are read" in iterator["costs"]
        assert "Linux 6.1" in iterator["do"]
        assert found["eBPF programs"]["state"] == "missing"


@pytest.mark.any_kernel
@pytest.mark.claim
def test_check_tells_interrupts_steal_and_sessions_as_the_kernel_has_them(
    hierarchies: Hierarchies, as_root
):
    _, found = as_root
    with Btf.of_kernel() as btf:
        both = btf.field("rq", "prev_irq_time") and btf.field("rq", "prev_steal_time")
    assert (found["interrupts, steal"]["state"] == "ok") == bool(both)
    switch = Path("/proc/sys/kernel/sched_autogroup_enabled")
    on = switch.exists() and switch.read_text().strip() == "1"
    tree = hierarchies.of("cpu")
    assert tree is not None
    assert (found["sessions"]["state"] == "ok") == (not on or tree.version == 2)


@pytest.mark.claim
def test_check_lets_go_of_everything(hierarchies: Hierarchies):
    Meter(hierarchies).close()  # the first one loads libraries
    gc.collect()  # else what earlier tests left open may be closed, and its place taken
    before = len(os.listdir("/proc/self/fd"))
    meter = Meter(hierarchies)
    meter.close()
    assert within(30, lambda: len(os.listdir("/proc/self/fd")) <= before)


AS_CALLED = "/mnt/venv/bin/python -m cotenant"
"""How `with_only` runs it, so how a hint names it."""


@pytest.mark.claim
def test_nobody_is_told_what_could_not_be_looked_at():
    tier, found = told(with_only(frozenset(), "-m", "cotenant", "check", "--json"))
    assert tier == "files"
    assert found["capabilities"]["state"] == "degraded"
    for name, _ in CAPABILITIES.values():
        assert name in found["capabilities"]["found"]
    refused = found["eBPF programs"]
    assert "does not let this process use eBPF" in refused["found"]
    assert refused["costs"] and refused["do"] == f"sudo {AS_CALLED} check"
    assert found["noise programs"]["found"] == "refused likewise"
    assert "who makes whom wait" in found["noise programs"]["costs"]
    for what in ("kernel", "cgroups", "type information", "cgroup iterator", "waits for a CPU"):
        assert found[what]["state"] != "missing", "the kernel has it, whoever asks"
    for socket in ("/run/docker.sock", "/var/run/docker.sock"):
        if Path(socket).exists():
            assert found["docker"]["state"] == "unknown"
            break


@pytest.mark.claim
def test_nobody_gets_a_table_without_a_traceback():
    done = with_only(frozenset(), "-m", "cotenant", "check")
    assert done.returncode == 0
    assert "Traceback" not in done.stdout + done.stderr
    assert "through the files tier" in done.stderr
    assert "costs:" in done.stdout and f"do: sudo {AS_CALLED} check" in " ".join(
        done.stdout.split()
    )


@pytest.mark.claim
def test_bpf_refused_says_why_once_and_reads_files():
    """All capabilities but the one."""
    held = frozenset({"PERFMON", "NET_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH"})
    done = with_only(held, "-m", "cotenant", "check", "--json")
    tier, found = told(done)
    assert tier == "files"
    assert found["capabilities"]["found"] == "without CAP_BPF"
    assert done.stdout.count("does not let this process use eBPF") == 1
    assert not [what for what in found if what.startswith("program ")]


def files_tier(hierarchies: Hierarchies) -> str:
    """Why the file tier was taken; it must still meter, and a wanted tier must say no."""
    with pytest.raises(CotenantError):
        Meter(hierarchies, "iterator")
    before = {directory.path for directory in hierarchies.walk()}
    meter = Meter(hierarchies)
    try:
        snapshot = meter.collect(())
        assert meter.tier == snapshot.tier == "files"
        assert snapshot.root.cpu and snapshot.root.memory
        events = meter.events()
        stayed = before & {directory.path for directory in hierarchies.walk()}
        assert [event for event in events if event.path in stayed] == []
        assert meter.fileno() is not None and meter.costs() == []
        return str(meter.why_files)
    finally:
        meter.close()


@pytest.mark.claim
def test_without_the_compiled_programs_files_are_read(hierarchies, monkeypatch, tmp_path):
    monkeypatch.setattr(programs, "OBJECTS", tmp_path)
    assert files_tier(hierarchies).endswith(".bpf.o is missing.")


@pytest.mark.claim
def test_with_damaged_programs_files_are_read(hierarchies, monkeypatch, tmp_path):
    for path in programs.OBJECTS.glob("*.bpf.o"):
        (tmp_path / path.name).write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    monkeypatch.setattr(programs, "OBJECTS", tmp_path)
    assert "opening meter" in files_tier(hierarchies)


@pytest.mark.claim
def test_without_type_information_files_are_read(hierarchies, monkeypatch):
    monkeypatch.setattr(Btf, "of_kernel", lambda: Btf(None, "This kernel"))
    assert files_tier(hierarchies) == "This kernel has no type information (BTF)."


@pytest.mark.claim
def test_without_a_cgroup_iterator_files_are_read(hierarchies, monkeypatch):
    """As on Linux 5.10 to 6.0."""
    has = Btf.has_function
    monkeypatch.setattr(Btf, "has_function", lambda self, name: name != "bpf_iter_cgroup" and
                        has(self, name))  # fmt: skip
    assert "no cgroup iterator" in files_tier(hierarchies)


@pytest.mark.claim
def test_without_libbpf_files_are_read():
    """A child whose libbpf cannot be found; a thread cannot forget the one that is loaded."""
    code = (
        "import ctypes, sys; real = ctypes.CDLL\n"
        "def CDLL(name, *a, **k):\n"
        "    if 'libbpf' in str(name): raise OSError('libbpf.so.1: not found')\n"
        "    return real(name, *a, **k)\n"
        "ctypes.CDLL = CDLL\n"
        "from cotenant.cli.main import main; sys.exit(main(['check', '--json']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180)
    tier, found = told(done)
    assert tier == "files"
    assert found["libbpf"]["state"] == "missing"
    assert found["libbpf"]["do"] == "sudo apt-get install libbpf1"


@pytest.mark.claim
def test_a_terminal_of_forty_columns_is_enough():
    assert shutil.which("setpriv")
    done = subprocess.run([COTENANT, "check"], capture_output=True, text=True, timeout=180,
                          env=os.environ | {"COLUMNS": "40", "NO_COLOR": "1"})  # fmt: skip
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 40
    assert "\x1b" not in done.stdout
