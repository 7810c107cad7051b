"""TENANT on the command line: a name, a glob, the start of an id, a cgroup id or path, `pid:N`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

from cotenant.errors import UnknownTenant
from cotenant.model import Tenant

_GLOB = frozenset("*?[")
_HEX = frozenset("0123456789abcdef")


def find(
    word: str,
    tenants: Sequence[Tenant],
    cgroup_of: Callable[[int], str | None] = lambda pid: None,
    mounts: Iterable[Path] = (),
) -> list[Tenant]:
    """Tenants that `word` means, in the order they are given; raises UnknownTenant for none.

    Tried in turn, the first that hits wins: `pid:N` (the innermost tenant around that process,
    `cgroup_of` tells its path), a path ("/a/b", or with one of `mounts` in front), the exact name,
    a container id of which `word` is at least the first 4 digits, a cgroup id in any hierarchy, a
    glob over names.
    """
    if word.startswith("pid:"):
        return _of_pid(word, tenants, cgroup_of)
    tests: list[Callable[[Tenant], bool]] = [lambda tenant: tenant.name == word]
    if word.startswith("/"):
        path = "/" + _below(word, mounts).strip("/")
        tests.insert(0, lambda tenant: tenant.path == path)
    if len(word) >= 4 and _HEX.issuperset(word):
        tests.append(lambda tenant: tenant.id is not None and tenant.id.startswith(word))
    if word.isascii() and word.isdigit() and len(word) < 21:
        number = int(word)
        tests.append(lambda tenant: number in tenant.cgroups.values())
    if _GLOB.intersection(word):
        tests.append(lambda tenant: fnmatchcase(tenant.name, word))
    for test in tests:
        found = [tenant for tenant in tenants if test(tenant)]
        if found:
            return found
    raise UnknownTenant(f"No tenant is called {word!r}.", _nearest(word, tenants))


def _below(word: str, mounts: Iterable[Path]) -> str:
    """The path without the mount of a cgroup tree in front, as `ls` and `systemd-cgls` print it."""
    fronts = [f"{mount}/" for mount in mounts if word.startswith(f"{mount}/")]
    return word[len(max(fronts, key=len, default="")) :]


def innermost(path: str, tenants: Sequence[Tenant]) -> Tenant | None:
    """The tenant that the cgroup `path` belongs to; None when it is the host's own."""
    around = [t for t in tenants if path == t.path or path.startswith(t.path + "/")]
    return max(around, key=lambda tenant: len(tenant.path), default=None)


def _of_pid(
    word: str, tenants: Sequence[Tenant], cgroup_of: Callable[[int], str | None]
) -> list[Tenant]:
    digits = word[4:]
    if not (digits.isascii() and digits.isdigit() and 0 < len(digits) < 10):
        raise UnknownTenant(f"{word!r} names no process.", "pid:N takes a number, as in pid:4711.")
    path = cgroup_of(int(digits))
    if path is None:
        raise UnknownTenant(f"There is no process {digits}.", "ps -e lists those there are.")
    tenant = innermost(path, tenants)
    if tenant is None:
        raise UnknownTenant(
            f"Process {digits} belongs to no tenant: its cgroup {path} is the host's own.",
            f"--pid {digits} --as NAME makes its cgroup a tenant, unless it is the root.",
        )
    return [tenant]


def _nearest(word: str, tenants: Sequence[Tenant]) -> str:
    names = [tenant.name for tenant in tenants]
    inside = [name for name in names if len(word) > 2 and word in name]
    near = get_close_matches(word, names, n=3, cutoff=0.5) or inside[:3]
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return "`cotenant top --once` lists all there are."
