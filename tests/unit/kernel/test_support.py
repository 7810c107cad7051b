"""What a host offers, said as facts: what a probe may not see is unknown, never missing."""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path

import pytest

from cotenant.errors import NoBpf
from cotenant.kernel import capabilities, support
from cotenant.kernel.btf import Btf
from cotenant.kernel.capabilities import CAPABILITIES, NOTHING, PROFILING, held_capabilities
from cotenant.kernel.cgroupfs import Hierarchies, Hierarchy
from cotenant.kernel.support import State

STATUS = "Name:\tpython3\nCapInh:\t0000000000000000\nCapPrm:\t000001ffffffffff\nCapEff:\t{:016x}\n"
ALL = (1 << 41) - 1
DAC_OVERRIDE, SYS_ADMIN = 1, 21
STANDS_FOR_OTHERS = 1 << DAC_OVERRIDE | 1 << SYS_ADMIN


def tree(version: int, *controllers: str, number: int = 0, mount: str = "/x") -> Hierarchy:
    return Hierarchy(number, version, Path(mount), frozenset(controllers))


V2 = Hierarchies([tree(2, "cpu", "memory", "pids", "io")])


def test_a_thing_that_does_not_stand_well_says_what_that_costs():
    for finding in support.findings(V2):
        if finding.state is not State.OK:
            assert finding.costs, finding


@pytest.mark.parametrize("bits", [0, 1, 1 << 39, ALL])
def test_the_effective_capabilities_count(bits):
    assert held_capabilities(STATUS.format(bits)) == bits


def with_capabilities(monkeypatch, bits: int) -> support.Finding:
    monkeypatch.setattr(Path, "read_text", lambda *_: STATUS.format(bits))
    return support.capabilities()


def test_every_capability_that_is_missing_is_named_with_its_use(monkeypatch):
    assert with_capabilities(monkeypatch, ALL).state is State.OK
    for bit, (name, use) in CAPABILITIES.items():
        found = with_capabilities(monkeypatch, ALL & ~(1 << bit) & ~STANDS_FOR_OTHERS)
        assert found.state is State.DEGRADED
        assert found.found == f"without {name}"
        assert found.costs == f"{name}: {use}"
    nobody = with_capabilities(monkeypatch, 0)
    assert all(name in nobody.found for name, _ in CAPABILITIES.values())


def test_who_may_read_and_write_everything_may_read_it(monkeypatch):
    (reads,) = [bit for bit, (name, _) in CAPABILITIES.items() if name == "CAP_DAC_READ_SEARCH"]
    assert with_capabilities(monkeypatch, ALL & ~(1 << reads)).state is State.OK


def test_capabilities_that_are_not_used_do_not_matter(monkeypatch):
    used = sum(1 << bit for bit in CAPABILITIES)
    assert with_capabilities(monkeypatch, used).state is State.OK


def test_numbers_of_capabilities_are_the_kernels():
    known = CAPABILITIES | PROFILING
    names = {name for name, _ in known.values()}
    assert {bit: name for bit, (name, _) in known.items()} == {
        bit: name
        for bit, name in {
            1: "CAP_DAC_OVERRIDE", 2: "CAP_DAC_READ_SEARCH", 12: "CAP_NET_ADMIN",
            19: "CAP_SYS_PTRACE", 21: "CAP_SYS_ADMIN", 24: "CAP_SYS_RESOURCE",
            34: "CAP_SYSLOG", 38: "CAP_PERFMON", 39: "CAP_BPF", 40: "CAP_CHECKPOINT_RESTORE",
        }.items() if name in names
    }  # fmt: skip


def profiling_with(monkeypatch, bits: int, told: bool = False) -> support.Finding:
    monkeypatch.setattr(Path, "read_text", lambda *_: STATUS.format(bits))
    monkeypatch.setattr(capabilities, "addresses_told", lambda: told)
    return support.profiling()


def test_every_capability_that_profiles_lack_is_named_with_what_it_costs(monkeypatch):
    assert profiling_with(monkeypatch, ALL).state is State.OK
    for bit, (name, costs) in PROFILING.items():
        found = profiling_with(monkeypatch, ALL & ~(1 << bit) & ~STANDS_FOR_OTHERS)
        assert found.state is (State.MISSING if costs == NOTHING else State.DEGRADED)
        assert found.found == f"without {name}"
        assert found.costs == f"{name}: {costs}"


def test_where_nothing_can_be_profiled_no_smaller_loss_is_told(monkeypatch):
    found = profiling_with(monkeypatch, 0)
    assert found.found == "without CAP_PERFMON, CAP_BPF"
    assert found.costs == f"CAP_PERFMON, CAP_BPF: {NOTHING}"


