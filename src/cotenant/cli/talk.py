"""What a verb says on stderr: sentences, errors, hints. Colour only where a person looks."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from cotenant.cli.called import as_called

debugging = False
"""Whether `--debug` was among the words."""


def say(sentence: str) -> None:
    """Print one line of talk on stderr; a command in it stands as the reader called it."""
    print(as_called(sentence), file=sys.stderr, flush=True)


def say_error(sentence: str, hint: str | None) -> None:
    """Print an error as a sentence and, after a blank line, the next command to type."""
    say(f"{paint('error:', '1;31')} {sentence}")
    if hint:
        say(f"\n{paint('hint:', '1;36')} {hint}")


def say_notes(error: BaseException) -> None:
    """Print what others said of an error (libbpf, the verifier), where `--debug` asks for it."""
    for note in getattr(error, "__notes__", ()) if debugging else ():
        say(note)


def paint(text: str, code: str, stream: TextIO | None = None) -> str:
    """The text in a colour of the terminal, or as it is where no one sees colours."""
    return f"\x1b[{code}m{text}\x1b[0m" if colourful(stream or sys.stderr) else text


def colourful(stream: TextIO) -> bool:
    """True where the stream is a terminal that shows colours and NO_COLOR does not forbid them."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
