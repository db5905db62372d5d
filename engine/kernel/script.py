"""A script: system calls that a new process makes one after the other, with no interpreter at work in it.

A process that is forked to run Python has to copy each page that it touches, 2 to 4 µs a page, hundreds of
them before it becomes another program. One that only makes system calls touches none: it shares the memory
of whoever made it (CLONE_VM) until it executes a program, and its instructions are the few of `_CODE`.

A call names what it takes: numbers, bytes, places of the script's own memory, or results of earlier calls.
One that fails ends the script, which then says over a channel which call it was, or goes on at a label.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import struct
from collections.abc import Callable, Iterable, Sequence

from engine.kernel import signals, syscalls
from engine.record import Record

CLONE_VM = 0x100
CLONE_CLEAR_SIGHAND = 0x100000000
"""Handlers of the parent do not run in the child: they would in the parent's memory (Linux 5.5)."""
CLONE_INTO_CGROUP = 0x200000000

FAILED = b"U"
"""How the packet of a script that has ended begins."""
EXIT_CODE = 125

# Numbers of x86_64 (asm/unistd_64.h); `_CODE` is for it alone.
NR_WRITE = 1
NR_CLOSE = 3
NR_RT_SIGACTION = 13
NR_RT_SIGPROCMASK = 14
NR_IOCTL = 16
NR_SOCKET = 41
NR_SENDTO = 44
NR_RECVFROM = 45
NR_EXECVE = 59
NR_FCNTL = 72
NR_CHDIR = 80
NR_FCHDIR = 81
NR_FCHOWN = 93
NR_UMASK = 95
NR_SETSID = 112
NR_SETGROUPS = 116
NR_SETRESUID = 117
NR_SETRESGID = 119
NR_CAPSET = 126
NR_PIVOT_ROOT = 155
NR_PRCTL = 157
NR_MOUNT = 165
NR_UMOUNT2 = 166
NR_SETHOSTNAME = 170
NR_SETDOMAINNAME = 171
NR_EXIT_GROUP = 231
NR_KEYCTL = 250
NR_OPENAT = 257
NR_FACCESSAT = 269
NR_UNSHARE = 272
NR_DUP3 = 292
NR_PRLIMIT64 = 302
NR_SECCOMP = 317

_CODE = {
    # clone3(rdi, rsi): the parent returns. The child: r12 = rdx, the head; rbx = the record behind it. A
    # record is 11 words: number, six arguments, which of the first five are addresses of results (bits), the
    # least result that is no failure, the record for failures, where the result goes. A failing record and
    # its result are noted in the head.
    "x86_64": (
        "b8b30100000f054885c07401c34989d4488d5a184c8b6b38488b7b0841f6c5017403488b3f488b731041f6c5"
        "027403488b36488b531841f6c5047403488b124c8b532041f6c50874034d8b124c8b432841f6c51074034d8b"
        "004c8b4b30488b030f05488b4b50488901483b43407c064883c358eb9f49895c24084989442410488b5b48eb"
        "8f"
    ),
}
_HEAD = 24
"""Bytes: FAILED, the failing record, its result."""
_RECORD = 88
_WORDS = _RECORD // 8
_LEAST, _FAULT, _STORE = 8, 9, 10
_NEVER = 0x7FFFFFFFFFFFFFFF
_MSG_NOSIGNAL = 0x4000
_PROT_READ, _PROT_WRITE, _PROT_EXEC = 1, 2, 4
_MAP_PRIVATE, _MAP_ANONYMOUS = 0x02, 0x20
_MAP_FAILED = ctypes.c_void_p(-1).value
_PAGE = 4096


class Result(Record):
    """What a call has given, for the ones after it."""

    slot: int


class Label:
    """A place of a script to go on at."""

    def __init__(self) -> None:
        self.record = -1


class Failure(Record):
    """Where a script has ended."""

    what: str
    number: int
    """The errno."""


Argument = int | bytes | Result | Sequence[bytes]
"""A number; bytes, whose address is given; a result; several, as a list of pointers that ends with a null."""


