"""The launcher: a small single-threaded process that forks monitors and execs for programs that have threads.

Each request is one packet with the server's end of a fresh socketpair; all further talk is between that
monitor and whoever asked. The launcher itself keeps no state, so that its death takes nothing along.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import sys
from _thread import allocate_lock
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from engine.containers import keeper, monitor
from engine.containers.nursery import Nursery
from engine.errors import LaunchError
from engine.kernel.channel import Channel, pair
from engine.launch import isolation, rehearsal, request
from engine.launch.request import Join, Launch
from engine.record import Record

if TYPE_CHECKING:
    from engine.containers.standing import Post

SPARE_DELAY_MS = 10.0
"""How long after a launch without a spare monitor one is forked for the next."""
SPARE_LATEST_MS = 1000.0
"""How long one that was given a launch may take to have its program running before the next is forked."""
_CODE = "import sys; sys.path.insert(0, {path!r}); from engine.containers.launcher import main; main()"


def fork_monitor(
    work: Launch | Join, descriptors: Sequence[int] = (), *, orphan: bool = False
) -> tuple[Channel, int | None]:
    """Have *work* done by a fork of this process, see `isolation.fork`."""
    return isolation.fork(lambda control: _serve(work, control, list(descriptors)), orphan=orphan)


def _serve(
    work: Launch | Join, control: Channel, descriptors: list[int], keeping: Channel | None = None
) -> NoReturn:
    if isinstance(work, Launch):
        monitor.run(work, control, keeping)
    from engine.launch import joining

    joining.run(work, control, descriptors)


class Launcher:
    """A launcher process of this one; started at the first request, may be used from any thread."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._socket: Channel | None = None
        self._pid = 0

    def launch(self, work: Launch | Join, descriptors: Sequence[int] = ()) -> Channel:
        """Have *work* done; our end of its socket. Raises LaunchError when no launcher can be had."""
        ours, theirs = pair()
        with theirs:
            self._send(work, theirs, descriptors)
        return ours

    def _send(self, work: Launch | Join, control: Channel, descriptors: Sequence[int]) -> None:
        for attempt in range(2):
            with self._lock:
                channel = self._socket or self._spawn()
            try:
                request.send_request(channel, work, control, descriptors)
            except OSError as error:  # it was killed; another one does as well
                self.close()
                if attempt:
                    raise LaunchError("cannot reach the launcher", error.strerror or str(error)) from error
            else:
                return

    def _spawn(self) -> Channel:
        """Start the process (posix_spawn(3): no fork of ours); its socket becomes its standard input."""
        ours, theirs = pair()
        home = os.path.abspath(__file__).removesuffix("/engine/containers/launcher.py")
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
    """The launcher of one program: until nobody holds the other end of its standard input."""
    channel = Channel(fileno=os.dup(0))
    _settle()
    _Desk(Nursery(rehearsal.sample()), [channel]).serve()
    os._exit(0)


def stand(run: str, kind: str, beside: Beside | None = None) -> NoReturn:
    """The launcher that stands by for processes of a *kind*, see `standing`: until nobody calls.

    *beside* is done by a fork, which ends with this process.
    """
    from engine.containers import standing

    os.closerange(3, 256)
    _settle()
    nursery = Nursery(rehearsal.sample())
    post = standing.Post(run, kind)
    if post.take():
        if beside is not None:
            post.join(beside.socket, _fork_beside(beside))
        _Desk(nursery, [], post).serve()
    os._exit(0)


def _fork_beside(beside: Beside) -> int:
    from engine.kernel import lifeline

    launcher = os.getpid()
    pid = os.fork()
    if pid == 0:
        lifeline.end_with_parent(launcher)
        os.closerange(3, 256)  # the socket of the launcher, and its lock
        beside.work()
    return pid


