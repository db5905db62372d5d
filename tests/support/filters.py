"""A machine for classic BPF, and libseccomp as the judge of what a profile means."""

from __future__ import annotations

import ctypes
import functools
import os
import struct
from collections.abc import Sequence
from typing import Any

from engine.oci import syscalls

LIBRARY = "libseccomp.so.2"
_WORD = 0xFFFFFFFF
_MISSING = "is not here: apt-get install libseccomp2"


def run(program: bytes, token: int, number: int, arguments: Sequence[int]) -> int:
    """What *program* answers to one system call."""
    words = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number & _WORD, token, 0, *words)
    code = _instructions(program)
    accumulator = position = 0
    while True:
        operation, when_true, when_false, value = code[position]
        position += 1
        if operation == 0x06:
            return int(value)
        if operation == 0x20:
            assert value % 4 == 0, "the kernel refuses unaligned loads"
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif operation == 0x54:
            accumulator &= value
        elif operation == 0x05:
            position += value
        elif operation in (0x15, 0x25, 0x35):
            holds = accumulator == value or (operation != 0x15 and accumulator > value)
            if operation == 0x25 and accumulator == value:
                holds = False
            position += when_true if holds else when_false
        else:
            # Only libseccomp's programs have these.
            position, accumulator = _other(operation, value, when_true, when_false, position, accumulator)


@functools.lru_cache(maxsize=16)
def _instructions(program: bytes) -> list[tuple[int, ...]]:
    return list(struct.iter_unpack("=HBBI", program))


def _other(
    operation: int, value: int, when_true: int, when_false: int, position: int, accumulator: int
) -> tuple[int, int]:
    if operation == 0x45:
        return position + (when_true if accumulator & value else when_false), accumulator
    raise AssertionError(f"unknown instruction {operation:#x}")


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


_OPERATORS = {"NE": 1, "LT": 2, "LE": 3, "EQ": 4, "GE": 5, "GT": 6, "MASKED_EQ": 7}
_TOKENS = {"SCMP_ARCH_X86_64": 0xC000003E, "SCMP_ARCH_X86": 0x40000003, "SCMP_ARCH_X32": 0x4000003E}
ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}


def missing() -> str:
    """Why there is no judge; empty when there is."""
    if os.uname().machine != "x86_64":
        return "the judge is asked about x86 alone"
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return f"{LIBRARY} {_MISSING}"
    return ""


def judged(profile: dict[str, Any]) -> bytes:
    """The program that libseccomp makes of a `linux.seccomp` object, fed as runc feeds it."""
    library = ctypes.CDLL(LIBRARY)
    library.seccomp_init.restype = ctypes.c_void_p
    default = _action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(default)))
    assert context.value
    try:
        for name in profile.get("architectures", ()):
            status = library.seccomp_arch_add(context, ctypes.c_uint32(_TOKENS[name]))
            assert status in (0, -17), status
        for entry in profile.get("syscalls", ()):
            action = _action(entry["action"], entry.get("errnoRet"))
            if action != default:  # libseccomp refuses what changes nothing
                for name in entry["names"]:
                    _add(library, context, action, name, entry.get("args", ()))
        return _export(library, context)
    finally:
        library.seccomp_release(context)


def _action(name: str, data: int | None) -> int:
    action = ACTIONS[name]
    return action | (1 if data is None else data) if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE") else action


def _add(
    library: Any, context: ctypes.c_void_p, action: int, name: str, arguments: Sequence[dict[str, Any]]
) -> None:
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number == -1:
        return
    comparisons = [
        _Comparison(
            entry["index"],
            _OPERATORS[entry["op"].removeprefix("SCMP_CMP_")],
            entry["value"],
            entry.get("valueTwo", 0),
        )
        for entry in arguments
    ]
    alone = len({each.arg for each in comparisons}) < len(comparisons)
    for group in [[each] for each in comparisons] if alone else [comparisons]:
        array = (_Comparison * max(len(group), 1))(*group)
        status = library.seccomp_rule_add_array(
            context, ctypes.c_uint32(action), number, ctypes.c_uint(len(group)), array
        )
        assert status in (0, -17), (name, status)


def _export(library: Any, context: ctypes.c_void_p) -> bytes:
    file = os.memfd_create("filter")
    try:
        assert library.seccomp_export_bpf(context, file) == 0
        return os.pread(file, 1 << 20, 0)
    finally:
        os.close(file)


def unknown(architecture: syscalls.Architecture) -> set[int]:
    """Numbers of *architecture* that we know, and a libseccomp that is older does not."""
    library = ctypes.CDLL(LIBRARY)
    token = architecture.token
    numbers = syscalls.tables([architecture])[architecture.name]
    return {
        number
        for name, number in numbers.items()
        if library.seccomp_syscall_resolve_name_arch(ctypes.c_uint32(token), name.encode()) == -1
    }


def newest(profile: dict[str, Any], architecture: syscalls.Architecture) -> int:
    """The highest number that *profile* names on *architecture*, through its gates too; -1 for none."""
    numbers = syscalls.tables([architecture])[architecture.name]
    names = {name for entry in profile.get("syscalls", ()) for name in entry["names"]}
    if architecture is syscalls.X86:
        names |= {syscalls.GATES[name].call for name in names & syscalls.GATES.keys()}
    return max((numbers[name] for name in names if name in numbers), default=-1)
