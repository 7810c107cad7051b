"""Into another process's network namespace, for the calling thread alone (setns(2))."""

from __future__ import annotations

import ctypes
import os

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def enter(pid: int, wanted: int, proc: str = "/proc") -> None:
    """The calling thread's sockets are from now on of the namespace of `pid`.

    `wanted` is that namespace's inode: another process may have got the pid meanwhile. A thread
    that came here must end here. Raises OSError: ESRCH where it is another namespace, EPERM without
    CAP_SYS_ADMIN.
    """
    space = os.open(f"{proc}/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(space).st_ino != wanted:
            raise ProcessLookupError(3, "another process has its number")
        if _libc.setns(space, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(space)
