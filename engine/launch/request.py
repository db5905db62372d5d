"""What a launch is asked to do, and the packets that a monitor and whoever launched it exchange.

A packet is one message of a SOCK_SEQPACKET socket: a letter that says what it is, then bytes.
"""

from __future__ import annotations

import errno
import os
import struct

from engine import plainjson
from engine.errors import CommandNotFoundError, CowlError, LaunchError, NotExecutableError
from engine.kernel.channel import CMSG_SPACE, MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOL_SOCKET, Channel, pair
from engine.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

START_PREFIX = b'["start",'
"""How an encoded Launch begins."""
EXEC_PREFIX = b'["exec",'
"""How an encoded Join does."""
MAX_PACKET = 65536
"""Bytes of the largest packet; well under the default socket buffer."""
_INLINE = 32 << 10
"""Bytes of a request that go in the packet itself; longer ones go as an open file."""
_IN_FILE = b"@"
_NUMBER_FOLLOWS = b"\0"
_DESCRIPTOR = struct.calcsize("i")

# From the monitor.
STARTED = b"S"
"""The container runs; JSON: pid, started."""
FAILED = b"F"
"""It does not; JSON: what, why, hint, exit_code."""
STDOUT = b"o"
STDERR = b"e"
EXITED = b"X"
"""It has ended and everything that it said has been sent; JSON: exit_code, oom_killed, restarting."""
CLEAN = b"C"
"""Its cgroup and its monitor's files are gone: what is left is the client's to remove."""
TERMINAL = b"T"
"""The master of a terminal comes with this packet."""

GO = b"G"
"""To a first process that is ready: become the program."""

DISMISSED = b"D"
"""To a launcher that stands by: end."""

# From the client.
STDIN = b"i"
STDIN_END = b"z"
RESIZE = b"w"
"""Two 16-bit numbers: rows, columns."""
SIGNAL = b"k"
"""One byte: a signal for the container's first process."""
QUIET = b"q"
"""This client wants no output: only to hear of the end."""
REMOVED = b"r"
"""The client has removed the container: nothing is left to do."""


class Launch(Record):
    """A container to be started."""

    id: str
    name: str
    root: str
    """The store."""
    home: str
    """Its directory in the store, with config.json."""
    run: str
    """Its run-time directory."""
    revision: str
    """The file to touch when its state changes."""
    lowers: tuple[str, ...]
    """Layer directories, topmost first, without init/."""
    interactive: bool
    """Whether stdin stays open."""
    attached: bool
    """Whether the control socket's peer is a foreground client that takes the output."""
    auto_remove: bool
    health: tuple[Any, ...] | None
    """The fields of its Health, if that is checked."""
    restart: str
    """Its policy, see `engine.containers.restarting`."""
    log_max_size: int | None
    """Bytes."""
    log_max_files: int
    fresh: bool
    """Whether the process that forks the monitor never had the records open."""
    rows: int
    columns: int
    network: Any = None
    """What it wants of its bridge, as `engine.network.wish.Wish` has it; None without one."""
    shares: Sequence[Sequence[str]] = ()
    """Namespaces of other containers, see `engine.containers.joined`."""


class Join(Record):
    """A process to be started in a running container."""

    id: str
    pid: int
    """The container's first process."""
    pid_start: int
    cgroup: Any
    """As state.json has it."""
    process: dict[str, Any]
    """The runtime-spec's process object."""
    user: str
    filter: str
    """The seccomp filter's program in hex; empty for none."""
    filter_flags: int
    rows: int
    columns: int


class ProcessExit(Record):
    """How a container or an exec ended."""

    exit_code: int
    oom_killed: bool = False
    restarting: bool = False
    """Whether its policy will start it again."""


def encode(kind: str, request: Launch | Join) -> bytes:
    """A request as the launcher takes it."""
    return plainjson.dumps([kind, request]).encode()


def decode(data: bytes) -> Launch | Join:
    """What `encode` was given."""
    kind, fields = plainjson.loads(data)
    if kind == "start":
        return Launch(*fields)._replace(lowers=tuple(fields[Launch._fields.index("lowers")]))
    return Join(*fields)


class Received(Record):
    """A request that came over a socket."""

    work: Launch | Join
    control: Channel
    """For all further talk about it."""
    streams: list[int]


def send_request(channel: Channel, work: Launch | Join, control: Channel, streams: Sequence[int]) -> None:
    """Have whoever is at the other end of *channel* do *work*."""
    data = encode("start" if isinstance(work, Launch) else "exec", work)
    passed = [control.fileno(), *streams]
    if len(data) <= _INLINE:
        send_descriptors(channel, data, passed)
        return
    file = os.memfd_create("cowl-request", os.MFD_CLOEXEC)
    try:
        os.write(file, data)
        send_descriptors(channel, _IN_FILE, [*passed, file])
    finally:
        os.close(file)


