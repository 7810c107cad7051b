"""Log lines on stderr: plain or JSON, the same one at most once a minute, the rest counted."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable

ALWAYS = {"always": True}
"""`extra` of a line that is never held back."""
PAUSE_S = 60.0
_CONTROL = {number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160))}
_DIGITS = re.compile(r"\d+")
MOST_KINDS = 512
"""Kinds of line that are kept in mind; past that all are forgotten, and counted out first."""


class Limit(logging.Filter):
    """Lets a line of one kind pass once a minute: same words but for figures and what is filled in.

    How many were held back is told with the next one of the kind, or by `flush`. Lines logged with
    `extra=ALWAYS` all pass.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._passed: dict[tuple[str, int, str], float] = {}
        self._held: dict[tuple[str, int, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written; adds to it how many like it were not."""
        if getattr(record, "always", False):
            return True
        kind = (record.name, record.levelno, _DIGITS.sub("#", str(record.msg)))
        now = self._clock()
        if now - self._passed.get(kind, -PAUSE_S) < PAUSE_S:
            self._held[kind] = self._held.get(kind, 0) + 1
            return False
        if len(self._passed) >= MOST_KINDS:
            self._passed.clear()
        self._passed[kind] = now
        held = self._held.pop(kind, 0)
        if held:
            record.msg, record.args = f"{record.getMessage()} ({held} more like it before)", ()
        return True

    def flush(self, log: logging.Logger, *, all_of_them: bool = False) -> None:
        """Tells of lines held back whose minute is over, or of all. Call it now and then."""
        now = self._clock()
        for kind in list(self._held):
            if all_of_them or now - self._passed.get(kind, -PAUSE_S) >= PAUSE_S:
                told = f"held back {self._held.pop(kind)} lines like: {kind[2]}"
                log.log(kind[1], told, extra=ALWAYS)


class Json(logging.Formatter):
    """One JSON object a line: time (Unix seconds), level, part, message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "part": record.name.removeprefix("cotenant."),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def open_log(level: str, form: str) -> Limit:
    """Sends the lines of all of cotenant to stderr; a second call changes level and form.

    Nothing that goes wrong in writing them (a full disk) stops the program.
    """
    logging.raiseExceptions = False
    handler = logging.StreamHandler(sys.stderr)
    limit = Limit()
    handler.addFilter(limit)
    handler.setFormatter(Json() if form == "json" else Plain())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("cotenant").setLevel(level.upper())
    return limit


class Plain(logging.Formatter):
    """Time, level, message; control characters (a tenant's name may hold some) as escapes."""

    def __init__(self) -> None:
        # journald gives each line its time and shows it: once is enough.
        time_ = "" if os.environ.get("JOURNAL_STREAM") else "%(asctime)s.%(msecs)03d "
        super().__init__(time_ + "%(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line, before a traceback is added to it."""
        record.message = record.message.translate(_CONTROL)
        return super().formatMessage(record)
