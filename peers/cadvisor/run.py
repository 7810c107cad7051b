"""Run cAdvisor as a child process and read what it answers and what it costs."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import select
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from cotenant.errors import CotenantError

START_SECONDS = 60
ANSWER_SECONDS = 30

# The kernel's word for "all that this process ran", in the lowest bits of a clock id made from a
# pid. clock_getcpuclockid(3) makes the same number; Python offers it for threads only.
_CPU_CLOCK_OF_PROCESS = 2

# A sample carries the time of the housekeeping it comes from, in milliseconds.
_SAMPLE = re.compile(
    rb'^container_memory_usage_bytes\{[^\n]*?name="([^"\n]+)"\} \S+ (\d+)$', re.MULTILINE
)
_MALLOCS = re.compile(rb"^go_memstats_mallocs_total (\S+)$", re.MULTILINE)
_ALLOCATED = re.compile(rb"^go_memstats_alloc_bytes_total (\S+)$", re.MULTILINE)


class CadvisorSilent(CotenantError):
    """cAdvisor ended, does not answer, or does not see the containers it should."""


@dataclass(frozen=True)
class ScrapeCost:
    """One GET of /metrics, uncompressed, over a kept-open connection."""

    wall_ns: int  # request sent to last byte read
    bytes: int  # of the body
    series: int  # lines that are no comments


@dataclass(frozen=True)
class Allocations:
    """What cAdvisor's Go runtime has allocated since it started; freed memory counts too."""

    count: int
    bytes: int


@dataclass(frozen=True)
class Cost:
    """cAdvisor at one scrape a second: `_per_scrape` shares out everything it did meanwhile."""

    scrapes: int
    containers: int  # named containers in the last answer
    cpu_ns_per_scrape: int  # user + system, the housekeeping between two scrapes included
    wall_ns: int  # median of one scrape
    rss_bytes: int  # at the end
    answer_bytes: int  # median
    series: int  # median
    mallocs_per_scrape: int
    malloc_bytes_per_scrape: int
    oldest_sample_ms: int  # age of the stalest container's sample at the end


def flags(*, limited: bool, dynamic: bool = False) -> list[str]:
    """cAdvisor's command line; what is not named here is as cAdvisor comes.

    limited   ebpf-mon's cAdvisor measured memory only, for Docker containers only (and the root,
              which --docker_only cannot leave out). Its own fork also cut the JSON answer down to
              memory; here the metric set does that. Its answer held no container labels.
    1 s       is 1 to 2 s, 1.5 on average: cAdvisor adds a random delay to each interval. Left so;
              without it (--jitter_factor=0) 200 containers cost up to a third more.
    dynamic   as it comes, cAdvisor looks at a container that does not change ever less often, down
              to once a minute: cheaper, and its answers are then up to a minute old. Off unless
              asked for, as the product's own samples are a second old at most.
    """
    words = ["--housekeeping_interval=1s", f"--allow_dynamic_housekeeping={str(dynamic).lower()}"]
    if limited:
        words += ["--enable_metrics=memory", "--docker_only", "--store_container_labels=false"]
    return words


