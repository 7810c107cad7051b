"""Every error cotenant raises on purpose: a sentence for the reader and a hint to type next.

CotenantError                exit 1: something went wrong
|-- UsageError               exit 2: the words of the command or of a file are off
|   |-- ConfigError          a configuration file (names the key, the line, the nearest valid key)
|   |-- UnknownTenant        no tenant answers to that name
|   `-- BadProfile           a file that should hold a profile does not
|-- HostCannot               exit 3: this host lacks something cotenant needs
|   |-- NeedsRoot            a capability is missing
|   `-- NoBpf                the kernel refuses or lacks eBPF: the file tier takes over
|-- KernelRefused            a kernel call failed although the host can do it
|-- RuntimeSilent            a container runtime is absent, hangs or lies
|-- InUse                    a port or a socket is taken
`-- AgentSilent              no agent answers on the control socket
"""

from __future__ import annotations


class CotenantError(Exception):
    """One sentence (`str(error)`) and, where there is one, the next command to type (`hint`)."""

    exit_code = 1

    def __init__(self, sentence: str, hint: str | None = None) -> None:
        super().__init__(sentence)
        self.hint = hint


class UsageError(CotenantError):
    """The words of a command or of a file are off."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file says something cotenant does not understand."""


class UnknownTenant(UsageError):
    """No tenant answers to that name, glob, id or path."""


class BadProfile(UsageError):
    """A file that should hold a profile does not, or holds more than is read."""


class HostCannot(CotenantError):
    """This host lacks something that cotenant needs."""

    exit_code = 3


class NeedsRoot(HostCannot):
    """A capability is missing from this process."""


class NoBpf(HostCannot):
    """The kernel lacks or refuses eBPF; callers fall back to reading files."""


class KernelRefused(CotenantError):
    """A kernel call failed although the host can do it."""


class RuntimeSilent(CotenantError):
    """A container runtime is absent, hangs or answers nonsense."""


class InUse(CotenantError):
    """A port or a socket is taken by another process."""


class AgentSilent(CotenantError):
    """No agent answers on the control socket."""
