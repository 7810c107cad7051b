"""Tenants as Docker containers, known by a label, so that they are found again without a list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cotenant.demo.engine import Engine, Found
from cotenant.demo.image import busybox, image_tar
from cotenant.demo.loads import Load

AT_ONCE = 4
"""Containers made side by side: more makes none faster (337 a minute on 2 cores)."""

Progress = Callable[[int, int], None]
"""Told after each step: how many are done, of how many."""

_PERIOD_US = 100_000


class Containers:
    """Containers with the label `key=value`, from the image `key=value` names.

    Raises RuntimeSilent from every method when Docker does not answer or refuses.
    """

    by = "docker"

    def __init__(self, engine: Engine, key: str = "cotenant.demo", value: str = "1") -> None:
        self._engine = engine
        self._key, self._value = key, value
        self._image = f"{key.replace('.', '-')}-{value}"

    def prepare(self) -> None:
        """Make the image, and room: those that ended (the host was restarted) go.

        Raises HostCannot where there is no static busybox.
        """
        for each in self._found():
            if not each.running:
                self._engine.remove(each.id)
        self._engine.import_image(self._image, image_tar(busybox()))

    def start(self, loads: Sequence[Load], progress: Progress) -> list[str]:
        """Start them, 4 at a time, the pair's server before its client; their container ids."""
        done = 0
        ids: list[str] = []
        first = [load for load in loads if load.side != "client"]
        for wave in (first, [load for load in loads if load.side == "client"]):
            server = self._server() if wave is not first and wave else ""
            with ThreadPoolExecutor(AT_ONCE) as pool:
                running = [pool.submit(self._run, load, server) for load in wave]
                try:
                    for each in running:
                        ids.append(each.result())
                        done += 1
                        progress(done, len(loads))
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
        return ids

    def running(self) -> list[str]:
        """Names of those that run."""
        return sorted(each.name for each in self._found() if each.running)

    def remove(self, progress: Progress) -> list[str]:
        """Remove all of them, and the image; the names of those that were there."""
        found = self._found()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            ids = [each.id for each in found]
            for done, _ in enumerate(pool.map(self._engine.remove, ids), 1):
                progress(done, len(found))
        self._engine.remove_image(self._image)
        return sorted(each.name for each in found)

    def _found(self) -> list[Found]:
        return [each for each in self._engine.labelled(self._key) if each.value == self._value]

    def _run(self, load: Load, server: str) -> str:
        container = self._engine.create(load.name, self._settings(load, server))
        self._engine.start(container)
        return container

    def _settings(self, load: Load, server: str) -> dict[str, Any]:
        host: dict[str, Any] = {"NetworkMode": "bridge" if load.side else "none"}
        if load.cpu_cores is not None:
            host |= {"CpuPeriod": _PERIOD_US, "CpuQuota": int(load.cpu_cores * _PERIOD_US)}
        if load.memory_bytes is not None:
            host["Memory"] = load.memory_bytes
        if load.cpu is not None:
            host["CpusetCpus"] = str(load.cpu)
        return {
            "Image": self._image,
            "Cmd": ["/bin/sh", "-c", load.shell.replace("{server}", server)],
            "Labels": {self._key: self._value},
            "HostConfig": host,
        }

    def _server(self) -> str:
        """Address of the pair's server on Docker's own bridge."""
        told = self._engine.inspect("demo-server")
        return str(told["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])