def ask(channel: Channel, work: Launch | Join, streams: Sequence[int]) -> Channel:
    """Have whoever is at the other end of *channel* do *work*; our end of its control socket.

    Raises LaunchError when nobody is there.
    """
    ours, theirs = pair()
    with theirs:
        try:
            send_request(channel, work, theirs, streams)
        except OSError as error:
            ours.close()
            raise LaunchError("cannot start a process", "who was to do it was killed", "try again") from error
    return ours


def receive_request(channel: Channel) -> Received | None:
    """What `send_request` sent; None when there will be none."""
    data, descriptors = receive_descriptors(channel)
    return unpack(data, descriptors) if data else None


def unpack(data: bytes, descriptors: list[int]) -> Received:
    """The request of a packet that has been received."""
    if data == _IN_FILE:
        file = descriptors.pop()
        data = os.pread(file, os.fstat(file).st_size, 0)
        os.close(file)
    return Received(decode(data), Channel(fileno=descriptors[0]), descriptors[1:])


def send_descriptors(channel: Channel, data: bytes, descriptors: Sequence[int]) -> None:
    """Send one packet with open files (SCM_RIGHTS, unix(7))."""
    rights = (
        [(SOL_SOCKET, SCM_RIGHTS, struct.pack(f"{len(descriptors)}i", *descriptors))] if descriptors else []
    )
    channel.sendmsg([data], rights)


def receive_descriptors(channel: Channel, size: int = MAX_PACKET, most: int = 8) -> tuple[bytes, list[int]]:
    """One packet and the open files that came with it, close-on-exec; empty bytes at the end."""
    room = CMSG_SPACE(most * _DESCRIPTOR)
    data, ancillary, _, _ = channel.recvmsg(size, room, MSG_CMSG_CLOEXEC)
    found: list[int] = []
    for level, kind, payload in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            found.extend(struct.unpack_from(f"{len(payload) // _DESCRIPTOR}i", payload))
    return data, found


def is_defect(error: BaseException) -> bool:
    """Whether *error* is neither told on purpose nor the kernel's."""
    return not isinstance(error, CowlError | OSError)


def place_of(error: BaseException) -> str:
    """Where in the code it was raised: ``plan.py:12``; empty if that is not known."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    if step is None:
        return ""
    return f"{os.path.basename(step.tb_frame.f_code.co_filename)}:{step.tb_lineno}"


def failure(error: BaseException) -> bytes:
    """An error as the JSON of a FAILED packet; whatever is not ours counts as 125."""
    if isinstance(error, CowlError):
        code = error.exit_code if isinstance(error, LaunchError) else LaunchError.exit_code
        fields = {"what": error.what, "why": error.why, "hint": error.hint, "exit_code": code}
    else:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        if isinstance(error, OSError) and error.filename is not None and not why.startswith("cannot"):
            why = f"{why}: {error.filename!s}"
        if is_defect(error):
            why = f"a defect in cowl: {type(error).__name__}: {error}, in {place_of(error)}"
        fields = {"what": "cannot start the container", "why": why, "hint": "", "exit_code": 125}
    return plainjson.dumps(fields).encode()


def exec_failure(path: str) -> bytes:
    """A FAILED packet about *path* behind which the number of the error comes as four bytes."""
    return FAILED + plainjson.dumps({"path": path}).encode() + _NUMBER_FOLLOWS


def not_executed(path: str, number: int) -> LaunchError:
    """The error for a program whose execution failed with the errno *number*."""
    if number in (errno.ENOENT, errno.ENOTDIR):
        return CommandNotFoundError(
            f"cannot execute {path}", "the interpreter that it names is not in the image"
        )
    hint = "look at its mode and whether it is a directory" if number == errno.EACCES else ""
    if number == errno.ENOEXEC:
        machine = os.uname().machine
        hint = f"it has to begin with #!, or be for {machine}, or have an emulator registered in binfmt_misc"
    return NotExecutableError(f"cannot execute {path}", os.strerror(number), hint)


def raise_failure(data: bytes) -> LaunchError:
    """The typed error of a FAILED packet's body."""
    data, _, number = data.partition(_NUMBER_FOLLOWS)
    fields = plainjson.loads(data)
    if number:
        return not_executed(fields["path"], int.from_bytes(number, "little"))
    kinds: dict[int, type[LaunchError]] = {126: NotExecutableError, 127: CommandNotFoundError}
    return kinds.get(fields["exit_code"], LaunchError)(fields["what"], fields["why"], fields["hint"])
