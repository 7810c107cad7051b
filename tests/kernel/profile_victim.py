"""Runs on CPUs in known functions: with Python's lock, without it, and inside the kernel."""

import hashlib
import threading


def released() -> None:
    """One long call at a time that needs no lock."""
    while True:
        hashlib.pbkdf2_hmac("sha256", b"key", b"salt", 200_000)


def reading() -> None:
    """Memory is cleared by the kernel."""
    with open("/dev/zero", "rb", buffering=0) as zeros:
        zeros.readinto(bytearray(16 << 20))


def spinning() -> None:
    """Python alone."""
    for _ in range(100_000):
        pass


threading.Thread(target=released, daemon=True).start()
while True:
    spinning()
    reading()
