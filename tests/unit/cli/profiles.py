"""Made-up profiles, and a sense that gives them out."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from cotenant.model import COMPLETE, Frame, FrameKind, Kind, Profile, ProfileLost, Stack, Tenant

PERIOD = 10_101_010

PYTHON, NATIVE, KERNEL, JIT = (
    FrameKind.PYTHON,
    FrameKind.NATIVE,
    FrameKind.KERNEL,
    FrameKind.JIT,
)
LIBPYTHON = "/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0"


def py(name: str, file: str, line: int, first: int) -> Frame:
    return Frame(name, PYTHON, f"/srv/app/{file}", line, first)


def tenant(name: str, key: int = 1) -> Tenant:
    return Tenant(key=key, name=name, kind=Kind.CONTAINER, path=f"/{key}", cgroups={0: key})


class Maker:
    """Builds a profile stack by stack."""

    def __init__(self, names: Sequence[str] = ("web",)) -> None:
        self.tenants = tuple(tenant(name, key) for key, name in enumerate(names, 1))
        self.frames: dict[Frame, int] = {}
        self.stacks: list[Stack] = []

    def add(self, count, *frames, who=0, process="python3", end=COMPLETE, value=None):
        way = tuple(self.frames.setdefault(frame, len(self.frames)) for frame in frames)
        weighs = count * PERIOD if value is None else value
        self.stacks.append(Stack(who, process, way, count, weighs, end))
        return self

    def made(
        self, lost: ProfileLost | None = None, notes: Sequence[str] = (), begin: float = 1.7e9
    ) -> Profile:
        return Profile(
            type="cpu",
            unit="nanoseconds",
            from_s=begin,
            until_s=begin + 10,
            period=PERIOD,
            tenants=self.tenants,
            frames=tuple(self.frames),
            stacks=tuple(self.stacks),
            lost=lost or ProfileLost(),
            notes=tuple(notes),
        )


START = Frame("_start", NATIVE, module="/usr/bin/python3.11")
MAIN = Frame("Py_BytesMain", NATIVE, module=LIBPYTHON)
EVAL = Frame("_PyEval_EvalFrameDefault", NATIVE, module=LIBPYTHON)
SERVE = py("serve_forever", "socketserver.py", 237, 220)
HANDLE = py("Handler.do_GET", "app.py", 44, 31)
PARSE = py("parse_query", "app.py", 71, 66)
RENDER = py("Template.render.<locals>.cell", "templates.py", 128, 120)
RENDER_LATER = py("Template.render.<locals>.cell", "templates.py", 131, 120)
DIGEST = py("digest", "security.py", 19, 14)
SHA = Frame("sha256_block_data_order", NATIVE, module="/usr/lib/x86_64-linux-gnu/libcrypto.so.3")
DICT = Frame("PyDict_GetItem", NATIVE, "Objects/dictobject.c", 1429, 1420, LIBPYTHON)
SYSCALL = Frame("do_syscall_64", KERNEL, module="[kernel]")
SEND = Frame("tcp_sendmsg", KERNEL, module="[kernel]")
COPY = Frame("copy_user_enhanced_fast_string", KERNEL, module="[kernel]")
JITTED = Frame("LazyCompile:*route /srv/node/router.js:12", JIT)
V8 = Frame("v8::internal::Execution::Call(v8::internal::Isolate*, v8::Local<v8::Value>)", NATIVE,
           module="/usr/bin/node")  # fmt: skip
CUT = Frame("[cut: no unwind table]", FrameKind.NOTE)


def web(factor: int = 1) -> Profile:
    """A Python web server and a node, with kernel, native, Python and JIT frames."""
    base = (START, MAIN, EVAL, SERVE, HANDLE)
    made = Maker(("web", "node-api", "host"))
    made.add(310 * factor, *base, RENDER)
    made.add(90 * factor, *base, RENDER_LATER, DICT)
    made.add(180, *base, DIGEST, SHA)
    made.add(60, *base, PARSE, DICT)
    made.add(25, *base, PARSE)
    made.add(70, *base, SYSCALL, SEND, COPY)
    made.add(12, *base, SYSCALL, SEND)
    made.add(3, CUT, SHA, end="no unwind table")
    made.add(120, START, V8, JITTED, who=1, process="node")
    made.add(30, START, V8, who=1, process="node")
    made.add(2, SYSCALL, who=2, process="kworker/0:1")
    lost = ProfileLost(dropped=2, idle=41, untabled=1)
    return made.made(lost, ("ruby: native frames only",))


def hostile(names: Sequence[str]) -> Profile:
    """Every name in it is one that a tenant may choose to hurt a screen."""
    made = Maker(names)
    for who, name in enumerate(names):
        frames = [
            Frame(name, PYTHON, f"/srv/{name}.py", 1, 1),
            Frame(name * 3, NATIVE, module=name),
        ]
        made.add(10 + who, *frames, who=who, process=name)
    return made.made(notes=names)


def wild(seed: int, stacks: int = 40) -> Profile:
    """Any tree: random depths, weights from 0 on, the same functions over and over."""
    chance = random.Random(seed)
    frames = [Frame(f"f{i}", chance.choice(list(FrameKind)), line=i) for i in range(12)]
    made = Maker(("a", "b", "c"))
    for _ in range(stacks):
        way = [chance.choice(frames) for _ in range(chance.randrange(0, 12))]
        weight = chance.choice((0, 1, 7, 1000, 10**12))
        made.add(1, *way, who=chance.randrange(3), process="p", value=weight)
    return made.made()


class FakeSampler:
    """Gives out what it is handed, a part at each `take`; then empty ones."""

    how = "made up"

    def __init__(self, *parts: Profile) -> None:
        self.parts = list(parts)
        self.steps = self.sampled = self.complete = 0
        self.closed = False
        self.asked: list[object] = []
        self.waits: list[float] = []
        self.to_come = 0
        """Debug files that are yet to come, one at each look."""

    def stop(self) -> None:
        """What was sampled by then is all there is."""

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        time.sleep(seconds)

    def step(self) -> None:
        self.steps += 1
        self.sampled += 100
        self.complete += 95

    def take(self) -> Profile:
        return self.parts.pop(0) if self.parts else Maker().made()

    def awaited(self) -> int:
        self.to_come -= self.to_come > 0
        return self.to_come

    def renamed(self, profile: Profile) -> Profile:
        return profile

    def close(self) -> None:
        self.closed = True