class Cadvisor:
    """A running cAdvisor: started on `with`, ended by its pid when the block is left.

    port        on the loopback; 0 = a free one
    containers  entering waits until this many named containers are in /metrics
    dynamic     see `flags`

    It ends by itself when this process does, however that ends, since its standard input closes.
    """

    pid: int
    port: int

    def __init__(
        self,
        binary: Path,
        *,
        limited: bool,
        port: int = 0,
        containers: int = 0,
        dynamic: bool = False,
    ) -> None:
        self.port = port
        self._command = [str(binary), f"--listen=127.0.0.1:{port}", "--stop_with_stdin"]
        self._command += flags(limited=limited, dynamic=dynamic)
        self._containers = containers
        self._answer = b""

    def __enter__(self) -> Self:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # closed in _end
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log
        )
        self.pid = self._process.pid
        try:
            self.port = self._listening_port()
            self._connection = http.client.HTTPConnection(
                "127.0.0.1", self.port, timeout=ANSWER_SECONDS
            )
            if self._get("/healthz") != b"ok":
                raise self._silent("does not call itself healthy")
            self._wait_for_containers()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()
        self._end()

    def scrape(self) -> ScrapeCost:
        """GET /metrics once. Counting the series is not in the time."""
        start = time.perf_counter_ns()
        self._answer = self._get("/metrics")
        wall_ns = time.perf_counter_ns() - start
        lines = self._answer.count(b"\n")
        comments = self._answer.count(b"\n#") + self._answer.startswith(b"#")
        return ScrapeCost(wall_ns, len(self._answer), lines - comments)

    def answer(self) -> bytes:
        """The text of the last scrape."""
        return self._answer

    def cpu_ns(self) -> int:
        """User + system time of all its threads so far, in nanoseconds.

        Read from the process's CPU clock: the scheduler's own sum, the slice that is running and
        threads that have ended included. /proc/PID/stat is the same sum rounded down to 10 ms;
        schedstat forgets threads that ended.
        """
        return time.clock_gettime_ns((~self.pid << 3) | _CPU_CLOCK_OF_PROCESS)

    def rss_bytes(self) -> int:
        """Resident memory now, mapped files included."""
        resident = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(resident) * os.sysconf("SC_PAGE_SIZE")

    def allocations(self) -> Allocations:
        """Allocations up to the last scrape, as the answer itself tells: asks nothing anew."""
        count, size = _MALLOCS.search(self._answer), _ALLOCATED.search(self._answer)
        if count is None or size is None:
            raise self._silent("says nothing of its allocations")
        return Allocations(int(float(count[1])), int(float(size[1])))

    def samples(self) -> dict[str, int]:
        """Each named container of the last scrape: when it was looked at, in ms since the epoch."""
        found = _SAMPLE.findall(self._answer)
        return {name.decode(errors="replace"): int(at_ms) for name, at_ms in found}

    def _get(self, path: str) -> bytes:
        try:
            self._connection.request("GET", path)
            response = self._connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._silent(f"does not answer GET {path} ({error})") from error
        if response.status != http.HTTPStatus.OK:
            raise self._silent(f"answers GET {path} with {response.status}")
        return body

    def _listening_port(self) -> int:
        """The port it says it listens on, once it has found the containers that run already."""
        pipe = self._process.stdout
        assert pipe is not None
        ready, _, _ = select.select([pipe], [], [], START_SECONDS)
        said = pipe.readline().decode().strip() if ready else ""
        if not said:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=1)  # its last words come before its end
            raise self._silent("does not come up")
        return int(said.rpartition(":")[2])

    def _wait_for_containers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            self.scrape()
            seen = len(self.samples())
            if seen >= self._containers:
                return
            if time.monotonic() > deadline:
                raise self._silent(f"sees {seen} of {self._containers} containers")
            time.sleep(0.5)

    def _silent(self, does: str) -> CadvisorSilent:
        """`does` in a sentence, with cAdvisor's last words where it has ended."""
        self._log.seek(0)
        logged = self._log.read().decode(errors="replace").splitlines()
        died = self._process.poll() is not None and bool(logged)
        sentence = f"cAdvisor {does}" + (f": {logged[-1]}" if died else ".")
        hint = None if died else "It needs root, and Docker's socket for Docker's names."
        return CadvisorSilent(sentence, hint)

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                pipe.close()


def measure(cadvisor: Cadvisor, seconds: int) -> Cost:
    """Scrape once a second for `seconds` seconds, at fixed ticks, and share out what it cost."""
    cadvisor.scrape()
    allocated, cpu_ns = cadvisor.allocations(), cadvisor.cpu_ns()
    start = time.monotonic()
    scrapes = []
    for tick in range(1, seconds + 1):
        time.sleep(max(0.0, start + tick - time.monotonic()))
        scrapes.append(cadvisor.scrape())
    cpu_ns = cadvisor.cpu_ns() - cpu_ns
    now, count = cadvisor.allocations(), len(scrapes)
    ages_ms = [time.time_ns() // 1_000_000 - at_ms for at_ms in cadvisor.samples().values()]
    return Cost(
        scrapes=count,
        containers=len(ages_ms),
        cpu_ns_per_scrape=cpu_ns // count,
        wall_ns=int(statistics.median(scrape.wall_ns for scrape in scrapes)),
        rss_bytes=cadvisor.rss_bytes(),
        answer_bytes=int(statistics.median(scrape.bytes for scrape in scrapes)),
        series=int(statistics.median(scrape.series for scrape in scrapes)),
        mallocs_per_scrape=(now.count - allocated.count) // count,
        malloc_bytes_per_scrape=(now.bytes - allocated.bytes) // count,
        oldest_sample_ms=max(ages_ms, default=0),
    )
