"""Chooses how to read on this host, and proves it: kernel functions, the iterator, or files."""

from __future__ import annotations

from cotenant.errors import NoBpf
from cotenant.kernel.cgroupfs import Hierarchies
from cotenant.meter import states
from cotenant.meter.decode import decode
from cotenant.meter.files import FileReader
from cotenant.meter.host import ROOT
from cotenant.meter.programs import MEMCG, RECORD, Programs, probe
from cotenant.model import Tenant

TIERS = ("kfunc", "iterator", "files")
TRIES = 3
"""A host that is busy may look otherwise between two looks; to give up costs ten times the CPU."""


def tier_of(programs: Programs | None) -> str:
    """The tier's name: "kfunc", "iterator" or "files"."""
    if programs is None:
        return "files"
    return "kfunc" if programs.facts.object == MEMCG else "iterator"


def open_programs(
    hierarchies: Hierarchies, files: FileReader, wanted: str | None, *, counting: bool = True
) -> Programs:
    """The loaded programs of the best tier, or of the `wanted` one.

    NoBpf or KernelRefused where this host cannot. Where the places of memory.stat's values cannot
    be proven, the programs leave those values to the files.
    """
    present = _present(hierarchies, files)
    facts = probe(hierarchies, present, kfuncs=wanted != "iterator")
    programs = Programs(hierarchies, facts, counting=counting)
    if facts.places.known and not any(
        _states_agree(programs, hierarchies, files) for _ in range(TRIES)
    ):
        programs.close()
        facts = probe(hierarchies, present, kfuncs=False)._replace(places=states.NOWHERE)
        programs = Programs(hierarchies, facts, counting=counting)
    if wanted and tier_of(programs) != wanted:
        programs.close()
        raise NoBpf(f"This kernel has no {wanted} tier.", "cotenant check")
    return programs


def _present(hierarchies: Hierarchies, files: FileReader) -> frozenset[str]:
    """Names of what memory.stat shows. On v2 the root has no memory.swap.current: others do."""
    tenants = [ROOT, *(_trial(hierarchies, i, p) for i, p in enumerate(_largest(hierarchies)))]
    present = frozenset(name for tenant in tenants for name in files.states(tenant))
    files.keep(())
    return present


def _trial(hierarchies: Hierarchies, number: int, path: str) -> Tenant:
    return Tenant(-2 - number, path, ROOT.kind, path, hierarchies.ids(path))


def _states_agree(programs: Programs, hierarchies: Hierarchies, files: FileReader) -> bool:
    """Compares a first walk with memory.stat, on the root and the largest cgroups."""
    paths = ["/", *_largest(hierarchies)]
    trial = [_trial(hierarchies, i, path) for i, path in enumerate(paths)]
    slots = [programs.place(tenant.cgroups, None) for tenant in trial]
    before = [files.states(tenant) for tenant in trial]
    programs.walk()
    after = [files.states(tenant) for tenant in trial]
    read = []
    for tenant, slot in zip(trial, slots, strict=True):
        if slot is not None:
            at = slot * RECORD.size
            memory = decode(programs.table[at : at + RECORD.size]).memory
            read.append({name: getattr(memory, name, None) for name in states.FIELDS})
            programs.remove(slot, tenant.cgroups)
    files.keep(())
    return None not in slots and states.proven(before, read, after)


def _largest(hierarchies: Hierarchies) -> list[str]:
    """Paths of up to four cgroups at the top of the memory tree that hold the most memory."""
    tree = hierarchies.of("memory")
    if not tree:
        return []
    name = "memory.usage_in_bytes" if tree.version == 1 else "memory.current"
    sized = []
    for file in tree.mount.glob(f"*/{name}"):
        try:
            sized.append((int(file.read_text()), f"/{file.parent.name}"))
        except (OSError, ValueError):
            continue
    return [path for _, path in sorted(sized, reverse=True)[:4]]
