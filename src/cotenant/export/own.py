"""What the agent itself costs: `cotenant_agent_*` and `cotenant_bpf_*`."""

from __future__ import annotations

from msgspec import Struct

from cotenant.export.family import Family, Form, family
from cotenant.export.singles import Value, lines


class BpfCost(Struct, frozen=True):
    """One BPF program: how often it ran, and how long the runs took that it timed itself."""

    program: str
    runs: int
    timed_runs: int
    timed_ns: int


class OwnCost(Struct, frozen=True):
    """The agent's own cost since it started. A value that is None was not measured: no line."""

    cpu_ns: int | None = None
    resident_bytes: int | None = None
    collections: int | None = None
    collect_ns: int | None = None
    scrapes: int | None = None
    renders: int | None = None
    render_ns: int | None = None
    config_problem: int | None = None
    bpf: tuple[BpfCost, ...] = ()


AGENT = (
    family("cotenant_agent_cpu_seconds_total", "cpu_ns", form=Form.NANOSECONDS,
           help="CPU time the agent used, user and system"),
    family("cotenant_agent_resident_bytes", "resident_bytes", help="Memory the agent holds"),
    family("cotenant_agent_collections_total", "collections", help="Collections made"),
    family("cotenant_agent_collect_seconds_total", "collect_ns", form=Form.NANOSECONDS,
           help="Time spent in collections"),
    family("cotenant_agent_scrapes_total", "scrapes", help="Requests answered for this page"),
    family("cotenant_agent_renders_total", "renders",
           help="Times this page was rendered, once per sample however many scrape"),
    family("cotenant_agent_render_seconds_total", "render_ns", form=Form.NANOSECONDS,
           help="CPU time spent rendering this page"),
    family("cotenant_agent_config_problem", "config_problem",
           help="1 where the configuration file is wrong now and the one before stays in force"),
)  # fmt: skip
"""One row each."""

BPF = (
    family("cotenant_bpf_runs_total", "runs", labels=("program",),
           help="Runs of the BPF program, all of them"),
    family("cotenant_bpf_timed_runs_total", "timed_runs", labels=("program",),
           help="Runs that timed themselves, about 1 of 1024"),
    family("cotenant_bpf_timed_seconds_total", "timed_ns", labels=("program",),
           form=Form.NANOSECONDS,
           help="Time the timed runs took: times runs over timed runs it is the whole cost"),
)  # fmt: skip
"""A row for each BPF program."""


def render(own: OwnCost) -> bytes:
    """Exposition lines of the agent's own cost, each with the newline before it."""
    parts = [lines(one, [((), getattr(own, one.series[0].source))]) for one in AGENT]
    parts += [lines(one, _programs(own, one)) for one in BPF]
    return b"".join(parts)


def _programs(own: OwnCost, one: Family) -> list[Value]:
    return [((("program", cost.program),), getattr(cost, one.series[0].source)) for cost in own.bpf]
