"""What a process that stays for long asks of the kernel, touching as little memory as can be.

A page that a fork shares with its parent is its own from when it is written to, which counting a reference in
it does already. So the functions are looked up before the fork, and a call is no more than a call.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

from engine.kernel import syscalls

_PR_SET_CHILD_SUBREAPER = 36
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT = 16 << 10
"""Bytes free at the end of the heap that are kept for the next need."""
_LARGE = 32 << 10
"""Bytes of a piece that is not of the heap at all, and given back when it is not needed."""

_prctl = syscalls.libc()["prctl"]
_prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)


@contextlib.contextmanager
def adopting() -> Iterator[None]:
    """Be the parent of those below this process whose own parent ends meanwhile (PR_SET_CHILD_SUBREAPER)."""
    if _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        syscalls.failed("adopt processes")
    try:
        yield
    finally:
        _prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def name(text: str) -> None:
    """What `ps` shows as this process's name, 15 bytes of it (proc_pid_comm(5))."""
    descriptor = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def hoard_nothing() -> None:
    """Have memory that this process and its forks free go back to the kernel at once (mallopt(3)).

    By itself the allocator keeps as much as it has ever needed at once.
    """
    with contextlib.suppress(AttributeError):  # another C library, which has its own ways
        mallopt = syscalls.libc().mallopt
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
