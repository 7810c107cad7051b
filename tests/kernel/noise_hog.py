"""A neighbour that burns a CPU in functions with names: resize three quarters, hash_all the rest.

Argument: the CPU. With `victim` behind it: one that works for a while, then sleeps. By the clock
of what it ran itself: while others have the CPU, neither part gets ahead.
"""

import hashlib
import os
import sys
import time


def resize(until: float) -> None:
    """Python alone."""
    while time.thread_time() < until:
        sum(range(1000))


def hash_all(until: float) -> None:
    """C code that Python calls."""
    while time.thread_time() < until:
        hashlib.pbkdf2_hmac("sha256", b"key", b"salt", 2000)


def burn() -> None:
    """Now one, now the other."""
    while True:
        resize(time.thread_time() + 0.03)
        hash_all(time.thread_time() + 0.01)


def serve() -> None:
    """A small service: each answer takes longer than a turn on the CPU, so that it must wait."""
    while True:
        until = time.thread_time() + 0.008
        while time.thread_time() < until:
            sum(range(100))
        time.sleep(0.005)


os.sched_setaffinity(0, {int(sys.argv[1])})
serve() if sys.argv[2:] == ["victim"] else burn()
