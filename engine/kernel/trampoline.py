"""The last step into a program: through an executable of a few instructions that belongs to nobody.

Whoever executes a container's program is, until then, the host's interpreter: `/proc/self/exe` is the host's
file. A program that is a link to there, or a script that names it as its interpreter, would have the kernel
run the host's file in the container, where it can be changed through its own `/proc/self/exe`
(CVE-2019-5736). So the process first becomes the executable made here, in memory, sealed and used once; that
executes the program, or says why it cannot.

On success the channel closes, as by the caller's close-on-exec flag; else one packet goes over it: what was
given for that, with the number of the error, 4 bytes, little-endian, behind it.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Mapping, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_BASE = 0x400000
"""Where it is mapped."""
_HEADERS = 64 + 2 * 56
_MACHINES = {"x86_64": 62, "aarch64": 183}
"""ELF's numbers of the architectures (EM_…)."""

_CODE = {
    # fcntl(channel, F_SETFD, FD_CLOEXEC); execve(argv[0], argv + 1, envp);
    # writev(channel, [answer, errno], 2); exit_group(125). argv and envp are its own, as the kernel put them
    # on its stack; behind the code lie the channel, the length of the answer, and the answer.
    "x86_64": (
        "488d1d690000004989e58b3bbe02000000ba01000000b8480000000f054885c07818498b4d00498b7d08498d"
        "7510498d54cd10b83b0000000f05f7d8504989e06a0441508b4b0451488d4b08518b3b4889e6ba02000000b8"
        "140000000f05bf7d000000b8e70000000f05f40f1f440000"
    ),
    "aarch64": (
        "13040010f4030091600240b9410080d2220080d2280380d2010000d4e000f8b7830240f9800640f981420091"
        "220c038ba81b80d2010000d4e003004bffc300d1e01300f963220091640640b9e31300a9e5830091860080d2"
        "e51b01a9600240b9e1030091420080d2480880d2010000d4a00f80d2c80b80d2010000d41f2003d5"
    ),
}
_MFD_EXEC = 0x10
"""Linux 6.3."""


def available() -> bool:
    """Whether the instructions for this machine are known."""
    return os.uname().machine in _CODE


def prepare(channel: int, answer: bytes) -> int:
    """A descriptor of an executable that becomes the program at the path that its first argument is.

    When that fails, *answer* and the error go over the descriptor *channel*, which is made to go through the
    next exec, and the process is gone with code 125. Raises OSError where no such file can be made.
    """
    file = _file(image(os.uname().machine, channel, answer))
    os.set_inheritable(channel, True)
    return file


def enter(file: int, path: str, args: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Become the program *path*, over what `prepare` made. Raises OSError where that cannot be executed."""
    try:
        # By a path first: a filter is more likely to know execve than execveat.
        os.execve(f"/proc/self/fd/{file}", [path, *args], dict(environment))
    except FileNotFoundError:
        os.execve(file, [path, *args], dict(environment))


def image(machine: str, channel: int, answer: bytes) -> bytes:
    """The executable (elf(5)): one segment that is read and executed. KeyError for an unknown machine."""
    code = bytes.fromhex(_CODE[machine])
    data = struct.pack("<iI", channel, len(answer)) + answer
    size = _HEADERS + len(code) + len(data)
    head = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        *(2, _MACHINES[machine], 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 2, 64, 0, 0),
    )
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x10000)
    stack = struct.pack("<IIQQQQQQ", 0x6474E551, 6, 0, 0, 0, 0, 0, 16)
    return head + load + stack + code + data


def _file(content: bytes) -> int:
    """A descriptor of *content* as a file in memory that nobody can change any more (memfd_create(2))."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        file = os.memfd_create("cowl-exec", flags | _MFD_EXEC)
    except OSError:
        file = os.memfd_create("cowl-exec", flags)
    os.write(file, content)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
    # The kernel refuses to execute what is open for writing: it is opened anew, and that one closed.
    try:
        return os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(file)
