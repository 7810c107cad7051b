"""What one tick of a CPU's clock takes in the kernel, whoever samples by it.

perf, ours and OpenTelemetry's profiler all sample by perf's clock event: a timer whose one handler
does all that is done for a sample. Programs at the timers' tracepoints time that handler, for the
events of one process.
"""

from __future__ import annotations

import struct
from pathlib import Path
from types import TracebackType

from msgspec import Struct

from cotenant.errors import HostCannot
from cotenant.kernel.libbpf import Object, possible_cpus

OBJECT = Path(__file__).parents[2] / "bpf" / "bench_ticks.bpf.o"
HANDLER = "perf_swevent_hrtimer"
_TICKING = struct.Struct("=QQQ")
_WORD = struct.Struct("=I")
_ZERO = _WORD.pack(0)


class Ticked(Struct, frozen=True):
    """So many ticks, and what the kernel spent in them."""

    runs: int
    ns: int

    def since(self, before: Ticked) -> Ticked:
        """What came after `before`."""
        return Ticked(self.runs - before.runs, self.ns - before.ns)


class Ticks:
    """Times ticks of one process's events while the block runs: see `follow`.

    Raises HostCannot where the kernel does not tell where its handler is, NoBpf where it has no
    such tracepoints.
    """

    def __init__(self) -> None:
        self._object = Object(OBJECT)
        try:
            self._object.set_section(".rodata", 0, struct.pack("=Q", _handler()))
            self._object.load()
            for program in self._object.programs():
                self._object.attach(program)
        except BaseException:
            self._object.close()
            raise
        self._ticks = self._object.map("bench_ticks")
        self._sampler = self._object.map("bench_sampler")

    def follow(self, pid: int) -> None:
        """From now on ticks of the events that this process opened are meant."""
        self._sampler.put(_ZERO, _WORD.pack(pid))

    def read(self) -> Ticked:
        """All that was timed so far, of whomever it was."""
        raw = self._ticks.get(_ZERO, possible_cpus()) or b""
        cpus = list(_TICKING.iter_unpack(raw))
        return Ticked(sum(cpu[1] for cpu in cpus), sum(cpu[2] for cpu in cpus))

    def close(self) -> None:
        """Detaches the programs."""
        self._object.close()

    def __enter__(self) -> Ticks:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _handler() -> int:
    """Where the clock's handler is."""
    with open("/proc/kallsyms") as lines:
        for line in lines:
            address, _, name, *_ = line.split()
            if name == HANDLER and int(address, 16):
                return int(address, 16)
    raise HostCannot(f"The kernel does not tell where {HANDLER} is.", "run it again with sudo")
