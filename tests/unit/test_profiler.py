"""What the profiler refuses before it loads anything."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cotenant.agent.profiler import Profiler, Wanted
from cotenant.errors import UsageError
from cotenant.model import Kind, ProfileType, Tenant

ELSEWHERE = Tenant(key=1, name="session", kind=Kind.CGROUP, path="/session", cgroups={4: 7})
"""It has a cgroup, as v1 allows, in the memory tree alone."""
HIERARCHIES: Any = SimpleNamespace(of=lambda _: SimpleNamespace(number=2, version=1), layout="v1")


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (Wanted(tenants=(ELSEWHERE,)), "'session' has no cgroup in the hierarchy"),
        (Wanted((ProfileType.ALLOC,)), "slows down whoever is watched"),
    ],
)
def test_what_could_only_give_an_empty_profile_is_refused(wanted: Wanted, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Profiler(HIERARCHIES, wanted, lambda: [])
