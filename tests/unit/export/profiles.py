"""Synthetic profiles: a host of five tenants as one meets it, hostile names, and arbitrary ones."""

from __future__ import annotations

import random

from hypothesis import strategies as st
from msgspec.structs import replace

from cotenant.model import (
    HOST,
    Frame,
    FrameKind,
    Kind,
    Profile,
    ProfileLost,
    Stack,
    Tenant,
)

UNIX = 1_790_000_000.25
PERIOD = 10_101_010
K, N, P, J, X = (
    FrameKind.KERNEL, FrameKind.NATIVE, FrameKind.PYTHON, FrameKind.JIT, FrameKind.NOTE,
)  # fmt: skip
HOSTILE = [
    "</script><script>alert(1)</script>",
    "a;b",
    "two\nlines 7",
    "tab\there",
    "nul\0end",
    "\udcff\udc80",
    "\ud800half",
    "\u202egnp.exe",
    "שלום",
    "한국어",
    "<!--",
    "]]>",
    "&amp; \"quoted\" 'name'",
    "\x1b[31mred",
    "${jndi}",
    "back\\slash",
    "x" * 5000,
    "",
    " 12",
]


def tenant(key: int, name: str, kind: Kind = Kind.CONTAINER, **fields: str) -> Tenant:
    return Tenant(key=key, name=name, kind=kind, path=f"/{name}", cgroups={}, **fields)  # type: ignore[arg-type]


def native(name: str, module: str = "/usr/lib/x86_64-linux-gnu/libc.so.6", at: int = 4096) -> Frame:
    return Frame(name, N, module=module, build_id="8b" * 20, address=at)


def python(name: str, file: str, line: int, first: int) -> Frame:
    return Frame(name, P, file, line, first)


class Maker:
    """Puts a profile together from frames in words."""

    def __init__(self, *tenants: Tenant) -> None:
        self.tenants = tenants
        self.frames: dict[Frame, int] = {}
        self.stacks: list[Stack] = []

    def add(
        self, tenant: int, process: str, frames: list[Frame], count: int, end: str = "complete"
    ) -> None:
        path = tuple(self.frames.setdefault(frame, len(self.frames)) for frame in frames)
        self.stacks.append(Stack(tenant, process, path, count, count * PERIOD, end))

    def profile(self, **fields: object) -> Profile:
        made = Profile(
            type="cpu",
            unit="nanoseconds",
            from_s=UNIX,
            until_s=UNIX + 10,
            period=PERIOD,
            tenants=self.tenants,
            frames=tuple(self.frames),
            stacks=tuple(self.stacks),
        )
        return replace(made, **fields)


ENTRY = [native("_start", "/usr/bin/python3.11"), native("__libc_start_main_impl", at=163_000)]
EVAL = native("_PyEval_EvalFrameDefault", "/usr/bin/python3.11", 0x53B0A0)
MAIN = python("<module>", "/srv/app.py", 88, 1)
SERVE = python("Server.serve_forever", "/usr/lib/python3.11/socketserver.py", 237, 208)
HANDLE = python("Handler.do_GET", "/srv/app.py", 42, 31)
SORT = python("Handler.rank", "/srv/app.py", 57, 52)
SORT_LATER = python("Handler.rank", "/srv/app.py", 59, 52)
LISTSORT = native("list_sort_impl", "/usr/bin/python3.11", 0x5120)
SYSCALL = [Frame("entry_SYSCALL_64_after_hwframe", K), Frame("do_syscall_64", K)]


def small() -> Profile:
    """Two tenants, every kind of frame, one function on two lines, one cut stack, losses, notes."""
    web = tenant(1, "web", namespace="shop", pod="web-7d9", container="app")
    make = Maker(web, tenant(2, "node"), HOST)
    base = [*ENTRY, EVAL, MAIN, SERVE, HANDLE]
    make.add(0, "python3", [*base, SORT, LISTSORT], 30)
    make.add(0, "python3", [*base, SORT_LATER], 10)
    make.add(
        0, "python3", [*base, native("__send", at=90_000), *SYSCALL, Frame("tcp_sendmsg", K)], 15
    )
    cut = Frame("[cut: no unwind table]", X)
    make.add(0, "python3", [cut, native("deflate", "/usr/lib/libz.so.1")], 5, "no unwind table")
    make.add(1, "node", [native("node::Start", "/usr/bin/node"), Frame("LazyCompile:~hot", J)], 25)
    make.add(2, "kworker/0:1", [Frame("worker_thread", K), Frame("wb", K, module="ext4")], 15)
    return make.profile(
        lost=ProfileLost(dropped=2, idle=800),
        notes=("Ruby 3.1 in web: native frames only.",),
    )


