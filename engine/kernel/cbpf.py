"""Classic BPF over ``struct seccomp_data``: the few instructions that a seccomp filter is written in.

Code is a list of instructions that is built from its end to its beginning: what a jump skips is known when
the jump is made. Sources: linux/bpf_common.h, linux/seccomp.h, Documentation/networking/filter.rst.
"""

from __future__ import annotations

import struct
from typing import TypeAlias

INSTRUCTION = struct.Struct("=HBBI")
"""``struct sock_filter``: code, instructions to skip if true and if false, constant."""
MAX_INSTRUCTIONS = 4096
"""BPF_MAXINSNS."""

Instruction: TypeAlias = tuple[int, int, int, int]
Code: TypeAlias = list[Instruction]

LOAD = 0x20
"""The 32-bit word at an offset of seccomp_data."""
JUMP = 0x05
IF_EQUAL = 0x15
IF_GREATER = 0x25
IF_NOT_LESS = 0x35
AND = 0x54
RETURN = 0x06

NUMBER = 0
"""Offset of the number of the system call."""
ARCHITECTURE = 4
_ARGUMENTS = 16
_FARTHEST = 255
"""Instructions that a condition can skip; an unconditional jump has no such end."""


def low(index: int) -> int:
    """Offset of the less significant word of argument *index*, on the little-endian machines known here."""
    return _ARGUMENTS + 8 * index


def high(index: int) -> int:
    """Offset of the more significant word of argument *index*."""
    return _ARGUMENTS + 8 * index + 4


def load(offset: int) -> Instruction:
    """Take the word at *offset* of seccomp_data."""
    return (LOAD, 0, 0, offset)


def keep_bits(mask: int) -> Instruction:
    """Clear all bits but those of *mask* in the word taken."""
    return (AND, 0, 0, mask)


def leave(action: int) -> Code:
    """End with *action*, a SECCOMP_RET_… number with its data."""
    return [(RETURN, 0, 0, action)]


def choose(test: int, value: int, when_true: Code, when_false: Code) -> Code:
    """*when_true* or *when_false*, each of which must end in `leave`, by the word taken and *value*."""
    if len(when_false) <= _FARTHEST:
        return [(test, len(when_false), 0, value), *when_false, *when_true]
    return [(test, 0, 1, value), (JUMP, 0, 0, len(when_false)), *when_false, *when_true]


def skip(test: int, value: int, if_true: int = 0, if_false: int = 0) -> Instruction:
    """Skip so many instructions, at most 255, when *test* with *value* holds, or when it does not."""
    return (test, if_true, if_false, value)


def assemble(code: Code) -> bytes:
    """*code* as the kernel takes it. Raises ValueError when it is too long."""
    if len(code) > MAX_INSTRUCTIONS:
        raise ValueError(f"{len(code)} instructions are more than the kernel takes, {MAX_INSTRUCTIONS}")
    return b"".join([INSTRUCTION.pack(*instruction) for instruction in code])
