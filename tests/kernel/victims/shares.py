# mypy: ignore-errors
# A script for any Python from 3.9 on: burns CPU time, 60 % in a(), 30 % in b(), 10 % in c(), each
# reached another way. Prints how it gets there, as Python itself tells it; goes on until killed.
import hashlib
import itertools
import json
import os
import struct
import subprocess
import sys
import threading
import time

ROUND_S = float(os.environ.get("ROUND_S", "0.02"))
chains = {}
waited = {}


# fmt: off
def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        for _ in range(5000): pass  # noqa: E701  one line: whatever runs, the line stays
# fmt: on


def rest(seconds):
    began = time.monotonic_ns()
    time.sleep(seconds)
    waited[seconds] = waited.get(seconds, 0) + time.monotonic_ns() - began
    if len(waited) == 3:
        os.pwrite(file, struct.pack("3q", *waited.values()), 0)


def describe(seconds):
    """Keeps the frames that lead here, innermost first."""
    frame, rows = sys._getframe(1), []
    while frame:
        code = frame.f_code
        rows.append([getattr(code, "co_qualname", code.co_name), code.co_filename, frame.f_lineno])
        frame = frame.f_back
    chains["abc"[len(chains)]] = rows


def a(spend):
    spend(0.6 * ROUND_S)


def b(spend):
    yield from (spend(0.3 * ROUND_S) for _ in range(1))


class Äußere:
    class 内:
        def c(self, spend):
            return sorted([1], key=lambda _: spend(0.1 * ROUND_S))


def turn(spend):
    a(spend)
    list(b(spend))
    Äußere.内().c(spend)


def main(spend=burn):
    for each in itertools.chain([describe], itertools.repeat(spend)):
        turn(each)
        if each is describe:
            print(json.dumps(chains), flush=True)


def sleeping():
    """Writes how long each waited in all into the file that WAITED names: ns of a, b, c."""
    global file
    file = os.open(os.environ["WAITED"], os.O_WRONLY)
    main(rest)


def thread():
    threading.Thread(target=main).start()


def fork():
    if os.fork():
        os.wait()
    main()


def child():
    with open("/proc/self/cmdline") as command:
        words = command.read().split("\0")[:-1]
    words[words.index("child")] = "main"
    subprocess.run(words)


def calling():
    print("{}", flush=True)
    while True:
        sorted(range(50), key=outer)


def outer(number):
    return inner(number)


def inner(number):
    return number


def hashing():
    data = bytes(5 << 20)
    print("{}", flush=True)
    while True:
        hashlib.sha256(data).digest()


name, mode = sys.argv[1:]
with open("/proc/self/comm", "w") as comm:
    comm.write(name)
globals()[mode]()
