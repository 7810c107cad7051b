"""A request loop like redis's: `python3 loop.py serve SOCKET`, `loop.py ask SOCKET CONTROL`.

Run as a file, on its own: it imports nothing of cotenant, so that both ends stay small.
"""

from __future__ import annotations

import socket
import sys
import time
from array import array

REQUEST = b"GET cotenant\r\n"
MISSING = b"$-1\r\n"
"""redis's answer for a key that is not there."""
SIZE = 4096


def serve(path: str) -> None:
    """Answer each request on one connection after the other, as a redis without keys does."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        while True:
            connection, _ = listening.accept()
            with connection:
                while connection.recv(SIZE):
                    connection.sendall(MISSING)


def ask(path: str, control: str) -> None:
    """For each number of ms that comes in on CONTROL: ask so long, tell each answer's time.

    One request at a time. What is told is the number of bytes in a line, then unsigned 64-bit ns.
    """
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        listening.bind(control)
        listening.listen()
        connection, _ = listening.accept()
        with connection, connection.makefile("rb") as orders:
            for order in orders:
                times = asked(server, int(order) * 1_000_000).tobytes()
                connection.sendall(b"%d\n" % len(times) + times)


def asked(server: socket.socket, for_ns: int) -> array[int]:
    """Nanoseconds from each request to its answer, for so long."""
    times = array("Q")
    clock = time.perf_counter_ns
    now = clock()
    end = now + for_ns
    while now < end:
        start = clock()
        server.sendall(REQUEST)
        if not server.recv(SIZE):
            raise SystemExit("The server went away.")
        now = clock()
        times.append(now - start)
    return times


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        ask(sys.argv[2], sys.argv[3])
