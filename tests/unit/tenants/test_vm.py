"""VMs by their command lines and threads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotenant.model import Kind
from cotenant.tenants.vm import Part, from_command, is_monitor, part_of


@pytest.mark.parametrize(
    ("command", "runtime", "name"),
    [
        ("/usr/bin/qemu-system-x86_64 -name guest=web,debug-threads=on -m 2G", "qemu", "web"),
        ("qemu-system-aarch64 -m 1G -name web-2,process=x", "qemu", "web-2"),
        ("/usr/libexec/qemu-kvm -name guest=a=b", "qemu", "a=b"),
        ("/usr/bin/kvm -id 100 -name mail", "qemu", "mail"),
        ("/usr/bin/qemu-system-x86_64 -m 2G", "qemu", None),
        ("/firecracker --id 551e --start-time-us 1", "firecracker", "551e"),
        ("firecracker-v1.7 --id=web", "firecracker", "web"),
        ("cloud-hypervisor --api-socket /x", "cloud", None),
    ],
)
def test_monitors(command: str, runtime: str, name: str | None) -> None:
    facts = from_command(command.split())
    assert facts is not None
    assert (facts.kind, facts.name) == (Kind.VM, name)
    assert facts.runtime is not None and facts.runtime.startswith(runtime)


def test_others_are_no_monitors() -> None:
    assert from_command([]) is None
    assert from_command(["/bin/sh", "-c", "qemu-system-x86_64 -name x"]) is None
    assert not is_monitor("bash")


@pytest.mark.parametrize(
    ("comm", "part"),
    [
        ("CPU 0/KVM", Part.VCPU),
        ("CPU 13/TCG", Part.VCPU),
        ("fc_vcpu 0", Part.VCPU),
        ("vcpu3", Part.VCPU),
        ("vhost-4711", Part.VHOST),
        ("kvm-pit/4711", Part.VHOST),
        ("kvm-nx-lpage-re", Part.VHOST),
        ("qemu-system-x86", Part.VMM),
        ("IO mon_iothread", Part.VMM),
        ("firecracker", Part.VMM),
        ("fc_api", Part.VMM),
        ("", Part.VMM),
    ],
)
def test_threads(comm: str, part: Part) -> None:
    assert part_of(comm) is part


@given(st.lists(st.text(), max_size=6), st.text(max_size=15))
def test_nothing_breaks_them(words: list[str], comm: str) -> None:
    from_command(["qemu-system-x86_64", *words])
    from_command(["firecracker", *words])
    from_command(words)
    part_of(comm)
