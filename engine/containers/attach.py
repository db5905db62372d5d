"""Coming to a running container later, by its monitor's socket: to watch it, feed it, or hear how it ends."""

from __future__ import annotations

import contextlib
import json
import os

from engine.errors import ConflictError
from engine.kernel import mount
from engine.kernel.channel import AF_UNIX, SOCK_SEQPACKET, Channel
from engine.launch import request
from engine.store.layout import ContainerPaths


def connect(paths: ContainerPaths, name: str) -> Channel:
    """A connection to the monitor. Raises ConflictError when that was killed, or has finished."""
    try:
        return _connect(paths)
    except OSError as error:
        raise ConflictError(
            f"cannot attach to {name}", f"its monitor does not answer: {error.strerror}", "look at cowl ps"
        ) from error


def _connect(paths: ContainerPaths) -> Channel:
    with contextlib.ExitStack() as unless_connected:
        channel = unless_connected.enter_context(Channel(AF_UNIX, SOCK_SEQPACKET))
        # By the directory's descriptor: sun_path ends at 108 bytes (unix(7)).
        directory = os.open(paths.run, os.O_PATH | os.O_CLOEXEC)
        try:
            channel.connect(f"{mount.by_descriptor(directory)}/{os.path.basename(paths.socket)}")
        finally:
            os.close(directory)
        unless_connected.pop_all()
    return channel


def wait(paths: ContainerPaths) -> int | None:
    """The exit code of the last run that a living monitor reports, once it does; None when there is none."""
    try:
        channel = _connect(paths)
    except OSError:
        return None
    with channel:
        try:
            channel.send(request.QUIET)
            while packet := channel.receive(request.MAX_PACKET + 1):
                if packet[:1] == request.EXITED:
                    ended = json.loads(packet[1:])
                    return None if ended["restarting"] else int(ended["exit_code"])
        except OSError:
            return None
    return None


def wake(paths: ContainerPaths) -> None:
    """Have a monitor that waits before the next run look again at what is wanted."""
    with contextlib.suppress(OSError):
        _connect(paths).close()
