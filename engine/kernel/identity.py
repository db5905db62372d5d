"""Who a process is for certain. Numbers are used again; this imports nearly nothing, as everybody asks it."""

from __future__ import annotations

import os

from engine.kernel import signals
from engine.record import Record

_LINE = 4096
"""More than proc_pid_stat(5) ever has: 52 numbers and a name, which the kernel writes at once."""
_PF_EXITING = 0x4
"""Among a process's flags: it is ending (include/linux/sched.h)."""


class Identity(Record):
    """One process and no other: numbers are used again, numbers with a start time are not."""

    pid: int
    start: int
    """Clock ticks since boot (proc_pid_stat(5), field 22)."""


def start_time(pid: int) -> int | None:
    """When process *pid* started, in clock ticks since boot; None when there is none, or only its zombie."""
    fields = _status(pid)
    return None if fields is None else int(fields[19])


def _status(pid: int) -> list[bytes] | None:
    """What proc_pid_stat(5) has from its third field on, the state; None as for `start_time`."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):  # none, or one that is just being reaped
        return None
    try:
        fields = os.read(descriptor, _LINE).rpartition(b")")[2].split()
    except ProcessLookupError:
        return None
    finally:
        os.close(descriptor)
    return None if fields[0] in (b"Z", b"X") else fields


def identify(pid: int) -> Identity | None:
    """The identity of *pid* now, None when it is not alive."""
    start = start_time(pid)
    return None if start is None else Identity(pid, start)


def alive(who: Identity) -> bool:
    """Whether exactly *who* still runs."""
    return start_time(who.pid) == who.start


def is_ending(who: Identity) -> bool:
    """Whether *who* has ended, or has begun to: as a first process does while it ends the others.

    That is PF_EXITING among its flags (proc_pid_stat(5), field 9; pid_namespaces(7)).
    """
    fields = _status(who.pid)
    return fields is None or int(fields[19]) != who.start or bool(int(fields[6]) & _PF_EXITING)


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
