"""Capabilities: names, masks, and the five sets of this process (capabilities(7))."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable

from engine.kernel import syscalls
from engine.record import Record

_NAMES = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT
SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL
SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
NAMES = tuple(_NAMES.split())
"""In the order of their numbers (linux/capability.h)."""
NUMBERS = {f"CAP_{name}": number for number, name in enumerate(NAMES)}

SYS_ADMIN = 1 << NUMBERS["CAP_SYS_ADMIN"]

PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4
_VERSION_3 = 0x20080522


class Sets(Record):
    """The five sets of a process, as bit masks."""

    effective: int
    permitted: int
    inheritable: int
    bounding: int
    ambient: int


def mask(names: Iterable[str]) -> int:
    """The bit mask of ``CAP_…`` *names*; KeyError for one that is not known."""
    result = 0
    for name in names:
        result |= 1 << NUMBERS[name]
    return result


def names(bits: int) -> list[str]:
    """The names in a bit mask, in the order of their numbers."""
    return [f"CAP_{name}" for number, name in enumerate(NAMES) if bits >> number & 1]


def own() -> Sets:
    """The sets of this process (proc_pid_status(5))."""
    found = {}
    with open("/proc/thread-self/status", "rb") as file:
        for line in file:
            if line.startswith(b"Cap"):
                key, _, value = line.partition(b":")
                found[key] = int(value, 16)
    return Sets(found[b"CapEff"], found[b"CapPrm"], found[b"CapInh"], found[b"CapBnd"], found[b"CapAmb"])


def drop_bounding(keep: int) -> None:
    """Take every capability but those of *keep* out of the bounding set. Needs CAP_SETPCAP."""
    prctl = syscalls.libc().prctl
    for number in range(64):
        if not keep >> number & 1 and prctl(PR_CAPBSET_DROP, ctypes.c_ulong(number), 0, 0, 0):
            if ctypes.get_errno() == errno.EINVAL:  # past the last capability of this kernel
                break
            syscalls.failed("drop a capability from the bounding set")


def clear_ambient() -> None:
    """Empty the ambient set."""
    if syscalls.libc().prctl(PR_CAP_AMBIENT, ctypes.c_ulong(PR_CAP_AMBIENT_CLEAR_ALL), 0, 0, 0):
        syscalls.failed("clear the ambient capabilities")


def raise_ambient(bits: int) -> None:
    """Add *bits*, which must be permitted and inheritable, to the ambient set."""
    for number in range(len(NAMES)):
        if bits >> number & 1 and syscalls.libc().prctl(
            PR_CAP_AMBIENT, ctypes.c_ulong(PR_CAP_AMBIENT_RAISE), ctypes.c_ulong(number), 0, 0
        ):
            syscalls.failed("raise an ambient capability")


def set_sets(effective: int, permitted: int, inheritable: int) -> None:
    """Set three of this process's sets at once (capset(2))."""
    header, data = packed(effective, permitted, inheritable)
    syscalls.call("set capabilities", syscalls.number("capset"), header, data)


def packed(effective: int, permitted: int, inheritable: int) -> tuple[bytes, bytes]:
    """The two structures that capset(2) takes."""
    low = 0xFFFFFFFF
    sets = struct.pack(
        "=6I",
        *(effective & low, permitted & low, inheritable & low),
        *(effective >> 32, permitted >> 32, inheritable >> 32),
    )
    return struct.pack("=Ii", _VERSION_3, 0), sets


def last() -> int:
    """The number of the last capability that this kernel knows."""
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        return int(file.read())


def is_root() -> bool:
    """Whether this process has what making containers takes: CAP_SYS_ADMIN as user 0."""
    return os.geteuid() == 0 and bool(own().effective >> NUMBERS["CAP_SYS_ADMIN"] & 1)