def _settle() -> None:
    """Belong to nobody, and have loaded what every fork needs."""
    from engine.containers import health, removal
    from engine.kernel import lean, process, terminal
    from engine.launch import joining, scripted
    from engine.network import connection

    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)
    with contextlib.suppress(PermissionError):  # it leads a session already
        os.setsid()
    os.chdir("/")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # monitors report to whoever asked, not to us
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    process.set_name("cowl-launcher")
    lean.hoard_nothing()
    keeper.rehearse()
    scripted.available()
    _warm(health, joining, removal, terminal, connection)


class Beside(Record):
    """Something else for the same callers."""

    socket: str
    """Where it is called."""
    work: Callable[[], NoReturn]


class _Desk:
    """Those who ask, and the monitor that stands by for the next of them."""

    def __init__(self, nursery: Nursery, callers: list[Channel], post: Post | None = None) -> None:
        self._callers = callers
        self._post = post
        self._nursery = nursery
        self._spare: Channel | None = None
        self._given: Channel | None = None
        """The spare that was given away last; it closes when its program runs."""

    def serve(self) -> None:
        """Until everybody has gone and nobody can come."""
        while self._callers or self._listener is not None:
            ready = self._wait()
            if self._post is not None and not ready and not self._callers:
                self._post.leave()
            for caller in [caller for caller in self._callers if caller.fileno() in ready]:
                self._hear(caller)
            if self._post is not None and self._listener is not None and self._listener.fileno() in ready:
                self._callers += self._post.accept()

    @property
    def _listener(self) -> Channel | None:
        """Where callers come in, as long as they may."""
        return None if self._post is None else self._post.listener

    def _wait(self) -> set[int]:
        """Whom to hear; nobody after a long time."""
        patience: float | None = None
        if self._spare is None:
            patience = SPARE_DELAY_MS if self._given is None else SPARE_LATEST_MS
        ready = self._poll(patience)
        if ready or self._spare is not None:
            return ready
        # It is time to fork a monitor for the next launch: until the program of the one before runs, that
        # needs the processors more.
        self._spare = self._nursery.begin()
        return self._poll(None)

    def _poll(self, patience: float | None) -> set[int]:
        poller = select.poll()
        for caller in self._callers:
            poller.register(caller, select.POLLIN)
        if self._listener is not None:
            poller.register(self._listener, select.POLLIN)
        if self._post is not None and patience is None:
            patience = self._post.idle_ms
        if self._given is not None and self._spare is None:
            poller.register(self._given, select.POLLIN)
        ready = {descriptor for descriptor, _ in poller.poll(patience)}
        return ready - ({self._given.fileno()} if self._given is not None else set())

    def _hear(self, caller: Channel) -> None:
        """Do what one of them asks for."""
        try:
            data, descriptors = request.receive_descriptors(caller)
        except ConnectionError:
            data, descriptors = b"", []
        if not data:
            self._callers.remove(caller)
            caller.close()
            return
        if data == request.DISMISSED and self._post is not None:
            self._post.leave()
            self._callers.remove(caller)
            caller.close()
            return
        if self._given is not None:
            self._given.close()
            self._given = None
        if not (data.startswith(request.START_PREFIX) and self._give(data, descriptors)):
            _fork(data, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def _give(self, data: bytes, descriptors: list[int]) -> bool:
        """Hand a launch over to the monitor that stands by; False when none is there, or it was killed."""
        spare, self._spare = self._spare, None
        if spare is None:
            return False
        try:
            request.send_descriptors(spare, data, descriptors)
        except OSError:
            spare.close()
            return False
        self._given = spare
        return True


def _warm(*_modules: object) -> None:
    """What every fork shares is loaded by now: keep the collector from touching, and so copying, it."""
    gc.collect()
    gc.disable()
    gc.freeze()


def _fork(data: bytes, descriptors: list[int]) -> None:
    if os.fork():
        return
    if data.startswith(request.EXEC_PREFIX):
        _serve(*request.unpack(data, descriptors))
    keeper.keep(lambda keeping: _serve(*request.unpack(data, descriptors), keeping))
