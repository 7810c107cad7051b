"""The run-queue latency tools that `cotenant bench noise` stands beside, each as a command to run.

bcc.py            `runqlat` of bcc's libbpf-tools, as Debian builds it
ebpf_exporter.py  the real exporter, built from its Go module, with the configuration beside it
bpftrace.py       runqlat as a script for the bpftrace that is installed

All three keep one histogram of the whole host, in powers of two; cotenant keeps one per tenant.
`COMMANDS[name](say)` gives the words to run, once all is in place: it builds or fetches what is
missing (`say` gets one sentence before that) and raises CotenantError where that cannot be.
"""

from __future__ import annotations

from collections.abc import Callable

from peers.runqlat import bcc, bpftrace, ebpf_exporter

Say = Callable[[str], None]

COMMANDS: dict[str, Callable[[Say], list[str]]] = {
    "bcc": bcc.command,
    "ebpf_exporter": ebpf_exporter.command,
    "bpftrace": bpftrace.command,
}

__all__ = ["COMMANDS"]
