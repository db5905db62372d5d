"""Raw system calls that Python 3.11 does not offer, through the C library, with one funnel for their errors.

`ctypes.PyDLL` keeps the interpreter's lock during a call: a call that returns twice (`clone`) must come
back in both processes as it left. Numbers above 423 are the same on every architecture; the few older ones
are looked up.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable

_libc = ctypes.PyDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

_MACHINE = os.uname().machine
_OLDER = {
    "x86_64": {
        "clone": 56,
        "pivot_root": 155,
        "setns": 308,
        "unshare": 272,
        "capset": 126,
        "capget": 125,
        "keyctl": 250,
        "rt_sigaction": 13,
    },
    "aarch64": {
        "clone": 220,
        "pivot_root": 41,
        "setns": 268,
        "unshare": 97,
        "capset": 91,
        "capget": 90,
        "keyctl": 219,
        "rt_sigaction": 134,
    },
}
NR_OPEN_TREE = 428
NR_MOVE_MOUNT = 429
NR_FSOPEN = 430
NR_FSCONFIG = 431
NR_FSMOUNT = 432
NR_CLONE3 = 435
NR_CLOSE_RANGE = 436
NR_OPENAT2 = 437
NR_MOUNT_SETATTR = 442

AT_EMPTY_PATH = 0x1000
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

CLOSE_RANGE_CLOEXEC = 4

Argument = int | bytes | ctypes.Array[ctypes.c_char] | None


def number(name: str) -> int:
    """The number of the system call *name* here; OSError(ENOSYS) on an architecture not known to cowl."""
    try:
        return _OLDER[_MACHINE][name]
    except KeyError:
        raise OSError(errno.ENOSYS, f"{name} has no known number on {_MACHINE}") from None


def call(what: str, nr: int, *arguments: Argument) -> int:
    """Make system call *nr* and return its result; *what* says for people what was being done.

    Raises OSError whose `strerror` reads "cannot <what>: <the kernel's word>".
    """
    result: int = _syscall(ctypes.c_long(nr), *[_word(argument) for argument in arguments])
    if result < 0:
        failed(what)
    return result


def failed(what: str) -> None:
    """Raise the OSError of the last call of the C library that failed."""
    number_ = ctypes.get_errno()
    raise OSError(number_, f"cannot {what}: {os.strerror(number_)}")


def _word(argument: Argument) -> object:
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


def reason(error: OSError) -> str:
    """The kernel's word for *error* alone, without a path or a sentence of ours."""
    return os.strerror(error.errno) if error.errno else str(error)


def libc() -> ctypes.PyDLL:
    """The C library, with `errno` kept per thread."""
    return _libc


def openat2(directory: int, path: bytes | str, flags: int, resolve: int, mode: int = 0) -> int:
    """Open *path* below *directory* under the rules of *resolve* (openat2(2)); always close-on-exec.

    Raises plain OSErrors with *path* as file name, so that ENOENT, ELOOP and EXDEV can be told apart.
    """
    name = os.fsencode(path)
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve)
    code = errno.EAGAIN
    for _ in range(32):
        result: int = _syscall(
            ctypes.c_long(NR_OPENAT2), ctypes.c_long(directory), name, how, ctypes.c_long(len(how))
        )
        if result >= 0:
            return result
        code = ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(code, os.strerror(code), os.fsdecode(name))


def close_range(first: int, last: int = 0x7FFFFFFF, flags: int = 0) -> None:
    """Close (or with CLOSE_RANGE_CLOEXEC: mark) the descriptors *first* to *last* (close_range(2))."""
    try:
        call("close descriptors", NR_CLOSE_RANGE, first, last, flags)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EINVAL):
            raise
        _close_listed(first, last, flags)


def close_all_but(kept: Iterable[int]) -> None:
    """Close every descriptor above 2 that is not in *kept*."""
    first = 3
    for descriptor in sorted(kept):
        if descriptor > first:
            close_range(first, descriptor - 1)
        first = max(first, descriptor + 1)
    close_range(first)


def _close_listed(first: int, last: int = 0x7FFFFFFF, flags: int = 0) -> None:
    """What `close_range` does, on kernels without it (before 5.9; its flag came with 5.11)."""
    for entry in os.listdir("/proc/self/fd"):
        descriptor = int(entry)
        if not first <= descriptor <= last:
            continue
        try:
            if flags & CLOSE_RANGE_CLOEXEC:
                os.set_inheritable(descriptor, False)
            else:
                os.close(descriptor)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
