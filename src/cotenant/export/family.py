"""What a metric family is: one entry of the table behind the exposition and the docs."""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import Any, Literal, get_type_hints

from msgspec import Meta, Struct

from cotenant import model

PARTS: dict[str, type[Struct]] = {
    "cpu": model.Cpu,
    "throttle": model.Throttle,
    "memory": model.Memory,
    "pids": model.Pids,
    "pressure": model.Pressure,
    "traffic": model.Traffic,
    "interface": model.Interface,
    "disk": model.Disk,
    "sample": model.Sample,
    "tenant": model.Tenant,
    "lost": model.Lost,
    "machine": model.Machine,
    "waited": model.Waited,
    "noise_lost": model.NoiseLost,
}
"""The records a value may come from, by the word used for them in `Series.source`."""


class Form(Enum):
    """How an integer of the model is written: as it is, or as seconds with nothing rounded."""

    PLAIN = 0
    MILLISECONDS = 3
    MICROSECONDS = 6
    NANOSECONDS = 9


class Series(Struct, frozen=True):
    """One line per row: where its value comes from, and the labels that tell it apart."""

    source: str
    form: Form = Form.PLAIN
    labels: tuple[tuple[str, str], ...] = ()


class Family(Struct, frozen=True):
    """One metric family. `labels` are those beyond the ones that its rows have anyway."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    unit: str
    series: tuple[Series, ...]
    labels: tuple[str, ...] = ()
    cadvisor: bool = False

    def header(self) -> bytes:
        """The HELP and TYPE lines, each with the newline before it."""
        text = self.help.replace("\\", r"\\").replace("\n", r"\n")
        return f"\n# HELP {self.name} {text}\n# TYPE {self.name} {self.type}".encode()


def family(
    name: str,
    source: str,
    *,
    form: Form | None = None,
    help: str | None = None,
    labels: tuple[str, ...] = (),
    series: tuple[Series, ...] | None = None,
    type: Literal["counter", "gauge", "histogram"] | None = None,
) -> Family:
    """A family with what the model and the naming conventions already say filled in.

    Type, unless told: `_total` and cAdvisor's `failcnt` are counters, all else gauges. Help: the
    description of the model's field. Form: from the field's unit.
    """
    description, unit = described(source)
    found = form if form is not None else _FORMS.get(unit, Form.PLAIN)
    return Family(
        name=name,
        type=type or ("counter" if name.endswith(("_total", "_failcnt")) else "gauge"),
        help=(help or description) + ".",
        unit="seconds" if found is not Form.PLAIN else unit or _unit_of(name),
        series=series or (Series(source, found),),
        labels=labels,
        cadvisor=name.startswith(("container_", "machine_")),
    )


def _unit_of(name: str) -> str:
    return "bytes" if name.endswith(("_bytes", "_bytes_total")) else ""


_FORMS = {"ns": Form.NANOSECONDS, "us": Form.MICROSECONDS}


def described(source: str) -> tuple[str, str]:
    """Description and unit of a model field, `memory.rss`; of a word without a dot: empty."""
    part, _, field = source.partition(".")
    if not field or field not in _metas(part):
        return "", ""
    meta = _metas(part)[field]
    return meta.description or "", str((meta.extra or {}).get("unit", ""))


@cache
def _metas(part: str) -> dict[str, Meta]:
    hints: dict[str, Any] = get_type_hints(PARTS[part], include_extras=True)
    return {
        field: hint.__metadata__[0]
        for field, hint in hints.items()
        if hasattr(hint, "__metadata__")
    }
