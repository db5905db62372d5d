"""Filters for system calls: what this kernel can do with them, and installing one (seccomp(2))."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from engine.kernel import syscalls
from engine.record import Record

PR_GET_SECCOMP = 21
PR_SET_SECCOMP = 22
_MODE_FILTER = 2
_SET_MODE_FILTER = 1
_GET_ACTION_AVAIL = 2
_NUMBERS = {"x86_64": 317, "aarch64": 277}

FLAG_TSYNC = 1
FLAG_LOG = 2
FLAG_SPEC_ALLOW = 4
FLAG_WAIT_KILLABLE_RECV = 32

_INSTRUCTION_BYTES = 8
"""Of ``struct sock_filter``, see `engine.kernel.cbpf`."""
MAX_BYTES = 4096 * _INSTRUCTION_BYTES
"""The longest program that the kernel takes."""

KILL_THREAD = 0x00000000
KILL_PROCESS = 0x80000000
TRAP = 0x00030000
ERRNO = 0x00050000
TRACE = 0x7FF00000
LOG = 0x7FFC0000
ALLOW = 0x7FFF0000
"""What a filter answers (linux/seccomp.h, SECCOMP_RET_…); its lower 16 bits are data for ERRNO and TRACE."""


class Filter(Record):
    """A program that decides on every system call; an empty one is none."""

    program: bytes = b""
    """Classic BPF over ``struct seccomp_data``."""
    flags: int = 0
    """FLAG_… bits."""


NONE = Filter()


def available() -> bool:
    """Whether this kernel has filters for system calls (CONFIG_SECCOMP_FILTER)."""
    prctl = syscalls.libc().prctl
    if prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0:
        return False
    # A null pointer for a program: EFAULT where there are filters, EINVAL with the strict mode alone.
    prctl(PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), None, 0, 0)
    return ctypes.get_errno() == errno.EFAULT


def knows_action(action: int) -> bool:
    """Whether this kernel can take *action*, a SECCOMP_RET_… number, on a call."""
    number = _NUMBERS.get(os.uname().machine)
    if number is None:
        return False
    try:
        asked = struct.pack("=I", action)
        syscalls.call("ask for an action", number, _GET_ACTION_AVAIL, 0, asked)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        return False
    return True


def install(wanted: Filter) -> None:
    """Hold this process, of one thread, and all that come of it to *wanted*, for good.

    Needs either no_new_privs or CAP_SYS_ADMIN. Raises OSError: EACCES without both, EINVAL for a program
    that the kernel refuses, a flag that it does not know, or a kernel without filters.
    """
    head, _code = packed(wanted)
    number = _NUMBERS.get(os.uname().machine)
    if number is not None:
        syscalls.call("install the seccomp filter", number, _SET_MODE_FILTER, wanted.flags, head)
    elif wanted.flags:
        raise OSError(errno.EINVAL, "cannot install the seccomp filter: its flags need seccomp(2)")
    elif syscalls.libc().prctl(PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), head, 0, 0):
        syscalls.failed("install the seccomp filter")


def packed(wanted: Filter) -> tuple[bytes, ctypes.Array[ctypes.c_char]]:
    """``struct sock_fprog``, and the instructions that it points at, which have to stay."""
    count = len(wanted.program) // _INSTRUCTION_BYTES
    code = ctypes.create_string_buffer(wanted.program, len(wanted.program))
    return struct.pack("@HP", count, ctypes.addressof(code)), code


def modes(pid: int | str = "self") -> tuple[int, int]:
    """How *pid* is held: mode (0 not, 1 strict, 2 filters) and how many filters; -1 where it is not told."""
    found = {b"Seccomp": -1, b"Seccomp_filters": -1}
    with open(f"/proc/{pid}/status", "rb") as file:
        for line in file:
            name, _, value = line.partition(b":")
            if name in found:
                found[name] = int(value)
    return found[b"Seccomp"], found[b"Seccomp_filters"]
