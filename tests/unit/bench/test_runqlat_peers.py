"""How the run-queue latency peers are got: where from, and why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from peers.runqlat import bpftrace, ebpf_exporter
from peers.runqlat.run import BuildFailed, run

from cotenant.errors import HostCannot


def test_libbpfs_source_comes_from_the_mirror_that_the_system_uses() -> None:
    stanza = "Types: deb\n# a note\nURIs: http://mirror.example/debian\nSuites: bookworm x\n"
    changed = ebpf_exporter.source_stanza(stanza)
    assert changed is not None
    assert changed.splitlines()[:3] == [
        "Types: deb-src", "URIs: http://mirror.example/debian",
        f"Suites: {ebpf_exporter.LIBBPF_SUITE}",
    ]  # fmt: skip


def test_another_packagers_list_is_no_mirror() -> None:
    assert ebpf_exporter.source_stanza("URIs: http://vendor.example/apt\n") is None


def test_a_step_that_fails_tells_its_last_words() -> None:
    assert run(["echo", "done"], Path("/")) == "done\n"
    with pytest.raises(BuildFailed, match=r"`sh` fails: .*no such module"):
        run(["sh", "-c", "echo no such module >&2; exit 3"], Path("/"))
    with pytest.raises(HostCannot, match="no `cotenant-nothing`"):
        run(["cotenant-nothing"], Path("/"))


def test_without_bpftrace_the_hint_says_where_it_comes_from(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HostCannot) as refused:
        bpftrace.command(lambda _: None)
    assert refused.value.hint == "sudo apt-get install bpftrace"