def hostile() -> Profile:
    """Names that break a format if they are believed, in every place a name can stand."""
    make = Maker(*[tenant(i, name) for i, name in enumerate(HOSTILE)])
    for i, name in enumerate(HOSTILE):
        other = HOSTILE[-1 - i]
        frames = [
            Frame(name, list(FrameKind)[i % 5], other, i, i, other, "", i),
            Frame(other, P, name, 3, 2),
            Frame(f"[kernel]{name}", N, module="[kernel]"),
        ]
        make.add(i, other, frames, i + 1, name or "complete")
    return make.profile(notes=tuple(HOSTILE))


def busy(stacks: int = 600, seed: int = 1) -> Profile:
    """Five tenants of one host: web servers in Python, a database, Node, and the host itself.

    Deep and wide as real ones are; deterministic. `stacks`: how many different ones, about.
    """
    dice = random.Random(seed)
    make = Maker(
        tenant(1, "shop/web", namespace="shop", pod="web-7d9f4", container="web"),
        tenant(2, "shop/api", namespace="shop", pod="api-5c8b1", container="api"),
        tenant(3, "postgres"),
        tenant(4, "worker-node"),
        HOST,
    )
    kinds = [_python_stack, _python_stack, _database_stack, _node_stack, _host_stack]
    comms = [
        ("gunicorn", "gunicorn: master"), ("uvicorn", "celery"), ("postgres", "autovacuum"),
        ("node", "libuv-worker"), ("dockerd", "kworker/u4:2", "systemd-journal"),
    ]  # fmt: skip
    for _ in range(stacks):
        who = dice.choices(range(5), weights=[40, 25, 18, 11, 6])[0]
        comm = dice.choices(comms[who], weights=[5, 1, 1][: len(comms[who])])[0]
        frames = kinds[who](dice, who)
        end = "complete"
        if dice.random() < 0.012:
            end = dice.choice(["no unwind table", "too deep", "fault"])
            frames = [Frame(f"[cut: {end}]", X), *frames[len(frames) // 2 :]]
        make.add(who, comm, frames, 1 + int(dice.paretovariate(1.3)), end)
    return make.profile(
        lost=ProfileLost(dropped=3, kthreads=41, idle=1210, untabled=1),
        notes=("No SYSLOG capability: some kernel frames are addresses.",),
    )


VERBS = (
    "load parse render fetch commit encode decode hash check walk merge split match send".split()
)
NOUNS = "order cart user price page token row block index image query cache header batch".split()


def _python_stack(dice: random.Random, who: int) -> list[Frame]:
    site = "/usr/local/lib/python3.11/site-packages"
    frames = [*ENTRY, native("Py_RunMain", "/usr/bin/python3.11", 0x6000), EVAL, MAIN]
    frames += [
        python("Arbiter.run", f"{site}/gunicorn/arbiter.py", 202, 195),
        python("Worker.handle_request", f"{site}/gunicorn/workers/sync.py", 184, 170),
        python("Flask.wsgi_app", f"{site}/flask/app.py", 1478, 1450),
        python("Flask.dispatch_request", f"{site}/flask/app.py", 880, 860),
    ]
    for depth in range(dice.randint(2, 14)):
        pick = min(int(dice.expovariate(0.35)), 13)
        first = 10 + 31 * depth + 7 * pick
        name = (
            f"{VERBS[(pick + depth) % 14].title()}er.{VERBS[pick]}_{NOUNS[(pick * 3 + depth) % 14]}"
        )
        file = f"/srv/{'shop' if who == 0 else 'api'}/{NOUNS[(depth + pick) % 14]}.py"
        frames.append(python(name, file, first + dice.choice([2, 2, 2, 9]), first))
    match dice.randint(0, 9):
        case 0 | 1 | 2:
            send = dice.choice(["tcp_sendmsg", "ep_poll", "tcp_recvmsg", "vfs_read", "do_futex"])
            calls = [native("__libc_send", at=0x9000), *SYSCALL, Frame("__sys_sendto", K)]
            frames += [*calls, Frame(send, K), Frame("_copy_to_iter", K)]
        case 3 | 4:
            crypto = "/usr/lib/x86_64-linux-gnu/libcrypto.so.3"
            frames += [native("EVP_DigestUpdate", crypto, 0x77), native("sha256_block", crypto, 9)]
        case 5 | 6 | 7:
            own = dice.choice(
                ["dict_subscript", "list_sort_impl", "_PyObject_Malloc", "gc_collect"]
            )
            frames += [EVAL, native(own, "/usr/bin/python3.11", 0x1234)]
        case _:
            pass
    return frames


def _database_stack(dice: random.Random, who: int) -> list[Frame]:
    own = "/usr/lib/postgresql/15/bin/postgres"
    names = ["_start", "main", "PostmasterMain", "ServerLoop", "PostgresMain", "exec_simple_query",
             "PortalRun", "standard_ExecutorRun"]  # fmt: skip
    for _ in range(dice.randint(1, 8)):
        names.append(
            dice.choice(["ExecScan", "ExecHashJoin", "ExecSort", "ExecAgg", "ExecProcNode"])
        )
    names.append(
        dice.choice(["heap_getnext", "tuplesort_puttuple", "hash_any", "slot_deform_tuple"])
    )
    frames = [native(name, own, 0x1000 + len(name)) for name in names]
    if dice.random() < 0.3:
        tail = ["vfs_read", "ext4_file_read_iter", "filemap_read", "copy_page_to_iter"]
        frames += [*SYSCALL, *[Frame(name, K) for name in tail]]
    return frames


def _node_stack(dice: random.Random, who: int) -> list[Frame]:
    own = "/usr/bin/node"
    names = ["_start", "node::Start(int, char**)", "uv_run", "node::InternalCallbackScope::Close()",
             "v8::internal::Execution::Call(v8::internal::Isolate*)"]  # fmt: skip
    frames = [native(name, own, len(name)) for name in names]
    for depth in range(dice.randint(2, 10)):
        verb = VERBS[min(int(dice.expovariate(0.4)), 13)]
        frames.append(Frame(f"LazyCompile:*{verb} /app/{NOUNS[depth]}.js:{depth * 11 + 4}", J))
    if dice.random() < 0.3:
        frames.append(native("v8::internal::Heap::Scavenge()", own, 77))
    return frames


def _host_stack(dice: random.Random, who: int) -> list[Frame]:
    work = [
        "wb_workfn",
        "process_one_work",
        "blk_mq_run_work_fn",
        "vmstat_update",
        "flush_to_ldisc",
    ]
    return [Frame("ret_from_fork", K), Frame("kthread", K), Frame("worker_thread", K),
            *[Frame(dice.choice(work), K) for _ in range(dice.randint(1, 3))]]  # fmt: skip


NAMES = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=12)
FRAMES = st.builds(
    Frame,
    name=NAMES,
    kind=st.sampled_from(list(FrameKind)),
    file=NAMES | st.just(""),
    line=st.integers(0, 1 << 31),
    first_line=st.integers(0, 1 << 31),
    module=NAMES | st.sampled_from(["", "[kernel]", "[python] x", "/usr/bin/with space"]),
    build_id=st.sampled_from(["", "ab12"]),
    address=st.integers(0, (1 << 64) - 1),
)
ENDS = st.sampled_from(["complete", "no unwind table", "too deep"])


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    """Arbitrary ones: all that a profile can hold, each frame and stack once."""
    frames = draw(st.lists(FRAMES, unique=True, max_size=12))
    names = draw(st.lists(NAMES, unique=True, min_size=1, max_size=4))
    tenants = [tenant(i, name, draw(st.sampled_from(list(Kind)))) for i, name in enumerate(names)]
    stack = st.builds(
        Stack,
        tenant=st.integers(0, len(tenants) - 1),
        process=NAMES,
        frames=st.lists(st.integers(0, max(len(frames) - 1, 0)), max_size=8 if frames else 0).map(
            tuple
        ),
        count=st.integers(0, 1 << 40),
        value=st.integers(0, 1 << 62),
        end=ENDS,
    )
    stacks = draw(
        st.lists(stack, max_size=12, unique_by=lambda s: (s.tenant, s.process, s.frames, s.end))
    )
    seconds = draw(st.integers(0, 1 << 31))
    return Profile(
        type=draw(st.sampled_from(["cpu", "off-cpu", "alloc", "faults", "inuse_space"])),
        unit=draw(st.sampled_from(["nanoseconds", "bytes", "count"])),
        from_s=float(seconds),
        until_s=seconds + draw(st.integers(0, 3600)) / 4,
        period=draw(st.integers(0, 1 << 40)),
        tenants=tuple(tenants),
        frames=tuple(frames),
        stacks=tuple(stacks),
        lost=ProfileLost(*draw(st.lists(st.integers(0, 1 << 50), min_size=7, max_size=7))),
        notes=tuple(draw(st.lists(NAMES, max_size=3))),
    )


def told(profile: Profile) -> list[tuple[object, ...]]:
    """What the stacks say in words, sorted: equal if two profiles say the same in any order."""
    frames, tenants = profile.frames, profile.tenants
    return sorted(
        (tenants[s.tenant].name, s.process, tuple(map(repr, (frames[i] for i in s.frames))),
         s.count, s.value, s.end)
        for s in profile.stacks
    )  # fmt: skip
