"""The Prometheus text exposition of a snapshot: cAdvisor's families, then our own.

Which rows there are, and why:
- `id="/"` is the whole host and every tenant has a row under its cgroup's path, nested ones too,
  as in cAdvisor. Only containers and VMs that stand in no other one have a `name`, so the sums
  that dashboards make over `name!=""`, and the kubelet's over `container!=""`, count nothing twice.
- `cotenant_*` rows of nested tenants have a `parent`; the ones without it sum to all tenants.
- What is left for the host itself is a difference of counters that can fall when a tenant dies,
  so it is no row; `docs/metrics.md` has the query.
- A tenant that died keeps its counters, `container_last_seen` and who it was for 60 s (see
  finals.py); what it held (memory, tasks, limits) goes at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import astuple

from cotenant.export import cadvisor, cotenant, labels, singles
from cotenant.export.block import Block
from cotenant.export.finals import Finals
from cotenant.export.own import OwnCost
from cotenant.export.own import render as render_own
from cotenant.export.rows import COLUMNS, Row, host_row, row
from cotenant.model import Disk, Interface, Kind, Machine, Sample, Snapshot, Tenant

Above = tuple[Tenant, ...]
Who = tuple[Tenant, Above]


class Page:
    """Renders snapshots as exposition text; keeps the labels and the finals between calls.

    One Page per place that is scraped. `keep_finals_s`: how long a dead tenant stays (0: not at
    all); `most_finals`: how many at most; `runtime_labels`: container labels to show as
    `container_label_*`, none unless named, as each may bring a series of its own.
    """

    def __init__(
        self,
        *,
        keep_finals_s: float = 60.0,
        most_finals: int = 1000,
        runtime_labels: Iterable[str] = (),
    ) -> None:
        self._finals = Finals(keep_finals_s, most_finals)
        self._container = labels.Container(runtime_labels)
        self._node = ""
        self._tenants: tuple[Tenant, ...] = ()
        self._who: list[Who] = []
        self._texts: dict[Who, tuple[str, str]] = {}
        self._shown: list[int] = []
        self._shown_ours: list[int] = []
        self._blocks = self._make_blocks()

    def note(self, snapshot: Snapshot) -> None:
        """Take in who died. Call it for every snapshot, also the ones that are never rendered."""
        self._finals.note(snapshot)

    def render(self, snapshot: Snapshot, own: OwnCost | None = None) -> bytes:
        """The whole page as UTF-8: ints exact, ns as seconds with nine digits, None without a line.

        `own` is what the agent itself costs, on the page when given.
        """
        self.note(snapshot)
        finals = self._finals.kept()
        samples = [snapshot.root, *snapshot.samples, *[sample for sample, _ in finals]]
        self._arrange(tuple([sample.tenant for sample in samples[1:]]), snapshot)
        out = self._tenant_lines(snapshot, samples, [row for _, row in finals])
        out += _machine_lines(snapshot.machine)
        out += self._snapshot_lines(snapshot)
        if own is not None:
            out.append(render_own(own))
        out[0] = out[0].removeprefix(b"\n")
        out.append(b"\n")
        return b"".join(out)

    def _make_blocks(self) -> list[Block]:
        interface = {f"interface.{f}": i for i, f in enumerate(Interface.__struct_fields__)}
        disk = {f"disk.{f}": i for i, f in enumerate(Disk.__struct_fields__)}

        def theirs(key: Who) -> str:
            return self._texts[key][0]

        def ours(key: Who) -> str:
            return self._texts[key][1]

        def on_interface(key: tuple[Tenant, Above, str]) -> str:
            return labels.text([*self._container.network(*key[:2]), ("interface", key[2])])

        def on_device(key: tuple[Tenant, Above, str, int, int]) -> str:
            return _and(theirs(key[:2]), ("device", key[2]))

        def on_number(key: tuple[Tenant, Above, str, int, int]) -> str:
            return _and(on_device(key), ("major", str(key[3])), ("minor", str(key[4])))

        def info(key: Who) -> str:
            return _and(ours(key), ("id", labels.path(key[0])), ("runtime", key[0].runtime))

        return [
            Block(cadvisor.CONTAINER, COLUMNS, theirs),
            Block(cadvisor.INTERFACES, interface, on_interface),
            Block(cadvisor.DISKS, disk, on_device),
            Block(cadvisor.DISK_OPERATIONS, disk, on_number),
            Block(cotenant.TENANT[:1], COLUMNS, info),
            Block(cotenant.TENANT[1:], COLUMNS, ours),
        ]

    def _arrange(self, tenants: tuple[Tenant, ...], snapshot: Snapshot) -> None:
        """Who has a row where. Live ones come first, so it is a final that yields its labels."""
        if tenants == self._tenants and snapshot.machine.node == self._node and self._who:
            return
        if snapshot.machine.node != self._node:
            self._node, self._blocks = snapshot.machine.node, self._make_blocks()
            self._texts = {}
        self._tenants = tenants
        by_key = {tenant.key: tenant for tenant in reversed(tenants)}
        self._who = [(snapshot.root.tenant, ())]
        self._who += [(tenant, _above(tenant, by_key)) for tenant in tenants]
        known = self._texts
        self._texts = {who: known.get(who) or self._label_texts(who) for who in self._who}
        self._shown = labels.distinct([self._texts[who][0] for who in self._who])
        ours = [self._texts[who][1] for who in self._who[1:]]
        self._shown_ours = [index + 1 for index in labels.distinct(ours)]

    def _label_texts(self, who: Who) -> tuple[str, str]:
        theirs, ours = self._container.pairs(*who), labels.cotenant(*who, self._node)
        return labels.text(theirs), labels.text(ours)

    def _tenant_lines(
        self, snapshot: Snapshot, samples: list[Sample], finals: list[Row]
    ) -> list[bytes]:
        now_ms = round(snapshot.unix_s * 1000)
        rows: list[Row] = [host_row(samples[0], now_ms, snapshot.machine.memory_bytes)]
        live = len(snapshot.samples) + 1
        rows += [row(sample, now_ms) for sample in samples[1:live]]
        rows += finals
        tenants, interfaces, devices, operations, info, ours = self._blocks
        out = tenants.render(*self._pick(self._shown, rows))
        out += interfaces.render(*self._interface_rows(samples[:live]))
        disks = self._disk_rows(samples)
        out += devices.render(*disks)
        out += operations.render(*disks)
        picked = self._pick(self._shown_ours, rows)
        out += info.render(*picked)
        out += ours.render(*picked)
        return out

    def _pick(self, shown: list[int], rows: list[Row]) -> tuple[tuple[Who, ...], list[Row]]:
        who = self._who
        return tuple([who[index] for index in shown]), [rows[index] for index in shown]

    def _interface_rows(
        self, samples: Sequence[Sample]
    ) -> tuple[tuple[tuple[Tenant, Above, str], ...], list[Row]]:
        """One row per interface, and one owner per network: a pod, else who entered it first."""
        owners: dict[object, int] = {}
        for index, sample in enumerate(samples):
            if sample.interfaces:
                owner = owners.setdefault(_network(sample.tenant), index)
                if owner != index and self._rank(index) < self._rank(owner):
                    owners[_network(sample.tenant)] = index
        keys: list[tuple[Tenant, Above, str]] = []
        rows: list[Row] = []
        for index in owners.values():
            tenant, above = self._who[index]
            for interface in samples[index].interfaces or ():
                keys.append((tenant, above, interface.name))
                rows.append(astuple(interface))
        return tuple(keys), rows

    def _rank(self, index: int) -> tuple[int, float, int]:
        tenant, above = self._who[index]
        return len(above), tenant.started_at or float("inf"), tenant.key

    def _disk_rows(
        self, samples: Sequence[Sample]
    ) -> tuple[tuple[tuple[Tenant, Above, str, int, int], ...], list[Row]]:
        keys: list[tuple[Tenant, Above, str, int, int]] = []
        rows: list[Row] = []
        for index in self._shown:
            disks = samples[index].disks
            if disks:
                tenant, above = self._who[index]
                for disk in disks:
                    keys.append((tenant, above, disk.device, disk.major, disk.minor))
                    rows.append(astuple(disk))
        return tuple(keys), rows

    def _snapshot_lines(self, snapshot: Snapshot) -> list[bytes]:
        machine, finals = snapshot.machine, self._finals
        nobodys = snapshot.unattributed or ()
        live: dict[Kind, int] = {}
        for sample in snapshot.samples:
            live[sample.tenant.kind] = live.get(sample.tenant.kind, 0) + 1
        meter = (("tier", snapshot.tier), ("kernel", machine.kernel), ("node", machine.node))
        hidden = 2 * len(self._tenants) + 1 - len(self._shown) - len(self._shown_ours)
        values: dict[str, list[singles.Value]] = {
            "one": [(meter, 1)],
            "at_ms": [((), round(snapshot.unix_s * 1000))],
            "tenants": _by_kind(live),
            "departed": _by_kind(finals.departed),
            "departed_cpu_ns": _by_kind(finals.departed_cpu_ns),
            "evicted": [((), finals.evicted)],
            "duplicates": [((), hidden)],
            "unattributed_bytes": [(_on(disk), disk.written_bytes) for disk in nobodys],
            "unattributed_writes": [(_on(disk), disk.writes) for disk in nobodys],
        }
        for field in snapshot.lost.__struct_fields__:
            values[f"lost.{field}"] = [((), getattr(snapshot.lost, field))]
        return [singles.lines(one, values[one.series[0].source]) for one in cotenant.SNAPSHOT]


def _above(tenant: Tenant, by_key: dict[int, Tenant]) -> Above:
    """The tenants around it, nearest first, as far as they are known."""
    found: list[Tenant] = []
    parent = None if tenant.parent is None else by_key.get(tenant.parent)
    while parent is not None and parent not in found:
        found.append(parent)
        parent = None if parent.parent is None else by_key.get(parent.parent)
    return tuple(found)


def _and(text: str, *more: tuple[str, str | None]) -> str:
    return ",".join([part for part in (text, labels.text(more)) if part])


def _network(tenant: Tenant) -> object:
    """What tenants that share a network have in common."""
    if tenant.pod:
        return (tenant.namespace, tenant.pod)
    return tenant.key if tenant.netns is None else (tenant.netns,)


def _by_kind(counts: dict[Kind, int]) -> list[singles.Value]:
    return [((("kind", kind.value),), count) for kind, count in counts.items()]


def _on(disk: Disk) -> tuple[tuple[str, str], ...]:
    return (("device", disk.device),)


def _machine_lines(machine: Machine) -> list[bytes]:
    pairs = (
        ("boot_id", machine.boot_id),
        ("machine_id", machine.machine_id),
        ("system_uuid", machine.system_uuid),
    )
    out = []
    for one in cadvisor.MACHINE:
        value = getattr(machine, one.series[0].source.removeprefix("machine."))
        out.append(singles.lines(one, [(pairs, value)]))
    return out + [singles.lines(one, [((), 0)]) for one in cadvisor.SCRAPE]
