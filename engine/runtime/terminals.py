"""Where the master of a container's terminal goes: kept here, or sent to whoever listens at a socket."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

from engine.errors import LaunchError, UsageError
from engine.kernel.channel import AF_UNIX, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, Channel
from engine.record import Record


class Terminal(Record):
    """What becomes of the master of a container's terminal."""

    take: Callable[[int], None]
    kept: list[int]
    """The master, where nobody else takes it."""


def for_program(wants: bool, socket: str, detached: bool) -> Terminal:
    """Where the terminal goes of a program that *wants* one; UsageError when that leads nowhere."""
    if socket and not wants:
        raise UsageError("cannot use a console socket", "the process has no terminal")
    if wants and not socket and detached:
        raise UsageError("cannot give a terminal", "nobody would hold it", "name a --console-socket")
    kept: list[int] = []
    if not socket:
        return Terminal(kept.append, kept)

    def send(master: int) -> None:
        _send(socket, master)
        os.close(master)

    return Terminal(send, kept)


def _send(path: str, master: int) -> None:
    """Pass *master* over the listening socket *path*, with its name as payload, as the others do."""
    rights = [(SOL_SOCKET, SCM_RIGHTS, struct.pack("i", master))]
    try:
        with Channel(AF_UNIX, SOCK_STREAM) as channel:
            channel.connect(path)
            channel.sendmsg([b"/dev/ptmx"], rights)
    except OSError as error:
        raise LaunchError(f"cannot send the terminal to {path}", error.strerror or str(error)) from error
