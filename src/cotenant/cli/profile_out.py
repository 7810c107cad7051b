"""Where a profile is written: checked before anything is sampled, written whole or not at all."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from types import TracebackType

from cotenant.errors import CotenantError, UsageError
from cotenant.export import flame_html
from cotenant.export.profile_files import FORMATS
from cotenant.model import Profile

STDOUT = "-"
COMPARED = ".html"
"""The form that can show two profiles at once."""
DEFAULT_ENDING = ".folded"
"""What `-o -` writes: the one form that is text, a line each. `-o -.json` writes another."""

Render = Callable[[Profile], bytes]


class Output:
    """A file to come: `write` it, then it is there; without that nothing is.

    Raises UsageError for an ending that no form has and for binary on a terminal, CotenantError
    where nothing can be written.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._beside: Path | None = None
        self._number: int | None = None
        if name == STDOUT or name.startswith(f"{STDOUT}."):
            self.ending, self._render = _form(name.removeprefix(STDOUT) or DEFAULT_ENDING)
            self._number = _stdout(self.ending)
            return
        self.ending, self._render = _form(name)
        path = Path(name)
        if _is_special(path):
            self._number = os.open(path, os.O_WRONLY)
        else:
            self._beside, self._number = _beside(path)

    @property
    def to_stdout(self) -> bool:
        """Whether it goes to stdout, and is named nowhere."""
        return self._number == 1

    def check_compared(self) -> None:
        """Raises UsageError where the form shows one profile alone."""
        if self.ending != COMPARED:
            raise UsageError(
                f"A comparison is written as {COMPARED}, not as {self.ending}.",
                f"-o diff{COMPARED}",
            )

    def write(self, found: Profile, base: Profile | None = None) -> None:
        """Writes all of it; from then on the file is there under its name.

        With `base`, how it differs from that one.
        """
        assert self._number is not None
        left = memoryview(self._render(found) if base is None else flame_html.render(found, base))
        while left:
            left = left[os.write(self._number, left) :]
        if self._beside is not None:
            os.replace(self._beside, self.name)
            self._beside = None

    def close(self) -> None:
        """Removes what was begun and not written."""
        if self._number is not None and not self.to_stdout:
            os.close(self._number)
        self._number = None
        if self._beside is not None:
            self._beside.unlink(missing_ok=True)
            self._beside = None

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _form(name: str) -> tuple[str, Render]:
    """The ending that the name has, and what makes such a file."""
    for ending, render in FORMATS.items():
        if name.endswith(ending):
            return ending, render
    raise UsageError(
        f"{name!r} does not end in a form of a profile: {', '.join(FORMATS)}.",
        "cotenant profile --duration 10s -o profile.html",
    )


def _stdout(ending: str) -> int:
    if ending.endswith(".gz") and sys.stdout.isatty():
        raise UsageError(f"{ending} is no text, and a terminal shows text.", f"-o profile{ending}")
    return 1


def _is_special(path: Path) -> bool:
    """Whether it is a pipe or a device, which is written to and never replaced."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    if stat.S_ISDIR(mode):
        raise UsageError(f"{str(path)!r} is a directory.", f"-o {path / 'profile.html'}")
    return not stat.S_ISREG(mode)


def _beside(path: Path) -> tuple[Path, int]:
    """An empty file in the same directory, open for writing."""
    made = path.with_name(f".{path.name[:100]}.{token_hex(4)}.tmp")
    try:
        return made, os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise CotenantError(
            f"Nothing can be written in {str(path.parent)!r}: {error.strerror}.",
            f"-o /tmp/{path.name}",
        ) from None
