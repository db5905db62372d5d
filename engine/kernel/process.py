"""Processes: who they are for certain, and what a process gives up before it becomes another."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterable

from engine.kernel import signals, syscalls
from engine.record import Record

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


class Identity(Record):
    """One process and no other: numbers are used again, numbers with a start time are not."""

    pid: int
    start: int
    """Clock ticks since boot (proc_pid_stat(5), field 22)."""


def start_time(pid: int) -> int | None:
    """When process *pid* started, in clock ticks since boot; None when there is none, or only its zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def identify(pid: int) -> Identity | None:
    """The identity of *pid* now, None when it is not alive."""
    start = start_time(pid)
    return None if start is None else Identity(pid, start)


def alive(who: Identity) -> bool:
    """Whether exactly *who* still runs."""
    return start_time(who.pid) == who.start


def open_pidfd(who: Identity) -> int | None:
    """A pidfd of exactly *who*, or None when it has ended (pidfd_open(2))."""
    try:
        descriptor = os.pidfd_open(who.pid)
    except ProcessLookupError:
        return None
    # The number was looked up before the start time is compared: whoever answers now is whom we hold.
    if alive(who):
        return descriptor
    os.close(descriptor)
    return None


def send_signal(who: Identity, number: int) -> bool:
    """Send a signal to exactly *who*; False when it has ended."""
    descriptor = open_pidfd(who)
    if descriptor is None:
        return False
    try:
        signals.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


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
    values = [RLIM_INFINITY if value < 0 else value for value in (soft, hard)]
    if _prlimit(pid, resource, struct.pack("=2Q", *values), None):
        syscalls.failed(f"set the limit {name}")


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
