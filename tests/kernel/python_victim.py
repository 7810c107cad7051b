# mypy: ignore-errors
# A script for any Python from 3.9 on: threads that stand still in known frames. Prints what
# sys._current_frames() says of them, as JSON, and stays so until its input ends.
import functools
import hashlib
import json
import os
import sys
import threading
import time

ready = threading.Semaphore(0)
never = threading.Lock()
never.acquire()


def released():
    ready.release()
    hashlib.pbkdf2_hmac("sha256", b"key", b"salt", 1_000_000_000)  # one call, without the GIL


# fmt: off
def spinning():
    ready.release()
    while True: pass  # noqa: E701  one line: whatever runs, the line stays
# fmt: on


def blocked():
    ready.release()
    with never:
        pass


def decorated(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        return function(
            *arguments,
        )

    return wrapper


class Outer:
    class Inner:
        def __init__(self, then):
            self.made = True
            then()

        @decorated
        def method(self, then):
            return [then() for _ in range(1)]

        @property
        def größe(self):
            return sorted([3, 1], key=lambda _: blocked())

    @classmethod
    def 名前(cls):
        return Outer.Inner(lambda: time.sleep(1e6 if not ready.release() else 0))


def generator(then):
    yield 1
    yield from (then() for _ in range(2))


async def coroutine(then):
    return await deeper(then)


async def deeper(then):
    then()


def имя():
    for _ in generator(spinning):
        pass


def 𠀀():
    coroutine(released).send(None)


def recursive(depth):
    if depth:
        return recursive(depth - 1)
    return Outer.Inner.method(None, blocked)


MODULE = """
class Body:
    'Runs as it is defined.'


    def later(self):
        pass

    then()
"""


def module():
    name = "/srv/путь/módulo 𠀀.py"
    exec(compile(MODULE, name, "exec"), {"then": blocked, "__name__": "module"})


def long_name():
    name = "long_" + "ñ" * 2000
    scope = {"then": blocked}
    exec(f"def {name}():\n\n    then()\n", scope)
    scope[name]()


def made_often():
    for then in [*[lambda: None] * 100, blocked]:
        Outer.Inner(then)  # specialised by now: __init__ runs above a shim, from 3.13 on


def describe(frame):
    rows = []
    while frame:
        code = frame.f_code
        name = getattr(code, "co_qualname", code.co_name)
        rows.append([name, code.co_filename, frame.f_lineno or 0, code.co_firstlineno])
        frame = frame.f_back
    return rows


def stays(frame):
    """Whether a thread has come to the line that it does not leave."""
    code = frame.f_code
    return LAST.get(code.co_name) == (frame.f_lineno or 0) - code.co_firstlineno


def dump():
    for _ in WORK:
        ready.acquire()
    own = threading.get_ident()
    frames = sys._current_frames()
    end = time.monotonic() + 60
    while not all(stays(frame) for ident, frame in frames.items() if ident != own):
        if time.monotonic() > end:
            os._exit(1)
        time.sleep(0.05)
        frames = sys._current_frames()
    natives = {thread.ident: thread.native_id for thread in threading.enumerate()}
    stacks = [
        {"ident": ident, "native": natives[ident], "frames": describe(frame)}
        for ident, frame in frames.items()
        if ident != own
    ]
    print(json.dumps({"stacks": stacks, "dumper": own}), flush=True)
    never.acquire()


WORK = [
    released, 𠀀, имя, Outer.名前, lambda: Outer.Inner.größe.fget(None), lambda: recursive(60),
    module, long_name, made_often, spinning,
]  # fmt: skip

LAST = {"released": 2, "spinning": 2, "blocked": 2, "<lambda>": 0, "main": 3}
"""The functions that threads stay in, and the line of each, counted from its first."""


def main():
    for work in [*WORK, dump]:
        threading.Thread(target=work, daemon=True).start()
    sys.stdin.readline()


main()