class Script:
    """Calls to be made by one child; it has to outlive that child or its exec.

    *channel* is the descriptor over which the child says that it has failed.
    """

    def __init__(self, channel: int) -> None:
        self._words: list[int] = []
        self._whats: list[str] = []
        self._results = 0
        self._data = bytearray()
        self._pointers: list[tuple[int, int]] = []
        self._labels: list[tuple[int, Label]] = []
        self._vectors: list[tuple[int, Sequence[bytes]]] = []
        self._channel = channel
        self._kept: list[ctypes.Array[ctypes.c_char]] = []
        self._memory: ctypes.Array[ctypes.c_char] | None = None

    def call(
        self,
        what: str,
        number: int,
        *arguments: Argument,
        least: int = 0,
        otherwise: Label | None = None,
    ) -> Result:
        """Add a call; *what* says for people what is done. With a result below *least* it has failed.

        Then the script ends, or goes on at *otherwise*.
        """
        words = self._words
        start = len(words)
        words.append(number)
        bits = 0
        for position, argument in enumerate(arguments):
            if isinstance(argument, int):
                words.append(argument)
            elif isinstance(argument, Result):
                bits |= 1 << position
                words.append(argument.slot)
            else:
                self._pointers.append((start + 1 + position, len(self._data)))
                if isinstance(argument, bytes):
                    self._add(argument)
                else:
                    self._vectors.append((len(self._data), argument))
                    self._data += bytes(8 * (len(argument) + 1))
                words.append(0)
        words.extend((0,) * (6 - len(arguments)))
        if otherwise is not None:
            self._labels.append((start + _FAULT, otherwise))
        result = Result(self._results)
        self._results += 1
        words.extend((bits, least, 0, result.slot))
        self._whats.append(what)
        return result

    def label(self, label: Label) -> None:
        """What comes next is what *label* means."""
        label.record = len(self._whats)

    def attempt(self, what: str, number: int, *arguments: Argument) -> Result:
        """A call whose failure is nothing to mind."""
        after = Label()
        result = self.call(what, number, *arguments, otherwise=after)
        self.label(after)
        return result

    def stop(self, what: str) -> None:
        """End the script here."""
        self.call(what, NR_FCNTL, -1, 0, least=_NEVER)

    def keep(self, memory: ctypes.Array[ctypes.c_char]) -> None:
        """Hold on to *memory*, whose address is in an argument."""
        self._kept.append(memory)

    def run(self, flags: int, cgroup: int | None = None) -> int:
        """Make the child (clone3(2)) and return its pid. Raises OSError.

        *flags* are CLONE_NEW… bits, *cgroup* a descriptor of the cgroup2 directory in which it is born.
        """
        memory = self._memory = self.build()
        flags |= CLONE_VM | CLONE_CLEAR_SIGHAND | (0 if cgroup is None else CLONE_INTO_CGROUP)
        born = (flags, 0, 0, 0, signals.SIGCHLD, 0, 0, 0, 0, 0, 0 if cgroup is None else cgroup)
        wanted = ctypes.create_string_buffer(struct.pack("=11Q", *born), 88)
        pid = _instructions()(ctypes.addressof(wanted), 88, ctypes.addressof(memory))
        if pid < 0:
            raise OSError(-pid, f"cannot make a process: {os.strerror(-pid)}")
        return pid

    def why(self, packet: bytes) -> str:
        """What the child that sent *packet* could not do: the script, or the step behind it."""
        if packet[:1] != FAILED:
            return os.fsdecode(packet)
        failure = self.failure(packet)
        return f"cannot {failure.what}: {os.strerror(failure.number)}"

    def failure(self, packet: bytes) -> Failure:
        """Which call the script that sent *packet* has ended with."""
        _, record, result = struct.unpack("=8sQq", packet)
        memory = self._memory
        assert memory is not None
        index = (record - ctypes.addressof(memory) - _HEAD) // _RECORD
        return Failure(self._whats[index], -result if result < 0 else 0)

    def _add(self, content: bytes) -> None:
        self._data += content
        self._data += bytes(-len(self._data) % 8 or 8)

    def build(self) -> ctypes.Array[ctypes.c_char]:
        """The script as the instructions take it: head, records, results, data."""
        failed = Label()
        self.label(failed)
        end = len(self._whats)
        self.attempt("tell", NR_SENDTO, self._channel, 0, _HEAD, _MSG_NOSIGNAL, 0, 0)
        self.call("end", NR_EXIT_GROUP, EXIT_CODE)
        for position, vector in self._vectors:
            self._lay_out(position, vector)
        words = self._words
        results = _HEAD + len(words) * 8
        data = results + self._results * 8
        memory = ctypes.create_string_buffer(data + len(self._data))
        base = ctypes.addressof(memory)
        self._locate(base, base + _HEAD + end * _RECORD, base + results, base + data)
        words[end * _WORDS + 2] = base
        layout = f"=8s16x{len(words)}q{self._results * 8}x{len(self._data)}s"
        struct.pack_into(layout, memory, 0, FAILED, *words, bytes(self._data))
        return memory

    def _lay_out(self, position: int, vector: Sequence[bytes]) -> None:
        """Put the strings of *vector* into the data; the pointers at *position* are relative to it as yet."""
        for number, text in enumerate(vector):
            struct.pack_into("=q", self._data, position + 8 * number, len(self._data))
            self._add(text + b"\0")

    def _locate(self, base: int, failed: int, results: int, data: int) -> None:
        """Make addresses of what has been counted from 0."""
        words = self._words
        for start in range(0, len(words), _WORDS):
            bits = words[start + 7]
            position = start + 1
            while bits:
                if bits & 1:
                    words[position] = results + words[position] * 8
                bits >>= 1
                position += 1
            words[start + _FAULT] = failed
            words[start + _STORE] = results + words[start + _STORE] * 8
        for position, offset in self._pointers:
            words[position] = data + offset
        for position, label in self._labels:
            words[position] = base + _HEAD + label.record * _RECORD
        for position, vector in self._vectors:
            for number in range(len(vector)):
                (offset,) = struct.unpack_from("=q", self._data, position + 8 * number)
                struct.pack_into("=q", self._data, position + 8 * number, data + offset)


