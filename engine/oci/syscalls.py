"""Names and numbers of system calls on the architectures that a container here can run programs of.

The numbers are in ``syscalls.tsv``, a column for each architecture; they come from the kernel's own tables
(arch/*/tools/syscall.tbl, asm-generic/unistd.h). A number, once given, never changes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from engine.record import Record


class Architecture(Record):
    """One way of calling the kernel."""

    name: str
    """As the runtime-spec has it, without SCMP_ARCH_."""
    column: str
    """Of ``syscalls.tsv``."""
    token: int
    """AUDIT_ARCH_… of linux/audit.h."""
    base: int = 0
    """What is added to the numbers of the table."""
    wide: bool = True
    """Whether arguments have 64 bits."""


X32_BIT = 0x40000000
X86_64 = Architecture("X86_64", "x86_64", 0xC000003E)
X86 = Architecture("X86", "x86", 0x40000003, wide=False)
X32 = Architecture("X32", "x32", 0xC000003E, X32_BIT, wide=False)
AARCH64 = Architecture("AARCH64", "aarch64", 0xC00000B7)
ARM = Architecture("ARM", "arm", 0x40000028, wide=False)

FAMILIES: dict[str, tuple[Architecture, ...]] = {"x86_64": (X86_64, X86, X32), "aarch64": (AARCH64, ARM)}
"""By machine (uname(2)): its own architecture first, then those that it can run besides."""
OTHERS = frozenset(
    (
        *("MIPS", "MIPS64", "MIPS64N32", "MIPSEL", "MIPSEL64", "MIPSEL64N32", "PPC", "PPC64", "PPC64LE"),
        *("S390", "S390X", "PARISC", "PARISC64", "RISCV64", "LOONGARCH64", "M68K", "SH", "SHEB"),
    )
)
"""Architectures of the runtime-spec of which no program can run on a machine known here."""

_SOCKET_CALLS = (
    "socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom shutdown"
    " setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg"
)
_IPC_CALLS = {
    1: "semop semget semctl semtimedop",
    11: "msgsnd msgrcv msgget msgctl",
    21: "shmat shmdt shmget shmctl",
}


class Gate(Record):
    """A call of 32-bit x86 behind which others stand, chosen by its first argument."""

    call: str
    value: int
    mask: int


GATES: Mapping[str, Gate] = {
    **{name: Gate("socketcall", number, 0xFFFFFFFF) for number, name in enumerate(_SOCKET_CALLS.split(), 1)},
    # The upper half of ipc's first argument is a version.
    **{
        name: Gate("ipc", first + place, 0xFFFF)
        for first, names in _IPC_CALLS.items()
        for place, name in enumerate(names.split())
    },
}
"""Names that can be called through socketcall(2) and ipc(2) too (linux/net.h, linux/ipc.h)."""


def tables(architectures: Sequence[Architecture]) -> dict[str, dict[str, int]]:
    """For each of *architectures*, by its name: the number of every system call that it has."""
    with open(os.path.join(os.path.dirname(__file__), "syscalls.tsv"), encoding="ascii") as file:
        head, *lines = file.read().splitlines()
    columns = head.split("\t")
    rows = [line.split("\t") for line in lines]
    found = {}
    for architecture in architectures:
        column = columns.index(architecture.column)
        found[architecture.name] = {
            row[0]: int(row[column]) + architecture.base for row in rows if row[column] != "-"
        }
    return found
