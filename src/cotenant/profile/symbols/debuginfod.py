"""Debug files from a debuginfod server, asked for by build id; only where a user names a server.

`GET <server>/buildid/<hex>/debuginfo` (debuginfod(8)). A server takes its time, and whoever names
stacks must not wait for it: a thread of its own asks for one file after the other. What comes lies
in a file without a name, not in memory.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Condition, Thread

from cotenant.profile.binary import Binary

SIZE_LIMIT = 512 << 20
TIMEOUT_S = 20.0
SILENT_S = 60.0
"""A server that did not answer is left alone for so long."""
MOST_WAITING = 1 << 10
"""Files asked for and not here yet; beyond that nobody asks. Tenants bring build ids at will."""
MOST_HERE = 2
"""Files that came and were not read yet; the next is asked for when one was."""
_MOST_ASKED = 1 << 14
_PART = 1 << 20
_BUILD_ID = re.compile(r"[0-9a-f]{2,128}")


class Server:
    """One server: `ask` for a file, some time later it is among those that `come`.

    `note` is a sentence on what it did not answer; empty: nothing of that kind. Files lie in
    `folder` (None: where temporary files do).
    """

    def __init__(self, address: str, folder: Path | None = None) -> None:
        self.address = address.rstrip("/")
        self.note = ""
        self._folder = folder
        self._asked: dict[str, None] = {}
        self._wanted: deque[str] = deque()
        self._here: deque[tuple[str, Binary]] = deque()
        self._silent_until = 0.0
        self._is_over = False
        self._changed = Condition()
        self._thread: Thread | None = None

    def ask(self, build_id: str) -> None:
        """Wants the debug file of that build, once; a server that is silent is not asked."""
        with self._changed:
            if build_id in self._asked or not _BUILD_ID.fullmatch(build_id):
                return
            if len(self._wanted) >= MOST_WAITING or time.monotonic() < self._silent_until:
                return
            if len(self._asked) >= _MOST_ASKED:
                self._asked.clear()
            self._asked[build_id] = None
            self._wanted.append(build_id)
            self._changed.notify_all()
            if self._thread is None:
                self._thread = Thread(target=self._work, name="debuginfod", daemon=True)
                self._thread.start()

    @property
    def waiting(self) -> int:
        """Files that were asked for, and that `come` has not told yet."""
        with self._changed:
            return len(self._wanted) + len(self._here)

    def come(self) -> Iterator[tuple[str, Binary]]:
        """Build id and file of those that came since; each is gone when the next is told."""
        while True:
            with self._changed:
                if not self._here:
                    return
                build_id, file = self._here.popleft()
                self._changed.notify_all()
            with closing(file):
                yield build_id, file

    def close(self) -> None:
        """Asks no more. Whom it asks just now, it does not wait for: the process may end first."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
            for _, file in self._here:
                file.close()
            self._here.clear()

    # --- in the thread

    def _work(self) -> None:
        while (build_id := self._next()) is not None:
            try:
                self._answered(build_id, fetch(self.address, build_id, self._folder))
            except OSError as error:
                self._unanswered(error)

    def _next(self) -> str | None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_over or (self._wanted and len(self._here) < MOST_HERE)
            )
            return None if self._is_over else self._wanted[0]

    def _answered(self, build_id: str, file: Binary | None) -> None:
        with self._changed:
            self._wanted.popleft()
            if file is None:
                return
            if self._is_over:
                file.close()
            else:
                self._here.append((build_id, file))

    def _unanswered(self, error: OSError) -> None:
        """Whoever waits, waits no longer; those files may be asked for again, later."""
        with self._changed:
            for build_id in self._wanted:
                self._asked.pop(build_id, None)
            self._wanted.clear()
            self._silent_until = time.monotonic() + SILENT_S
            why = error.strerror or type(error).__name__
            self.note = f"The debuginfod server at {self.address} gave no answer ({why})."


def fetch(
    server: str, build_id: str, folder: Path | None = None, timeout_s: float = TIMEOUT_S
) -> Binary | None:
    """The debug file of that build id; None: the server has none, or it is too large.

    OSError where the server gives no answer in `timeout_s`, or one that is none. The file lies in
    `folder` and is gone when it is closed.
    """
    # Not above: TLS takes megabytes, and hardly anybody asks a server.
    import urllib.request
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError

    until = time.monotonic() + timeout_s
    try:
        with (
            urllib.request.urlopen(
                f"{server}/buildid/{build_id}/debuginfo", timeout=timeout_s
            ) as answer,
            tempfile.TemporaryFile(dir=folder) as file,
        ):
            # read1 comes back with what is there, so a server that trickles meets the deadline.
            while part := answer.read1(_PART):
                file.write(part)
                if file.tell() > SIZE_LIMIT:
                    return None
                if time.monotonic() > until:
                    raise TimeoutError(0, f"not whole after {timeout_s:g} s")
            file.flush()
            return Binary(os.dup(file.fileno()))
    except HTTPError as error:
        if error.code == 404:
            return None
        raise OSError(0, f"HTTP status {error.code}") from None
    except URLError as error:
        reason = error.reason
        raise (reason if isinstance(reason, OSError) else OSError(0, str(reason))) from None
    except (HTTPException, ValueError) as error:
        raise OSError(0, type(error).__name__) from None
