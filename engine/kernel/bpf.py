"""The two operations of bpf(2) that a device filter takes, and the few instructions that it is written in.

Instructions: Documentation/bpf/instruction-set.rst; programs: `BPF_PROG_TYPE_CGROUP_DEVICE` in linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence

from engine.kernel import syscalls

_NUMBERS = {"x86_64": 321, "aarch64": 280}
_PROG_LOAD = 5
_PROG_ATTACH = 8
_CGROUP_DEVICE_PROGRAM = 15
_CGROUP_DEVICE_ATTACH = 6
_ALLOW_MULTI = 2
"""Programs of the cgroups above keep their say."""

R0, R1, R2, R3, R4, R5 = range(6)


def load_word(destination: int, source: int, offset: int) -> bytes:
    """*destination* = the 32-bit word at *source* + *offset*."""
    return _instruction(0x61, destination, source, offset, 0)


def set_to(register: int, value: int) -> bytes:
    """*register* = *value*."""
    return _instruction(0xB7, register, 0, 0, value)


def copy(destination: int, source: int) -> bytes:
    """*destination* = *source*."""
    return _instruction(0xBF, destination, source, 0, 0)


def mask(register: int, bits: int) -> bytes:
    """*register* &= *bits*."""
    return _instruction(0x57, register, 0, 0, bits)


def shift_right(register: int, bits: int) -> bytes:
    """*register* >>= *bits*."""
    return _instruction(0x77, register, 0, 0, bits)


def skip_unless_equal(register: int, value: int, instructions: int) -> bytes:
    """Skip so many *instructions* unless *register* is *value*."""
    return _instruction(0x55, register, 0, instructions, value)


def skip_if_equal(register: int, value: int, instructions: int) -> bytes:
    """Skip so many *instructions* if *register* is *value*."""
    return _instruction(0x15, register, 0, instructions, value)


def skip_unless_same(register: int, other: int, instructions: int) -> bytes:
    """Skip so many *instructions* unless two registers are equal."""
    return _instruction(0x5D, register, other, instructions, 0)


def leave() -> bytes:
    """End the program; R0 is its result."""
    return _instruction(0x95, 0, 0, 0, 0)


def _instruction(code: int, destination: int, source: int, offset: int, value: int) -> bytes:
    return struct.pack("=BBhI", code, destination | source << 4, offset, value & 0xFFFFFFFF)


def attach_device_program(instructions: Sequence[bytes], cgroup: int) -> None:
    """Load a program that decides on device access in the cgroup2 directory that *cgroup* is open on.

    It lives as long as that cgroup. Raises OSError: ENOSYS or EINVAL where the kernel has no such programs,
    EPERM without CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN), EBADF if *cgroup* is a descriptor with O_PATH.
    """
    code = ctypes.create_string_buffer(b"".join(instructions))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    program = _bpf(
        _PROG_LOAD,
        struct.pack(
            "=IIQQIIQII",
            _CGROUP_DEVICE_PROGRAM,
            len(instructions),
            ctypes.addressof(code),
            ctypes.addressof(licence),
            0,
            0,
            0,
            0,
            0,
        ),
    )
    try:
        _bpf(_PROG_ATTACH, struct.pack("=IIII", cgroup, program, _CGROUP_DEVICE_ATTACH, _ALLOW_MULTI))
    finally:
        os.close(program)


def _bpf(command: int, attributes: bytes) -> int:
    number = _NUMBERS.get(os.uname().machine)
    if number is None:
        return syscalls.number("bpf")
    return syscalls.call(
        "load a device filter",
        number,
        command,
        ctypes.create_string_buffer(attributes, len(attributes)),
        len(attributes),
    )
