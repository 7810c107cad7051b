"""Memory of this process: what is kept is not looked at again, what was freed goes back."""

from __future__ import annotations

import ctypes
import gc
from functools import cache


@cache
def _trim() -> ctypes._NamedFuncPointer | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; musl has none


def give_back() -> None:
    """Gives all free pages of the heap back (malloc_trim(3)): worth it after large work is done."""
    trim = _trim()
    if trim is not None:
        trim(0)


def keep() -> None:
    """What is here now stays: no collection of garbage looks at it again."""
    gc.collect()
    gc.freeze()