_Instructions = ctypes.PYFUNCTYPE(ctypes.c_long, ctypes.c_void_p, ctypes.c_long, ctypes.c_void_p)
_mmap = syscalls.libc()["mmap"]
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
_mmap.restype = ctypes.c_void_p
_mprotect = syscalls.libc()["mprotect"]
_mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def available() -> bool:
    """Whether scripts can be run here: the instructions are known, such memory can be had, and clone3(2).

    Filters that cannot look into its structure have it answer ENOSYS; a structure of no bytes is EINVAL.
    """
    try:
        return _instructions()(None, 0, None) == -errno.EINVAL
    except OSError:
        return False


@functools.cache
def _instructions() -> Callable[[int | None, int, int | None], int]:
    """`_CODE` in memory that can be executed and not written to. Raises OSError."""
    code = _CODE.get(os.uname().machine)
    if code is None:
        raise OSError(errno.ENOSYS, "no instructions for this machine")
    place = _mmap(None, _PAGE, _PROT_READ | _PROT_WRITE, _MAP_PRIVATE | _MAP_ANONYMOUS, -1, 0)
    if place in (None, _MAP_FAILED):
        syscalls.failed("get memory")
    instructions = bytes.fromhex(code)
    ctypes.memmove(place, instructions, len(instructions))
    if _mprotect(place, _PAGE, _PROT_READ | _PROT_EXEC):
        syscalls.failed("make memory executable")
    return _Instructions(place)


def close_all_but(script: Script, kept: Iterable[int]) -> None:
    """Have *script* close every descriptor above 2 that is not in *kept*."""
    first = 3
    for descriptor in sorted(kept):
        if descriptor > first:
            script.call("close descriptors", syscalls.NR_CLOSE_RANGE, first, descriptor - 1, 0)
        first = max(first, descriptor + 1)
    script.call("close descriptors", syscalls.NR_CLOSE_RANGE, first, 0x7FFFFFFF, 0)