def test_syslog_is_not_missed_where_the_kernel_tells_its_addresses_anyway(monkeypatch):
    without = ALL & ~(1 << 34)
    assert profiling_with(monkeypatch, without, told=True).state is State.OK
    assert profiling_with(monkeypatch, without, told=False).found == "without CAP_SYSLOG"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"0000000000000000 A first\n0000000000000000 T second\n", False),
        (b"0000000000000000 A first\nffffffff81000000 T second\n", True),
        (b"", False),
    ],
)
def test_addresses_are_told_where_one_of_them_is(tmp_path, text, told):
    (tmp_path / "kallsyms").write_bytes(text)
    assert capabilities.addresses_told(tmp_path / "kallsyms") == told
    assert not capabilities.addresses_told(tmp_path / "none")


@pytest.mark.parametrize(
    ("release", "state"),
    [
        ("6.18.44", State.OK),
        ("6.6.87.2-microsoft-standard-WSL2", State.DEGRADED),
        ("5.15.90.1-Microsoft", State.DEGRADED),
    ],
)
def test_wsl2_is_recognised(monkeypatch, release, state):
    monkeypatch.setattr(platform, "release", lambda: release)
    found = support.kernel()
    assert found.state is state and release in found.found
    assert (state is State.OK) == (not found.do)


def test_without_any_tree_nothing_can_be_metered():
    found = support.cgroups(Hierarchies([]))
    assert found.state is State.MISSING and found.costs == "nothing can be metered"
    assert found.do.startswith("mount ")


def test_v1_alone_is_degraded_and_names_every_mount():
    found = support.cgroups(Hierarchies([tree(1, "cpu", number=3, mount="/a"),
                                         tree(1, "memory", number=4, mount="/b")]))  # fmt: skip
    assert found.state is State.DEGRADED
    assert "/a, /b" in found.found


def test_many_mounts_are_one_line():
    trees = [tree(1, name, number=i, mount=f"/sys/fs/cgroup/{name}")
             for i, name in enumerate(("cpu", "memory", "pids", "blkio"), 2)]  # fmt: skip
    found = support.cgroups(Hierarchies([*trees, tree(2, mount="/sys/fs/cgroup/unified")]))
    assert found.found == "hybrid: 5 trees below /sys/fs/cgroup"


def test_v2_and_hybrid_are_well():
    assert support.cgroups(V2).found == "v2: /x"
    both = Hierarchies([tree(1, "cpu", number=3, mount="/a"), *V2.trees])
    assert support.cgroups(both).found == "hybrid: /x, /a"


@pytest.mark.parametrize("missing", ["cpu", "memory", "pids", "io"])
def test_a_controller_that_is_not_there_is_named_with_how_to_get_it(missing):
    left = {"cpu", "memory", "pids", "io"} - {missing}
    found = support.controllers(Hierarchies([tree(2, *left)]))
    assert found.state is State.DEGRADED
    assert found.found == f"without {missing}"
    assert f"'+{missing}'" in found.do
    assert support.controllers(V2).state is State.OK


def test_on_v1_block_io_is_blkios():
    one = Hierarchies([tree(1, "cpu", "memory", "pids", "blkio", number=1)])
    assert support.controllers(one).state is State.OK


@pytest.mark.parametrize(
    ("error", "word"),
    [(None, "per cgroup"), (FileNotFoundError(2, ""), "built without"),
     (OSError(95, "Operation not supported"), "switched off")],
)  # fmt: skip
def test_pressure_is_there_or_not_built_or_switched_off(monkeypatch, error, word):
    def read(_: Path) -> bytes:
        if error:
            raise error
        return b"some avg10=0.00"

    monkeypatch.setattr(Path, "read_bytes", read)
    found = support.pressure(V2)
    assert word in found.found
    assert found.state is (State.MISSING if error else State.OK)


