"""A thin, typed face of libbpf: open, configure, load, attach, map, iterate.

Only what cotenant uses. Handles close with their object; every refusal becomes `NoBpf` (the kernel
lacks or forbids it) or `KernelRefused`, with the few lines of the verifier's log that matter.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from ctypes.util import find_library
from functools import cache, partial
from pathlib import Path
from typing import Any

from cotenant.errors import KernelRefused, NoBpf
from cotenant.kernel import uprobes

_VENDORED = Path(__file__).parent.parent / "_vendor" / "libbpf.so.1"
_LOG_LINES = 4
_LONGEST_LINE = 1 << 20  # all that the verifier said comes as one, and its reason last
_DEBUG = 2  # LIBBPF_DEBUG: hundreds of lines about what went well
_PRINTER = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)


class _IterOptions(ctypes.Structure):
    """struct bpf_iter_attach_opts."""

    _fields_ = (("sz", c_size_t), ("link_info", c_void_p), ("link_info_len", c_uint32))


class _CgroupIterInfo(ctypes.Structure):
    """The cgroup member of union bpf_iter_link_info."""

    _fields_ = (("order", c_uint32), ("cgroup_fd", c_uint32), ("cgroup_id", c_uint64))


class _TestRunOptions(ctypes.Structure):
    """struct bpf_test_run_opts."""

    _fields_ = (
        ("sz", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


_DESCENDANTS_PRE = 2  # BPF_CGROUP_ITER_DESCENDANTS_PRE: parents before children

_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "bpf_object__open_file": (c_void_p, (c_char_p, c_void_p)),
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__close": (None, (c_void_p,)),
    "bpf_object__find_map_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_object__find_program_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_object__next_program": (c_void_p, (c_void_p, c_void_p)),
    "bpf_program__name": (c_char_p, (c_void_p,)),
    "bpf_program__section_name": (c_char_p, (c_void_p,)),
    "bpf_program__set_expected_attach_type": (c_int, (c_void_p, c_int)),
    "bpf_program__fd": (c_int, (c_void_p,)),
    "bpf_prog_test_run_opts": (c_int, (c_int, POINTER(_TestRunOptions))),
    "bpf_program__set_autoload": (c_int, (c_void_p, ctypes.c_bool)),
    "bpf_program__attach": (c_void_p, (c_void_p,)),
    "bpf_program__attach_cgroup": (c_void_p, (c_void_p, c_int)),
    "bpf_program__attach_iter": (c_void_p, (c_void_p, POINTER(_IterOptions))),
    "bpf_program__attach_perf_event": (c_void_p, (c_void_p, c_int)),
    "bpf_program__attach_uprobe": (
        c_void_p,
        (c_void_p, ctypes.c_bool, c_int, c_char_p, c_size_t),
    ),
    "bpf_link__fd": (c_int, (c_void_p,)),
    "bpf_link__destroy": (c_int, (c_void_p,)),
    "bpf_map__fd": (c_int, (c_void_p,)),
    "bpf_map__value_size": (c_uint32, (c_void_p,)),
    "bpf_map__max_entries": (c_uint32, (c_void_p,)),
    "bpf_map__set_max_entries": (c_int, (c_void_p, c_uint32)),
    "bpf_map__initial_value": (c_void_p, (c_void_p, POINTER(c_size_t))),
    "bpf_map_update_elem": (c_int, (c_int, c_void_p, c_void_p, c_uint64)),
    "bpf_map_delete_elem": (c_int, (c_int, c_void_p)),
    "bpf_map_lookup_elem": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_iter_create": (c_int, (c_int,)),
    "libbpf_set_print": (c_void_p, (_PRINTER,)),
    "libbpf_num_possible_cpus": (c_int, ()),
    "libbpf_version_string": (c_char_p, ()),
    "btf__load_vmlinux_btf": (c_void_p, ()),
    "btf__parse": (c_void_p, (c_char_p, c_void_p)),
    "btf__free": (None, (c_void_p,)),
    "btf__type_cnt": (c_uint32, (c_void_p,)),
    "btf__type_by_id": (c_void_p, (c_void_p, c_uint32)),
    "btf__name_by_offset": (c_char_p, (c_void_p, c_uint32)),
    "btf__find_by_name_kind": (c_int, (c_void_p, c_char_p, c_uint32)),
    "btf__resolve_size": (ctypes.c_int64, (c_void_p, c_uint32)),
}


@cache
def library() -> ctypes.CDLL:
    """libbpf itself: the one in the wheel, else the system's. NoBpf where there is neither."""
    name = str(_VENDORED) if _VENDORED.exists() else find_library("bpf") or "libbpf.so.1"
    try:
        lib = ctypes.CDLL(name, use_errno=True)
        for function, (result, arguments) in _SIGNATURES.items():
            getattr(lib, function).restype = result
            getattr(lib, function).argtypes = arguments
    except (OSError, AttributeError) as error:
        raise NoBpf(
            f"libbpf 1.1 or newer cannot be loaded: {error}.", "sudo apt-get install libbpf1"
        ) from error
    lib.libbpf_set_print(_PRINTER_KEPT)
    return lib


