"""The server of commands: everything is loaded in it, and a fork of it carries out what somebody asks for.

It is a fork of the launcher that stands by (`engine.containers.standing`), whose memory it shares, for the
same callers, and lives no longer. It keeps nothing but modules: each command is a fresh process, which opens
the store itself. `engine.cli.calling` is the other side.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import marshal
import os
import signal
import struct
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from engine.cli import calling, main, report
from engine.containers import launcher, standing
from engine.containers.sources import Sources
from engine.kernel import lifeline, process
from engine.kernel.channel import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SO_PEERCRED,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    Channel,
)

_DESCRIPTORS = 5
_PEER = struct.Struct("=3i")
_LOADED = (
    *("engine.engine", "engine.cli.launch", "engine.cli.launchwords", "engine.cli.attaching"),
    *("engine.cli.group", "engine.cli.listing", "engine.cli.sampling", "engine.cli.watching"),
    *("engine.cli.containers", "engine.cli.system", "engine.cli.dockerwords", "engine.cli.imagelist"),
    *("engine.containers.lifecycle", "engine.containers.stats", "engine.containers.remains"),
    *("engine.containers.executing", "engine.containers.standby", "engine.oci.profile"),
    *("engine.images.images", "engine.images.forest", "engine.oci.history"),
    *("encodings.ascii", "locale", "datetime", "sqlite3", "difflib"),
)
"""What usual commands load where they need it."""


def stand(run: str, kind: str) -> NoReturn:
    """The launcher that stands by for processes of a *kind*, with a server beside it."""
    socket = f"{run}/{calling.socket_name(kind)}"
    launcher.stand(run, kind, launcher.Beside(socket, lambda: serve(run, calling.socket_name(kind))))


def serve(run: str, name: str) -> NoReturn:
    """Carry out commands until the launcher, this process's parent, ends, or what is loaded is stale."""
    process.set_name("cowl-server")
    load()
    loaded = Sources()
    gc.collect()
    gc.freeze()
    listener = Channel(AF_UNIX, SOCK_SEQPACKET)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{run}/{name}")
    standing.bind(listener, run, name)
    while True:
        caller = listener.accept()
        if loaded.changed():
            os._exit(0)
        if os.fork() == 0:
            listener.close()
            _work_for(caller)
        caller.close()


def load() -> None:
    """Import what commands would import where they need it."""
    for module in _LOADED:
        importlib.import_module(module)


def _work_for(caller: Channel) -> NoReturn:
    """Carry out what one caller asks for."""
    # Who is waited for is this process, and none that it may start.
    os.register_at_fork(after_in_child=caller.close)
    try:
        request = _hear(caller)
        if request is not None:
            caller.send(calling.DONE + b"%d" % _carry_out(request))
    finally:
        os._exit(1)


def _carry_out(request: dict[str, Any]) -> int:
    """Do it; the exit code."""
    try:
        _become(request)
        code = main.command(request["words"])
    except KeyboardInterrupt:  # before anything was done
        return report.INTERRUPTED
    with contextlib.suppress(OSError):  # nobody can be told
        sys.stderr.flush()
    return code


def _hear(caller: Channel) -> dict[str, Any] | None:
    """What is asked for, once the caller waits for it; None if it does not, or is somebody else."""
    uid = _PEER.unpack(caller.getsockopt(SOL_SOCKET, SO_PEERCRED, _PEER.size))[1]
    if uid != os.geteuid():
        return None
    data = caller.recv(calling.MAX_PACKET)
    if not data:
        return None
    request: dict[str, Any] = marshal.loads(data)
    if request["encoding"] != sys.getfilesystemencoding():
        return None
    # What the caller passes on waits until it is known what is to be done about it.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    own = os.pidfd_open(os.getpid())
    caller.sendmsg([calling.ACCEPTED], [(SOL_SOCKET, SCM_RIGHTS, struct.pack("=i", own))])
    os.close(own)
    data, ancillary, _, _ = caller.recvmsg(1, CMSG_SPACE(4 * _DESCRIPTORS), MSG_CMSG_CLOEXEC)
    if data != calling.GO:  # this was not waited for
        return None
    _take(struct.unpack(f"={_DESCRIPTORS}i", ancillary[0][2]))
    return request


def _take(descriptors: Sequence[int]) -> None:
    """Put what the caller has sent into its place: standard streams, directory, and the caller's life."""
    *streams, here, pipe = descriptors
    lifeline.end_with(pipe)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.fchdir(here)
    os.close(here)


def _become(request: dict[str, Any]) -> None:
    """Be to the command what the caller would have been."""
    process.set_name("cowl")
    os.umask(request["umask"])
    os.environ.clear()
    os.environb.update(request["environment"])
    time.tzset()
    sys.argv[1:] = request["words"]
    sys.stdin, sys.stdout, sys.stderr = (
        _stream(number, encoding, errors) for number, (encoding, errors) in enumerate(request["streams"])
    )
    gc.enable()
    gc.set_threshold(main.GARBAGE_THRESHOLD)
    _take_signals(request["ignored"], request["blocked"])


def _stream(number: int, encoding: str, errors: str) -> Any:
    """A standard stream as Python makes it: stderr says each line at once."""
    stream = open(  # noqa: SIM115 - for as long as the process lives
        number, "r" if number == 0 else "w", encoding=encoding, errors=errors, closefd=False
    )
    if number == 2:
        stream.reconfigure(line_buffering=True)
    return stream


def _take_signals(ignored: Sequence[int], blocked: Sequence[int]) -> None:
    for number in range(1, 32):
        if number in (signal.SIGKILL, signal.SIGSTOP):
            continue
        if number in ignored:
            signal.signal(number, signal.SIG_IGN)
        else:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
