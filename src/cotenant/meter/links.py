"""The network interfaces of each tenant, counted from the host's side.

A container's `eth0` is one end of a veth pair whose other end is here: one dump of this
namespace's counters serves all tenants, with received and sent swapped. Asking each namespace costs
10 to 500 times as much and is done only for those without a pair here (macvlan, moved devices).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cotenant.errors import KernelRefused
from cotenant.kernel.netlink import Counters, Link, Netlink
from cotenant.model import Interface, Tenant

_NOT_THE_HOSTS = ("veth", "bridge", "dummy", "ifb", "tun")


class _End(NamedTuple):
    """The host's end of a tenant's interface."""

    number: int
    name: str


class Links:
    """Interfaces per tenant; `missed` counts namespaces that could not be looked into."""

    def __init__(self, netlink: Netlink | None = None) -> None:
        self._netlink = netlink or Netlink()
        self._ends: dict[int, tuple[_End, ...]] = {}
        self._elsewhere: dict[int, int] = {}
        self._hosts: tuple[_End, ...] = ()
        self._known: tuple[frozenset[int], frozenset[tuple[int, int]]] = (frozenset(), frozenset())
        self.missed = 0

    def read(
        self, tenants: Sequence[Tenant]
    ) -> tuple[dict[int, tuple[Interface, ...]], tuple[Interface, ...]]:
        """Interfaces by tenant key, and the host's own; in the host's namespace: none.

        Where netlink does not answer, nobody has any: counted in `missed`.
        """
        try:
            return self._read(tenants)
        except (KernelRefused, OSError):
            self.missed += 1
            return {}, ()

    def _read(
        self, tenants: Sequence[Tenant]
    ) -> tuple[dict[int, tuple[Interface, ...]], tuple[Interface, ...]]:
        counters = self._netlink.counters()
        apart = [t for t in tenants if t.netns is not None and t.main_pid is not None]
        known = (frozenset(counters), frozenset((t.key, t.netns or 0) for t in apart))
        if known != self._known:
            self._learn(apart)
            self._known = known
        found = {
            key: tuple(
                mirrored(end.name, counters[end.number]) for end in ends if end.number in counters
            )
            for key, ends in self._ends.items()
        }
        for key, nsid in self._elsewhere.items():
            found[key] = self._ask(nsid)
        host = tuple(own(e.name, counters[e.number]) for e in self._hosts if e.number in counters)
        return found, host

    def close(self) -> None:
        """Closes the socket."""
        self._netlink.close()

    def _learn(self, tenants: Sequence[Tenant]) -> None:
        """Which interface here belongs to whom: asked again when interfaces or tenants change."""
        links = self._netlink.links()
        self._hosts = tuple(_End(x.number, x.name) for x in links if is_hosts(x))
        self._ends.clear()
        self._elsewhere.clear()
        names: dict[int, dict[int, str] | None] = {}
        for tenant in tenants:
            try:
                nsid = self._netlink.nsid_of(tenant.main_pid or 0)
            except (KernelRefused, OSError):
                self.missed += 1
                continue
            if nsid is None:  # no end of it is here: only the cgroup's own count can tell
                continue
            if nsid not in names:
                names[nsid] = self._names(nsid)
            inside = names[nsid]
            ends = [
                _End(x.number, (inside or {}).get(x.peer_index or 0, x.name))
                for x in links
                if x.kind == "veth" and x.peer_nsid == nsid
            ]
            if ends or (inside is not None and set(inside.values()) <= {"lo"}):
                self._ends[tenant.key] = tuple(ends)
            elif inside is not None:
                self._elsewhere[tenant.key] = nsid

    def _names(self, nsid: int) -> dict[int, str] | None:
        """Names by index in that namespace; None where it may not be looked into."""
        try:
            return {x.number: x.name for x in self._netlink.links(nsid)}
        except (KernelRefused, OSError):
            self.missed += 1
            return None

    def _ask(self, nsid: int) -> tuple[Interface, ...]:
        try:
            links = self._netlink.links(nsid)
        except (KernelRefused, OSError):
            self.missed += 1
            return ()
        return tuple(own(x.name, x.counters) for x in links if x.counters and x.name != "lo")


def open_links() -> Links | None:
    """Links of this host; None where no netlink socket is to be had."""
    try:
        return Links()
    except OSError:
        return None


def is_hosts(link: Link) -> bool:
    """True for the interfaces a host talks to the world with, as cAdvisor counts them for "/"."""
    return link.name != "lo" and link.kind not in _NOT_THE_HOSTS


def own(name: str, counters: Counters) -> Interface:
    """The interface as its own side counts."""
    rx_packets, tx_packets, rx, tx, rx_errors, tx_errors, rx_dropped, tx_dropped = counters
    return Interface(
        name, rx, rx_packets, rx_errors, rx_dropped, tx, tx_packets, tx_errors, tx_dropped
    )


def mirrored(name: str, counters: Counters) -> Interface:
    """The interface at the other end: what was sent here is received there."""
    rx_packets, tx_packets, rx, tx, rx_errors, tx_errors, rx_dropped, tx_dropped = counters
    return Interface(
        name, tx, tx_packets, tx_errors, tx_dropped, rx, rx_packets, rx_errors, rx_dropped
    )