def possible_cpus() -> int:
    """CPUs this host could ever have: the number of copies a per-CPU map keeps."""
    return int(library().libbpf_num_possible_cpus())


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Lets SIGINT and SIGTERM wait while libbpf may call back into Python.

    An exception that a signal raises in a callback is lost on its way through C: Ctrl-C would be
    ignored.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_log: list[str] = []


def _print(level: int, form: bytes | None, arguments: int | None) -> int:
    """Collects libbpf's log; formatted by the C library since the arguments are a va_list."""
    if level >= _DEBUG:
        return 0
    line = ctypes.create_string_buffer(_LONGEST_LINE)
    ctypes.CDLL(None).vsnprintf(line, c_size_t(len(line)), c_char_p(form), c_void_p(arguments))
    _log.append(line.value.decode(errors="replace").rstrip())
    return 0


_PRINTER_KEPT = _PRINTER(_print)  # C holds only its address


def _last_words() -> str:
    """The lines of libbpf's log that tell the cause; how many more there were."""
    lines = [line for entry in _log for line in entry.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("processed ", "-- BEGIN", "-- END"))]
    cut = len(telling) - _LOG_LINES
    more = f" ({cut} more lines of log)" if cut > 0 else ""
    return " / ".join(telling[-_LOG_LINES:]) + more


def _refused(doing: str, code: int) -> KernelRefused | NoBpf:
    """One sentence. What libbpf and the verifier said is a note of the error, for `--debug`."""
    error = _error(doing, code)
    if _log:
        error.add_note(_last_words())
    return error


def _error(doing: str, code: int) -> KernelRefused | NoBpf:
    reason = os.strerror(code)
    more = "sudo cotenant --debug check" if os.geteuid() else "cotenant --debug check"
    if code in (errno.EPERM, errno.EACCES):
        # Root may lack a capability too, or the verifier refused: its own words tell.
        return NoBpf(
            f"The kernel does not let this process use eBPF ({doing}): {reason}.",
            "sudo cotenant check" if os.geteuid() else more,
        )
    if code in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOENT, errno.ESRCH):
        return NoBpf(f"This kernel lacks what eBPF metering needs ({doing}): {reason}.", more)
    return KernelRefused(f"{doing} failed: {reason}.", more)


