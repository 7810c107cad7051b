"""The one error of the VM harness."""

from __future__ import annotations


class VmError(Exception):
    """A VM could not be prepared or run: a sentence, and a hint with the next thing to type."""

    def __init__(self, sentence: str, hint: str) -> None:
        super().__init__(f"{sentence}\n  hint: {hint}")
