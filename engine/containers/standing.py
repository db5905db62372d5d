"""A launcher that stands by for whoever launches next: one for a root and a kind of caller.

What `cowl` would have to load for each launch is loaded in it already, and the monitors that it forks share
its memory. It is begun by a launch that found none, does nothing until it is called, and ends by itself after
IDLE_S. What it forks has to be what the caller would have forked: so it is called only by those that have the
same namespaces, cgroups, limits and umask, and it ends as soon as its own files have changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import sys
from collections.abc import Sequence

from engine.containers.sources import Sources
from engine.kernel import heritage, mount
from engine.kernel.channel import AF_UNIX, MSG_DONTWAIT, MSG_NOSIGNAL, SOCK_SEQPACKET, Channel
from engine.launch import request
from engine.launch.request import Join, Launch
from engine.store.layout import Layout, digest_of

IDLE_S = 600.0
"""Seconds without a caller after which it ends."""
ACCEPTED = b"A"
"""To the caller: what it asks for will be done."""
SWITCH = "COWL_LAUNCHER"
"""``no`` in the environment: no launcher is called or begun."""
PATIENCE_MS = 200
"""How long a launcher that is there may take to answer."""
_PREFIX = "launcher-"
_SOCKET = ".sock"
_CODE = "import sys; sys.path[:0] = {paths!r}; from {module} import stand; stand({run!r}, {kind!r})"


def wanted() -> bool:
    """Whether a launcher may be used here: tests that crash a process mean the one that they start."""
    return os.environ.get(SWITCH) != "no" and "COWL_FAULT" not in os.environ


def kind() -> str:
    """What a process would inherit from this one, in sixteen digits."""
    return digest_of(heritage.own())[:16]


class Standing:
    """A launcher that has accepted this caller; use it where a Launcher is used, from one thread."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def launch(self, work: Launch | Join, descriptors: Sequence[int] = ()) -> Channel:
        """Have *work* done; our end of its control socket. Raises LaunchError when it has gone."""
        return request.ask(self._channel, work, descriptors)

    def close(self) -> None:
        """It is not needed any more."""
        self._channel.close()


def call(layout: Layout) -> Standing | None:
    """The launcher that stands by for this process, if there is one that answers."""
    if not wanted():
        return None
    channel = _connect(layout.run, _name(kind()))
    if channel is None:
        return None
    poller = select.poll()
    poller.register(channel, select.POLLIN)
    try:
        if poller.poll(PATIENCE_MS) and channel.recv(len(ACCEPTED)) == ACCEPTED:
            return Standing(channel)
    except ConnectionError:  # it has ended just now
        pass
    channel.close()
    return None


def begin(layout: Layout, module: str = "engine.containers.launcher") -> None:
    """Start a launcher for those who come after this process; that it cannot be started is no failure.

    It is what *module* calls ``stand``, with the run-time directory and `kind`; it finds what is installed.
    It takes along none of this process's open files: somebody may wait for their end. One that stands by for
    others is dismissed: it keeps their namespaces alive, and a root has no more than one. One for the likes
    of this process that has not answered stays: it may only be slow.
    """
    if not wanted():
        return
    own = kind()
    dismiss(layout, but=own)
    home = os.path.abspath(__file__).removesuffix("/engine/containers/standing.py")
    installed = [path for path in sys.path if path.endswith("-packages")]
    code = _CODE.format(paths=[home, *installed], module=module, run=layout.run, kind=own)
    actions = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
    closing = [(os.POSIX_SPAWN_CLOSE, int(name)) for name in os.listdir("/proc/self/fd") if int(name) > 2]
    with contextlib.suppress(OSError):
        os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-c", code],
            os.environ,
            file_actions=[*actions, *closing],
        )


def dismiss(layout: Layout, but: str = "") -> None:
    """End every launcher of the root *but* that for one kind of caller; what they have launched runs on.

    One that does not answer hears of it when it does.
    """
    for name in _names(layout.run):
        channel = _connect(layout.run, name) if name != _name(but) else None
        if channel is not None:
            with channel, contextlib.suppress(OSError):
                channel.send(request.DISMISSED)
                poller = select.poll()
                poller.register(channel, select.POLLIN)
                while poller.poll(PATIENCE_MS) and channel.recv(len(ACCEPTED)):
                    pass


def _names(run: str) -> list[str]:
    try:
        return [name for name in os.listdir(run) if name.startswith(_PREFIX) and name.endswith(_SOCKET)]
    except FileNotFoundError:
        return []


def _name(kind_of_caller: str) -> str:
    return f"{_PREFIX}{kind_of_caller}{_SOCKET}"


def _connect(run: str, name: str) -> Channel | None:
    """By the directory's descriptor: sun_path ends at 108 bytes (unix(7))."""
    channel = Channel(AF_UNIX, SOCK_SEQPACKET)
    try:
        directory = os.open(run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            channel.connect(f"{mount.by_descriptor(directory)}/{name}")
        finally:
            os.close(directory)
    except OSError:  # there is none, or it is one that was killed
        channel.close()
        return None
    return channel


def bind(listener: Channel, run: str, name: str) -> None:
    """Listen at *name* in a run-time directory: for this user alone, whatever the umask is."""
    directory = os.open(run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    before = os.umask(0o177)
    try:
        listener.bind(f"{mount.by_descriptor(directory)}/{name}")
    finally:
        os.umask(before)
        os.close(directory)
    listener.listen(64)


class Post:
    """Where a launcher that stands by is called: its socket, and the lock of the one that has it."""

    idle_ms = IDLE_S * 1000

    def __init__(self, run: str, kind_of_caller: str) -> None:
        self._run = run
        self._path = f"{run}/{_name(kind_of_caller)}"
        self._lock = -1
        self._beside: list[tuple[str, int]] = []
        self.listener: Channel | None = None
        self._sources = Sources()

    def take(self) -> bool:
        """Listen, where nobody else does."""
        try:
            self._lock = os.open(f"{self._path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(self._lock), os.stat(f"{self._path}.lock")):
                return False
        except OSError:  # another one is faster, or the root has gone
            return False
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        listener = Channel(AF_UNIX, SOCK_SEQPACKET)
        bind(listener, self._run, os.path.basename(self._path))
        self.listener = listener
        return True

    def accept(self) -> list[Channel]:
        """The caller who has come; none where that one is to start what it wants itself."""
        assert self.listener is not None
        channel = self.listener.accept()
        if self._sources.changed() or self._is_alone():
            channel.close()
            self.leave()
            return []
        with contextlib.suppress(OSError):  # it did not wait
            channel.send(ACCEPTED, MSG_DONTWAIT | MSG_NOSIGNAL)
        return [channel]

    def join(self, path: str, pid: int) -> None:
        """Stand by together with the process *pid*, which is called at *path*: none without the other."""
        self._beside.append((path, os.pidfd_open(pid)))

    def _is_alone(self) -> bool:
        """Whether one that stood beside has gone."""
        poller = select.poll()
        for _, descriptor in self._beside:
            poller.register(descriptor, select.POLLIN)
        return bool(poller.poll(0))

    def leave(self) -> None:
        """Nobody is accepted any more."""
        if self.listener is None:
            return
        beside = [path for path, _ in self._beside]
        for path in (*beside, self._path, f"{self._path}.lock"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self.listener.close()
        self.listener = None
        os.close(self._lock)
