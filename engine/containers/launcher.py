"""The launcher: a small single-threaded process that forks monitors and execs for programs that have threads.

Each request is one packet with the server's end of a fresh socketpair; all further talk is between that
monitor and whoever asked. The launcher itself keeps no state, so that its death takes nothing along.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
from _thread import allocate_lock
from collections.abc import Sequence
from typing import NoReturn

from engine.containers import monitor, request
from engine.containers.request import Join, Launch
from engine.errors import LaunchError

_INLINE = 32 << 10
"""Bytes of a request that go in the packet itself; longer ones go as an open file."""
_CODE = "import sys; sys.path.insert(0, {path!r}); from engine.containers.launcher import main; main()"


def launch_here(
    work: Launch | Join, descriptors: Sequence[int] = (), *, orphan: bool = False
) -> socket.socket:
    """Fork a monitor from this process, which must have no other threads; our end of its control socket.

    With *orphan* it is nobody's child, so that nobody has to wait for it.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        if orphan and os.fork():
            os._exit(0)
        _serve(work, theirs, list(descriptors))
    theirs.close()
    if orphan:
        os.waitpid(pid, 0)
    return ours


def _serve(work: Launch | Join, control: socket.socket, descriptors: list[int]) -> NoReturn:
    if isinstance(work, Launch):
        monitor.run(work, control)
    from engine.containers import joining

    joining.run(work, control, descriptors)


class Launcher:
    """A launcher process of this one; started at the first request, may be used from any thread."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._socket: socket.socket | None = None
        self._pid = 0

    def launch(self, work: Launch | Join, descriptors: Sequence[int] = ()) -> socket.socket:
        """Have *work* done; our end of its socket. Raises LaunchError when no launcher can be had."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kind = "start" if isinstance(work, Launch) else "exec"
        data = request.encode(kind, work)
        with contextlib.ExitStack() as stack:
            stack.callback(theirs.close)
            passed = [theirs.fileno(), *descriptors]
            if len(data) > _INLINE:
                file = os.memfd_create("cowl-request", os.MFD_CLOEXEC)
                stack.callback(os.close, file)
                os.write(file, data)
                passed.append(file)
                data = b"@"
            self._send(data, passed)
        return ours

    def _send(self, data: bytes, descriptors: Sequence[int]) -> None:
        for attempt in range(2):
            with self._lock:
                channel = self._socket or self._spawn()
            try:
                request.send_descriptors(channel, data, descriptors)
            except OSError as error:  # it was killed; another one does as well
                self.close()
                if attempt:
                    raise LaunchError("cannot reach the launcher", error.strerror or str(error)) from error
            else:
                return

    def _spawn(self) -> socket.socket:
        """Start the process (posix_spawn(3): no fork of ours); its socket becomes its standard input."""
        import engine

        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        home = os.path.dirname(os.path.dirname(os.path.abspath(engine.__file__ or "")))
        actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)]
        arguments = [sys.executable, "-I", "-S", "-c", _CODE.format(path=home)]
        try:
            self._pid = os.posix_spawn(sys.executable, arguments, os.environ, file_actions=actions)
        except OSError as error:
            ours.close()
            raise LaunchError("cannot start the launcher", error.strerror or str(error)) from error
        finally:
            theirs.close()
        self._socket = ours
        return ours

    def close(self) -> None:
        """End the launcher; what it has launched runs on."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
            if self._pid:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(self._pid, 0)
                self._pid = 0


def main() -> NoReturn:
    """The launcher process: until nobody holds the other end of its socket."""
    from engine.containers import joining
    from engine.kernel import process, terminal

    channel = socket.socket(fileno=os.dup(0))
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)
    os.setsid()
    os.chdir("/")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # monitors report to whoever asked, not to us
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.set_name("cowl-launcher")
    _warm(joining, terminal)
    while True:
        data, descriptors = request.receive_descriptors(channel)
        if not data:
            os._exit(0)
        try:
            _handle(data, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _warm(*_modules: object) -> None:
    """What every fork shares is loaded by now: keep the collector from touching, and so copying, it."""
    gc.collect()
    gc.disable()
    gc.freeze()


def _handle(data: bytes, descriptors: list[int]) -> None:
    if os.fork():
        return
    if data == b"@":
        file = descriptors.pop()
        size = os.fstat(file).st_size
        data = os.pread(file, size, 0)
    control = socket.socket(fileno=descriptors.pop(0))
    _serve(request.decode(data), control, descriptors)