def test_pressure_that_may_not_be_read_is_unknown_not_missing(monkeypatch):
    def read(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", read)
    assert support.pressure(V2).state is State.UNKNOWN


def test_pressure_per_cgroup_needs_a_v2_tree():
    one = Hierarchies([tree(1, "cpu", number=1)])
    assert support.pressure(one).state is State.MISSING


class FakeTypes:
    """A kernel whose structs have these fields."""

    def __init__(self, *fields: str) -> None:
        self.fields = fields

    def __enter__(self) -> FakeTypes:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def field(self, of: str, name: str) -> str | None:
        return name if f"{of}.{name}" in self.fields else None


@pytest.mark.parametrize(
    ("fields", "trees", "state", "word"),
    [
        (["task_struct.sched_info"], V2, State.OK, "by cgroup of /x"),
        (["task_struct.sched_info"], Hierarchies([tree(2, "memory")]), State.DEGRADED, "without"),
        (["task_struct.sched_info"], Hierarchies([tree(1, number=1)]), State.DEGRADED, "without"),
        (["rq.prev_irq_time"], V2, State.MISSING, "does not stamp"),
    ],
)
def test_waits_take_stamps_and_the_cpu_tree(monkeypatch, fields, trees, state, word):
    monkeypatch.setattr(Btf, "of_kernel", lambda: FakeTypes(*fields))
    found = support.stamps(trees)
    assert found.state is state and word in found.found
    assert (state is State.OK) == (not found.costs)
    if trees.layout == "v1":
        assert "told as the host" in found.costs


@pytest.mark.parametrize("missing", [(), ("interrupts",), ("steal",), ("interrupts", "steal")])
def test_clocks_that_are_not_told_apart_are_named(monkeypatch, missing):
    fields = {"interrupts": "rq.prev_irq_time", "steal": "rq.prev_steal_time"}
    there = [field for word, field in fields.items() if word not in missing]
    monkeypatch.setattr(Btf, "of_kernel", lambda: FakeTypes(*there))
    found = support.clocks()
    assert found.state is (State.DEGRADED if missing else State.OK)
    assert found.found == (f"without {', '.join(missing)}" if missing else found.found)
    assert all(word in found.costs for word in missing)


def test_without_type_information_no_waits_are_told(monkeypatch):
    def missing() -> None:
        raise NoBpf("This kernel has no type information (BTF).", "cotenant check")

    monkeypatch.setattr(Btf, "of_kernel", missing)
    for found in (support.stamps(V2), support.clocks()):
        assert found.state is State.MISSING and found.costs and "BTF" in found.found


@pytest.mark.parametrize("on", ["0", "1", None])
@pytest.mark.parametrize("version", [1, 2])
def test_sessions_are_told_as_the_host_where_autogroup_is_on(monkeypatch, tmp_path, on, version):
    if on is not None:
        (tmp_path / "on").write_text(f"{on}\n")
    monkeypatch.setattr(support, "AUTOGROUP", tmp_path / "on")
    found = support.autogroup(Hierarchies([tree(version, "cpu", number=version - 1)]))
    assert found.state is (State.DEGRADED if on == "1" and version == 1 else State.OK)
    assert ("the host" in found.costs) == (found.state is State.DEGRADED)


@pytest.mark.parametrize(("hard", "state"), [(65536, State.OK), (4096, State.DEGRADED)])
def test_few_descriptors_are_told_with_their_cost(monkeypatch, hard, state):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, hard))
    found = support.descriptors()
    assert found.state is state and str(hard) in found.found
    if state is not State.OK:
        assert found.do.startswith("ulimit")


def test_a_host_without_libbpf_is_told_how_to_get_it(monkeypatch):
    def missing() -> None:
        raise NoBpf("libbpf 1.1 or newer cannot be loaded: x.", "sudo apt-get install libbpf1")

    monkeypatch.setattr(support, "library", missing)
    found = support.bpf_library()
    assert (found.state, found.do) == (State.MISSING, "sudo apt-get install libbpf1")


def test_a_kernel_without_types_has_no_births_either(monkeypatch):
    def missing() -> None:
        raise NoBpf("This kernel has no type information (BTF).")

    monkeypatch.setattr(Path, "exists", lambda _: False)
    monkeypatch.setattr(Btf, "of_kernel", missing)
    assert support.type_information().state is State.MISSING
    assert support.births().state is not State.OK


# --- sockets


def test_a_socket_that_is_absent_is_no_fault(tmp_path):
    assert support.sockets("docker", [tmp_path / "docker.sock"]) == []


def test_a_socket_that_may_be_used_is_well(tmp_path):
    (tmp_path / "docker.sock").touch()
    [found] = support.sockets("docker", [tmp_path / "docker.sock"])
    assert (found.what, found.state) == ("docker", State.OK)


def test_a_socket_that_may_not_be_opened_is_unknown(tmp_path, monkeypatch):
    (tmp_path / "docker.sock").touch()
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    [found] = support.sockets("docker", [tmp_path / "docker.sock"])
    assert found.state is State.UNKNOWN and found.costs and found.do


def test_a_socket_in_a_directory_we_may_not_enter_is_unknown(monkeypatch):
    def stat(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", stat)
    [found] = support.sockets("docker", [Path("/run/docker.sock")])
    assert found.state is State.UNKNOWN
