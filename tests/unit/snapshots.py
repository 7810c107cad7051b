"""Made-up snapshots for tests of screens and formats: any number of tenants, nothing measured.

now = make(200)                      # the same for the same arguments
later = make(200, second=1)          # one second on: counters have grown
hostile = make(names=HOSTILE)
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from cotenant.model import (
    Cpu,
    Disk,
    Interface,
    Kind,
    Lost,
    Machine,
    Memory,
    Pids,
    Pressure,
    Sample,
    Snapshot,
    Tenant,
    Throttle,
    Traffic,
)

MIB = 1 << 20
GIB = 1 << 30

HOSTILE = (
    'a"b\n{}',
    "\x1b[31mred\x1b[0m\x07",
    "[bold red]markup[/]",
    "[/]",
    "כלב גדול",
    "\u202eevil\u2066",
    "한국어-데이터베이스",
    "z\u0300\u0301\u0302\u0303\u0304algo",
    "👩‍👩‍👧 family",
    "not\udcffutf8",
    "tab\tand\rreturn",
    "x" * 400,
    "",
    " ",
)
"""Names that a cgroup or a container may really have and that no screen may trip over."""

MACHINE = Machine(
    cores=8,
    physical_cores=4,
    sockets=1,
    memory_bytes=32 * GIB,
    swap_bytes=0,
    kernel="6.18.44",
    boot_id="5a8d6a4e-30b7-4c3e-9d5b-0d6d5f9c2b11",
    machine_id="0f3a9c1b2d4e4f5a8b6c7d8e9f0a1b2c",
    system_uuid="",
    node="tern",
)

_APPS = ("web", "api", "postgres", "redis", "queue", "worker", "cache", "mail", "search", "auth")
_UNITS = ("ssh.service", "cron.service", "nginx.service", "chrony.service", "dbus.service")
_KINDS = (Kind.CONTAINER,) * 6 + (Kind.SERVICE,) * 2 + (Kind.VM, Kind.CGROUP)


def make(
    count: int = 12,
    second: float = 0,
    *,
    names: Sequence[str] = (),
    seed: int = 1,
    lost: Lost | None = None,
    tier: str = "iterator",
    wave: bool = False,
) -> Snapshot:
    """`count` tenants of all kinds (or one per name), `second` seconds after the first sample.

    Every tenth stands in the one before it; some have a part, or one field, that is None; some
    stand still. Two calls that differ in `second` alone give the same tenants, counters grown.
    """
    at_ns = 1_000_000_000_000 + int(second * 1e9)
    dice = random.Random(seed)
    samples = []
    for index in range(len(names) or count):
        name = names[index] if names else _name(index)
        own = random.Random(dice.random())
        # The integral of 1 + sin(x): never falls.
        passed = second + (math.cos(index) - math.cos(second / 3 + index)) * 3 if wave else second
        samples.append(_sample(index, name, at_ns, passed, own))
    return Snapshot(
        at_ns=at_ns,
        unix_s=1_790_000_000.25 + second,
        tier=tier,
        machine=MACHINE,
        root=_root(samples, at_ns, second),
        samples=tuple(samples),
        lost=lost or Lost(),
    )


def tenant(index: int, name: str) -> Tenant:
    """The tenant number `index`; its kind, groups and parent follow from the number."""
    kind = _KINDS[index % len(_KINDS)]
    nested = index % 10 == 5
    group = {Kind.CONTAINER: "docker", Kind.SERVICE: "system.slice"}.get(kind, "machine.slice")
    in_pod = kind is Kind.CONTAINER and index % 4 == 3
    number = f"{index * 2654435761 % (1 << 64):016x}" * 4
    return Tenant(
        key=index + 1,
        name=name,
        kind=kind,
        path=f"/{group}/{number}",
        cgroups={1: 1000 + index, 4: 2000 + index},
        groups=("kubepods", f"pod{index // 8}") if in_pod else (group,),
        parent=index if nested else None,
        runtime="docker" if kind is Kind.CONTAINER else None,
        id=number if kind in (Kind.CONTAINER, Kind.VM) else None,
        image="registry.example/app:1.2" if kind is Kind.CONTAINER else None,
        namespace="shop" if in_pod else None,
        pod=f"front-{index // 8}" if in_pod else None,
        container="app" if in_pod else None,
        started_at=1_789_990_000.0 + index,
        main_pid=5000 + index,
        netns=4026532000 + index if kind is Kind.CONTAINER else None,
    )


def _name(index: int) -> str:
    kind = _KINDS[index % len(_KINDS)]
    if kind is Kind.SERVICE:
        return f"{index}-{_UNITS[index % len(_UNITS)]}"
    return f"{_APPS[index % len(_APPS)]}-{index}"


def _sample(index: int, name: str, at_ns: int, second: float, dice: random.Random) -> Sample:
    who = tenant(index, name)
    cores = dice.choice((0.0, 0.002, 0.05, 0.3, 0.7, 1.4)) * dice.random()
    memory = int(dice.choice((3, 40, 300, 1800)) * dice.uniform(0.5, 1) * MIB)
    flow = dice.choice((0, 900, 30_000, 4_000_000)) * dice.random()
    container = who.kind is Kind.CONTAINER
    return Sample(
        tenant=who,
        at_ns=at_ns,
        cpu=None if index % 17 == 16 else _cpu(cores, second),
        throttle=_throttle(second, index) if container else None,
        memory=None if index % 13 == 12 else _memory(memory, second, flow, index),
        pids=Pids(1 + index % 40, 512 if container else None),
        pressure=Pressure(9000, 800, 0, 0, 120_000, None) if index % 3 == 0 else None,
        traffic=Traffic(int(flow * second), int(second * 3), int(flow * second / 4), int(second)),
        interfaces=(_interface(flow, second),) if who.netns else None,
        disks=None if index % 11 == 10 else (_disk(flow, second),),
        vm_bytes=memory * 3,
        space_bytes=memory // 2 if container else None,
    )


def _cpu(cores: float, second: float) -> Cpu:
    used = int(cores * 1e9 * (second + 100))
    return Cpu(used, used * 3 // 4, used - used * 3 // 4)


def _throttle(second: float, index: int) -> Throttle:
    periods = int(10 * (second + 100))
    held = periods * (index % 6) // 20
    limited = index % 2 == 0
    return Throttle(periods, held, held * 4_000_000, 150_000 if limited else None, 100_000, 1024)


def _memory(usage: int, second: float, flow: float, index: int) -> Memory:
    cache = usage // 3
    return Memory(
        usage=usage,
        limit=(usage * (110 + 40 * (index % 5)) // 100) if index % 2 == 0 else None,
        max_usage=usage + 4096,
        failures=index % 3,
        cache=cache,
        rss=usage - cache,
        rss_huge=0,
        shmem=0,
        mapped_file=cache // 2,
        dirty=4096,
        writeback=0,
        swap=None if index % 5 == 4 else 0,
        inactive_file=cache // 2,
        active_file=cache - cache // 2,
        pgpgin=int(1000 + flow * second / 4096),
        pgpgout=900,
        pgfault=5000 + int(second * 11),
        pgmajfault=12 + int(second * (index % 4)),
        low_events=None,
        high_events=None,
        max_events=None,
        oom_events=None,
        oom_kills=0,
    )


def _interface(flow: float, second: float) -> Interface:
    received, sent = int(flow * second), int(flow * second / 3)
    return Interface("eth0", received, received // 900, 0, 0, sent, sent // 900, 0, 1)


def _disk(flow: float, second: float) -> Disk:
    read, written = int(flow * second / 2), int(flow * second)
    return Disk(254, 0, "/dev/vda", read, written, read // 4096, written // 4096)


def _root(samples: list[Sample], at_ns: int, second: float) -> Sample:
    """The whole host: the tenants that stand alone, and a fifth of a core for the rest."""
    own = [sample for sample in samples if sample.tenant.parent is None]
    cpu = sum(s.cpu.usage_ns for s in own if s.cpu) + int(0.2e9 * (second + 100))
    memory = sum(s.memory.usage for s in own if s.memory) + 700 * MIB
    disks = [disk for s in own for disk in s.disks or ()]
    return Sample(
        tenant=Tenant(key=0, name="/", kind=Kind.HOST, path="/", cgroups={1: 1}),
        at_ns=at_ns,
        cpu=Cpu(cpu, cpu // 2, cpu - cpu // 2),
        memory=_memory(memory, second, 0, 1),
        pids=Pids(sum(s.pids.current for s in own if s.pids) + 90, None),
        traffic=Traffic(
            sum(s.traffic.received_bytes for s in own if s.traffic) + int(1000 * second),
            0,
            sum(s.traffic.sent_bytes for s in own if s.traffic) + int(2000 * second),
            0,
        ),
        disks=(
            Disk(
                254,
                0,
                "/dev/vda",
                sum(disk.read_bytes for disk in disks),
                sum(disk.written_bytes for disk in disks) + int(50_000 * second),
                sum(disk.reads for disk in disks),
                sum(disk.writes for disk in disks),
            ),
        ),
    )
