"""Writes golden.prom anew: `python -m tests.unit.export.golden`, then read the difference."""

from __future__ import annotations

from pathlib import Path

from tests.unit.export.synthetic import sample, snapshot, tenant
from tests.unit.export.test_prometheus import COST

from cotenant.export.prometheus import Page

if __name__ == "__main__":
    page = Page().render(snapshot(sample(tenant(1)), sample(tenant(2, "b"), 500)), COST)
    Path(__file__).with_name("golden.prom").write_bytes(page)
