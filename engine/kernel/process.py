"""Processes: who they are for certain (`identity`), and what one gives up before it becomes another."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterable

from engine.kernel import signals, syscalls
from engine.kernel.identity import (
    Identity,
    alive,
    identify,
    is_ending,
    open_pidfd,
    send_signal,
    start_time,
)

__all__ = [
    "CLD_EXITED",
    "PR_SET_DUMPABLE",
    "PR_SET_KEEPCAPS",
    "PR_SET_NAME",
    "PR_SET_NO_NEW_PRIVS",
    "PR_SET_TIMERSLACK",
    "RLIMITS",
    "RLIM_INFINITY",
    "USUAL_TIMER_SLACK_NS",
    "Identity",
    "alive",
    "default_signals",
    "exit_code",
    "forbid_new_privileges",
    "forget_caller",
    "hide",
    "identify",
    "is_ending",
    "keep_capabilities",
    "leave_keyring",
    "limit_value",
    "open_pidfd",
    "prctl",
    "reset_signals",
    "send_signal",
    "set_limit",
    "set_name",
    "start_time",
]

PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_SET_TIMERSLACK = 29
PR_SET_NO_NEW_PRIVS = 38
USUAL_TIMER_SLACK_NS = 50_000
_JOIN_SESSION_KEYRING = 1
CLD_EXITED = 1

_RLIMITS = """
RLIMIT_CPU RLIMIT_FSIZE RLIMIT_DATA RLIMIT_STACK RLIMIT_CORE RLIMIT_RSS RLIMIT_NPROC RLIMIT_NOFILE
RLIMIT_MEMLOCK RLIMIT_AS RLIMIT_LOCKS RLIMIT_SIGPENDING RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTPRIO
RLIMIT_RTTIME
"""
RLIMITS = tuple(_RLIMITS.split())
"""In the order of their numbers (asm-generic/resource.h)."""
RLIM_INFINITY = 0xFFFFFFFFFFFFFFFF


def exit_code(status: int) -> int:
    """The code of a wait status as shells say it: 128+n for signal n."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def prctl(what: str, option: int, value: int = 0) -> None:
    """One prctl(2) with one number."""
    if syscalls.libc().prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        syscalls.failed(what)


def forbid_new_privileges() -> None:
    """From now on exec gives no more privileges: no set-uid, no file capabilities (PR_SET_NO_NEW_PRIVS)."""
    prctl("forbid new privileges", PR_SET_NO_NEW_PRIVS, 1)


def keep_capabilities() -> None:
    """Have the permitted set outlive a change of user, up to the next exec (PR_SET_KEEPCAPS)."""
    prctl("keep capabilities", PR_SET_KEEPCAPS, 1)


def hide() -> None:
    """Let nobody without CAP_SYS_PTRACE look into this process or open its /proc/self/exe (CVE-2019-5736)."""
    prctl("hide this process", PR_SET_DUMPABLE, 0)


def forget_caller() -> None:
    """Timer slack and personality as at boot, whatever those of the process were that this one comes from."""
    prctl("reset the timer slack", PR_SET_TIMERSLACK, USUAL_TIMER_SLACK_NS)
    syscalls.libc().personality(ctypes.c_ulong(0))


def leave_keyring() -> None:
    """Join a new session keyring, so that no key of the caller's is to be had (keyctl(2))."""
    # A kernel without keys has none to hide; where the quota is full, none can be added either.
    with contextlib.suppress(OSError):
        syscalls.call("leave the keyring", syscalls.number("keyctl"), _JOIN_SESSION_KEYRING, None)


def set_name(name: str) -> None:
    """What `ps` shows as this thread's name, 15 bytes of it."""
    buffer = ctypes.create_string_buffer(os.fsencode(name)[:15])
    syscalls.libc().prctl(PR_SET_NAME, buffer, 0, 0, 0)


_prlimit = syscalls.libc().prlimit
_prlimit.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p)


def set_limit(name: str, soft: int, hard: int, pid: int = 0) -> None:
    """Set one resource limit of *pid* or this process (prlimit(2)); KeyError if unknown, -1 is no limit."""
    try:
        resource = RLIMITS.index(name)
    except ValueError:
        raise KeyError(name) from None
    if _prlimit(pid, resource, limit_value(soft, hard), None):
        syscalls.failed(f"set the limit {name}")


def limit_value(soft: int, hard: int) -> bytes:
    """``struct rlimit64`` of prlimit(2); -1 is no limit."""
    return struct.pack("=2Q", *(RLIM_INFINITY if value < 0 else value for value in (soft, hard)))


def reset_signals(numbers: Iterable[int]) -> None:
    """Give *numbers* their default action and unblock all, as a program expects them when it starts."""
    for number in numbers:
        signals.signal(number, signals.SIG_DFL)
    signals.pthread_sigmask(signals.SIG_SETMASK, ())


def default_signals() -> None:
    """`reset_signals` for every one that exec would leave ignored."""
    ignored = _ignored_signals()
    for number in range(1, 65):
        if ignored >> (number - 1) & 1:
            try:
                signals.signal(number, signals.SIG_DFL)
            except OSError:  # those that the C library keeps for itself, which posix_spawn(3) leaves ignored
                usual = bytes(32)
                syscalls.call("reset a signal", syscalls.number("rt_sigaction"), number, usual, None, 8)
    signals.pthread_sigmask(signals.SIG_SETMASK, ())


def _ignored_signals() -> int:
    """The mask of those that exec would leave ignored (proc_pid_status(5), SigIgn); it resets handlers."""
    descriptor = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _, _, rest = os.read(descriptor, 8192).partition(b"\nSigIgn:")
    finally:
        os.close(descriptor)
    return int(rest.split(None, 1)[0], 16)