class Map:
    """One BPF map, by its descriptor; keys and values are bytes."""

    def __init__(self, handle: int) -> None:
        lib = library()
        self.fd: int = lib.bpf_map__fd(handle)
        self.value_size: int = lib.bpf_map__value_size(handle)
        self.entries: int = lib.bpf_map__max_entries(handle)

    @property
    def memory_bytes(self) -> int:
        """Kernel memory it takes, as the kernel tells it; 0: it does not tell."""
        for line in Path(f"/proc/self/fdinfo/{self.fd}").read_text().splitlines():
            if line.startswith("memlock:"):
                return int(line.split()[1])
        return 0

    def put(self, key: bytes, value: bytes) -> bool:
        """Stores `value`; False where the map is full."""
        return int(library().bpf_map_update_elem(self.fd, key, value, 0)) == 0

    def drop(self, key: bytes) -> bool:
        """Deletes the entry; False where there was none."""
        return int(library().bpf_map_delete_elem(self.fd, key)) == 0

    def get(self, key: bytes, copies: int = 1) -> bytes | None:
        """The value; of a per-CPU map `copies` values, each padded to 8 bytes. None: no entry."""
        value = ctypes.create_string_buffer((self.value_size + 7) // 8 * 8 * copies)
        if library().bpf_map_lookup_elem(self.fd, key, value):
            return None
        return value.raw

    def view(self, writable: bool = False) -> mmap.mmap:
        """The whole map as memory, one value after the other; no system call per read."""
        size = (self.value_size + 7) // 8 * 8 * self.entries
        size = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE
        rights = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        return mmap.mmap(self.fd, size, mmap.MAP_SHARED, rights)


class CgroupIterator:
    """A program attached to walk the cgroup tree below one directory."""

    def __init__(self, link: int) -> None:
        self._fd = int(library().bpf_link__fd(link))

    def run(self) -> None:
        """Walks the tree once, in the kernel; returns when every cgroup was visited."""
        session = library().bpf_iter_create(self._fd)
        if session < 0:
            raise _refused("starting a cgroup iterator", -session)
        try:
            while os.read(session, 4096):
                pass
        finally:
            os.close(session)


class Object:
    """A compiled BPF object: opened, configured, loaded, attached; all of it ends with `close`."""

    def __init__(self, path: Path) -> None:
        _log.clear()
        if not path.exists():
            raise NoBpf(f"The compiled program {path.name} is missing.", "make build")
        self._links: list[int] = []
        self._fds: set[int] = set()  # of links that libbpf did not make
        with _undisturbed():
            self._handle = library().bpf_object__open_file(str(path).encode(), None)
        if not self._handle:
            raise _refused(f"opening {path.name}", ctypes.get_errno())

    def set_section(self, section: str, offset: int, value: bytes) -> None:
        """Writes `value` into a data section (".rodata") before the object is loaded."""
        size = c_size_t()
        handle = self._map(section)
        start = library().bpf_map__initial_value(handle, byref(size))
        if not start or offset + len(value) > size.value:
            raise KernelRefused(
                f"{section} holds {size.value} bytes, {offset + len(value)} needed."
            )
        ctypes.memmove(start + offset, value, len(value))

    def leave_out(self, program: str) -> None:
        """Does not load `program`: this host lacks what it attaches to."""
        library().bpf_program__set_autoload(self._program(program), False)

    def resize(self, name: str, entries: int) -> None:
        """Sets how many entries a map has, before the object is loaded."""
        library().bpf_map__set_max_entries(self._map(name), entries)

    def load(self) -> None:
        """Verifies and loads every program and makes every map."""
        _log.clear()
        for name in self.programs():
            handle = self._program(name)
            if library().bpf_program__section_name(handle) == b"uprobe":
                library().bpf_program__set_expected_attach_type(handle, uprobes.MULTI)
        with _undisturbed():
            code = library().bpf_object__load(self._handle)
        if code:
            raise _refused("loading the programs", -code)

    def map(self, name: str) -> Map:
        """The map of that name."""
        return Map(self._map(name))

    def programs(self) -> Iterator[str]:
        """Names of the programs in the object."""
        program = None
        while program := library().bpf_object__next_program(self._handle, program):
            yield library().bpf_program__name(program).decode()

    def attach(self, program: str) -> None:
        """Attaches a tracepoint program to what its section names."""
        self._keep(library().bpf_program__attach(self._program(program)), program)

    def attach_cgroup(self, program: str, directory: Path) -> None:
        """Attaches a socket program to the cgroup at `directory` and all below it."""
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._keep(library().bpf_program__attach_cgroup(self._program(program), fd), program)
        finally:
            os.close(fd)

    def attach_perf(self, program: str, event: int) -> None:
        """Runs a program whenever the perf event with this descriptor overflows; starts the event.

        The descriptor stays the caller's. The event stops with `close`.
        """
        own = os.dup(event)  # libbpf closes what it was given, but only where it succeeds
        link = library().bpf_program__attach_perf_event(self._program(program), own)
        if not link:
            code = ctypes.get_errno()
            os.close(own)
            raise _refused(f"attaching {program}", code)
        self._keep(link, program)

    def attach_uprobe(
        self, program: str, pid: int, path: str, offset: int, ret: bool = False
    ) -> Callable[[], None]:
        """Runs a program when a process comes to that place in a file, or (`ret`) back from it.

        `offset` is in bytes of the file; `pid` -1 means every process. `path` may lead through
        /proc/PID/root. What comes out detaches it again; `close` does, too. Raises NoBpf or
        KernelRefused where there is no such file or process, or a capability lacks: CAP_SYS_ADMIN
        before Linux 6.6, and CAP_SYS_PTRACE for /proc/PID/root.
        """
        try:
            fd = uprobes.attached(self.program_fd(program), pid, path, offset, ret)
        except OSError as error:
            raise _refused(f"attaching {program}", error.errno or errno.EINVAL) from error
        if fd is None:
            return self._attach_uprobe_by_perf(program, pid, path, offset, ret)
        self._fds.add(fd)
        return partial(self._close_link, fd)

    def _attach_uprobe_by_perf(
        self, program: str, pid: int, path: str, offset: int, ret: bool
    ) -> Callable[[], None]:
        handle = self._program(program)
        name = os.fsencode(path)
        link = library().bpf_program__attach_uprobe(handle, ret, pid, name, offset)
        return partial(self._detach, self._keep(link, program))

    def iterator(self, program: str, directory: Path) -> CgroupIterator:
        """An iterator over the cgroup at `directory` and all below it, parents first."""
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            info = _CgroupIterInfo(_DESCENDANTS_PRE, fd, 0)
            options = _IterOptions(
                ctypes.sizeof(_IterOptions), ctypes.addressof(info), ctypes.sizeof(info)
            )
            link = library().bpf_program__attach_iter(self._program(program), byref(options))
            return CgroupIterator(self._keep(link, program))
        finally:
            os.close(fd)

    def program_fd(self, program: str) -> int:
        """Descriptor of a loaded program, valid until `close`."""
        return int(library().bpf_program__fd(self._program(program)))

    def run(self, program: str, context: bytes = b"") -> None:
        """Runs a program of the section "syscall" once, in this call; `context` is handed to it."""
        words = ctypes.create_string_buffer(context, len(context)) if context else None
        options = _TestRunOptions(
            sz=ctypes.sizeof(_TestRunOptions),
            ctx_in=ctypes.addressof(words) if words else None,
            ctx_size_in=len(context),
        )
        code = library().bpf_prog_test_run_opts(self.program_fd(program), byref(options))
        if code:
            raise _refused(f"running {program}", -code)

    def close(self) -> None:
        """Detaches every program and frees every map."""
        while self._fds:
            os.close(self._fds.pop())
        while self._links:
            library().bpf_link__destroy(self._links.pop())
        if self._handle:
            library().bpf_object__close(self._handle)
            self._handle = None

    def _detach(self, link: int) -> None:
        if link in self._links:
            self._links.remove(link)
            library().bpf_link__destroy(link)

    def _close_link(self, fd: int) -> None:
        if fd in self._fds:
            self._fds.remove(fd)
            os.close(fd)

    def _keep(self, link: int | None, program: str) -> int:
        if not link:
            raise _refused(f"attaching {program}", ctypes.get_errno())
        self._links.append(link)
        return link

    def _map(self, name: str) -> int:
        handle = library().bpf_object__find_map_by_name(self._handle, name.encode())
        if not handle:
            raise KernelRefused(f"The BPF object has no map named {name}.", "make build")
        return int(handle)

    def _program(self, name: str) -> int:
        handle = library().bpf_object__find_program_by_name(self._handle, name.encode())
        if not handle:
            raise KernelRefused(f"The BPF object has no program named {name}.", "make build")
        return int(handle)
