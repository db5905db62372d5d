"""How a process is scheduled, on processors and on disks, and what machine it believes to be on."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct

from engine.kernel import syscalls

_NUMBERS = {
    "x86_64": {"sched_setattr": 314, "ioprio_set": 251},
    "aarch64": {"sched_setattr": 274, "ioprio_set": 30},
}
POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
PERSONALITIES = {"LINUX": 0x0, "LINUX32": 0x8}
_PROCESS = 1
_EVERY_PROCESSOR = b"\xff" * 1024
"""A mask of 8192; the kernel takes those that there are and that the cgroup allows."""
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")


def scheduler(
    policy: int, flags: int, nice: int, priority: int, times: tuple[int, int, int] = (0, 0, 0)
) -> bytes:
    """``struct sched_attr`` of sched_setattr(2); *times* are runtime, deadline and period in nanoseconds."""
    return _ATTRIBUTES.pack(_ATTRIBUTES.size, policy, flags, nice, priority, *times)


def set_scheduler(attributes: bytes) -> None:
    """Schedule this process so (sched_setattr(2))."""
    syscalls.call("set the scheduler", _number("sched_setattr"), 0, attributes, 0)


def set_io_priority(kind: int, level: int) -> None:
    """The class, one of IO_CLASSES, and level 0 (first) to 7 of this process's input and output."""
    syscalls.call("set the I/O priority", _number("ioprio_set"), _PROCESS, 0, kind << 13 | level)


def forget_caller() -> None:
    """Be scheduled as usual, on every processor, however the process is that this one comes from.

    What this user may not take back stays as it is.
    """
    with contextlib.suppress(PermissionError):
        if os.sched_getscheduler(0) != os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    with contextlib.suppress(PermissionError):
        set_io_priority(0, 0)
    syscalls.libc().sched_setaffinity(0, ctypes.c_size_t(len(_EVERY_PROCESSOR)), _EVERY_PROCESSOR)


def set_personality(domain: int) -> None:
    """One of PERSONALITIES (personality(2))."""
    if syscalls.libc().personality(ctypes.c_ulong(domain)) < 0:
        syscalls.failed("set the personality")


def _number(name: str) -> int:
    machine = os.uname().machine
    return _NUMBERS[machine][name] if machine in _NUMBERS else syscalls.number(name)
