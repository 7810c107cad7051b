"""OpenTelemetry's eBPF profiler, which tells an OTLP receiver on loopback, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cotenant.bench.peers.profilers import Say, Told, binary, by_pid
from cotenant.bench.profiling.judge import Starts, is_start
from cotenant.bench.profiling.receiver import Receiver, messages
from cotenant.bench.profiling.tools import Stage, Took, watch
from cotenant.errors import BadProfile
from cotenant.export.protoread import fields, numbers

NAME = "otel"
PYTHON_FRAME = b"cpython"
_PID, _FRAME_TYPE = b"process.pid", b"profile.frame.type"

# Numbers of fields: opentelemetry/proto/profiles/v1development, proto 1.10.
_MAPPINGS, _LOCATIONS, _FUNCTIONS, _STRINGS, _ATTRIBUTES, _STACKS = 1, 2, 3, 5, 6, 7


class Otel:
    """The profiler as it comes, but for the rate, reporting each second."""

    name = NAME

    def __init__(self, say: Say) -> None:
        self._binary = binary("otel", say)

    def turn(self, stage: Stage) -> Took:
        """Samples once."""
        with Receiver() as receiver:
            words = [str(self._binary), "-collection-agent", receiver.address, "-disable-tls"]
            words += ["-samples-per-second", str(stage.hz), "-reporter-interval", "1s"]
            watched = watch([words], stage, clocked=True)
        starts = Starts([victim.pid for victim in stage.victims])
        requests = [message for body in receiver.bodies for message in messages(body)]
        told = [stack for request in requests for stack in stacks(request, starts)]
        size = sum(map(len, receiver.bodies))
        samples = sum(stack.samples for stack in told)
        return Took(watched, 0, samples, by_pid(told, stage.victims), size)


def stacks(request: bytes, starts: Starts) -> Iterator[Told]:
    """Samples of an ExportProfilesServiceRequest. Raises BadProfile."""
    parts = list(fields(request))
    dictionary = _Dictionary(b"".join(v for n, v in parts if n == 2 and isinstance(v, bytes)))
    for resource_profiles in _blocks(parts, 1):
        inside = list(fields(resource_profiles))
        pid = -1
        for resource in _blocks(inside, 1):
            pid = _attributes(resource).get(_PID, pid)
        for scope in _blocks(inside, 2):
            for profile in _blocks(fields(scope), 2):
                for sample in _blocks(fields(profile), 2):
                    yield dictionary.told(sample, pid, starts)


class _Dictionary:
    """What the samples of a request name by index."""

    def __init__(self, raw: bytes) -> None:
        self._tables: dict[int, list[bytes]] = {}
        for number, value in fields(raw):
            if isinstance(value, bytes):
                self._tables.setdefault(number, []).append(value)
        self._whole: dict[tuple[int, int], bool] = {}

    def told(self, sample: bytes, pid: int, starts: Starts) -> Told:
        """A sample counts as often as it has times, or else values."""
        stack, times, values = 0, 0, 0
        for number, value in fields(sample):
            if number == 1 and isinstance(value, int):
                stack = value
            elif number == 4:
                values += sum(numbers(value))
            elif number == 5 and isinstance(value, bytes):
                times += len(value) // 8
        locations = self._locations(stack)
        python = any(self._kind(location) == PYTHON_FRAME for location in locations)
        whole = bool(locations) and self._is_start(locations[-1], pid, starts)
        return Told(pid, times or values or 1, whole, python)

    def _entry(self, table: int, index: int) -> dict[int, list[int | bytes]]:
        rows = self._tables.get(table, [])
        if not 0 <= index < len(rows):
            raise BadProfile("A profile names what is not in its tables.")
        entry: dict[int, list[int | bytes]] = {}
        for number, value in fields(rows[index]):
            entry.setdefault(number, []).append(value)
        return entry

    def _locations(self, stack: int) -> list[int]:
        found = self._entry(_STACKS, stack).get(1, [])
        return [index for value in found for index in numbers(value)]

    def _kind(self, location: int) -> bytes:
        for value in self._entry(_LOCATIONS, location).get(4, []):
            for index in numbers(value):
                attribute = self._entry(_ATTRIBUTES, index)
                if self._string(_first(attribute, 1)) == _FRAME_TYPE:
                    (text,) = attribute.get(2, [b""])[:1]
                    inside = dict(fields(text)) if isinstance(text, bytes) else {}
                    found = inside.get(1, b"")
                    return found if isinstance(found, bytes) else b""
        return b""

    def _string(self, index: int) -> bytes:
        strings = self._tables.get(_STRINGS, [])
        return strings[index] if 0 <= index < len(strings) else b""

    def _is_start(self, location: int, pid: int, starts: Starts) -> bool:
        known = self._whole.get((location, pid))
        if known is None:
            known = self._whole[location, pid] = self._look(location, pid, starts)
        return known

    def _look(self, location: int, pid: int, starts: Starts) -> bool:
        entry = self._entry(_LOCATIONS, location)
        for line in entry.get(3, []):
            function = dict(fields(line)).get(1, 0) if isinstance(line, bytes) else 0
            if isinstance(function, int) and function:
                name = self._string(_first(self._entry(_FUNCTIONS, function), 1))
                return is_start(name.decode(errors="replace"))
        mapping = self._entry(_MAPPINGS, _first(entry, 1))
        file = self._string(_first(mapping, 4)).decode(errors="replace")
        return starts.of_mapped(pid, file, _first(entry, 2))


def _first(entry: Mapping[int, Sequence[int | bytes]], number: int) -> int:
    value = next(iter(entry.get(number, ())), 0)
    return value if isinstance(value, int) else 0


def _blocks(parts: Iterator[tuple[int, int | bytes]] | list[tuple[int, int | bytes]],
            number: int) -> Iterator[bytes]:  # fmt: skip
    return (value for field, value in parts if field == number and isinstance(value, bytes))


def _attributes(resource: bytes) -> dict[bytes, int]:
    """Those of a resource that are numbers (KeyValue: key 1, AnyValue 2, its int_value 3)."""
    found = {}
    for pair in _blocks(fields(resource), 1):
        parts = dict(fields(pair))
        key, value = parts.get(1), parts.get(2)
        if isinstance(key, bytes) and isinstance(value, bytes):
            number = dict(fields(value)).get(3)
            if isinstance(number, int):
                found[key] = number
    return found
