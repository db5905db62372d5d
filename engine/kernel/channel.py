"""Sockets of the C module alone.

What `socket` adds, hundreds of constants made into enums foremost, costs every process 3 ms.
"""

from __future__ import annotations

import _socket
from _socket import (
    AF_INET,
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    SCM_RIGHTS,
    SO_PEERCRED,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
    gethostname,
    sethostname,
)

__all__ = [
    "AF_INET",
    "AF_UNIX",
    "CMSG_SPACE",
    "MSG_CMSG_CLOEXEC",
    "MSG_DONTWAIT",
    "MSG_NOSIGNAL",
    "SCM_RIGHTS",
    "SOCK_CLOEXEC",
    "SOCK_DGRAM",
    "SOCK_SEQPACKET",
    "SOCK_STREAM",
    "SOL_SOCKET",
    "SO_PEERCRED",
    "Channel",
    "gethostname",
    "pair",
    "sethostname",
]


class Channel(_socket.socket):
    """A socket that closes at the end of its ``with``."""

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def receive(self, size: int, flags: int = 0) -> bytes:
        """The next packet (recv(2)); empty when there is none and the other end is closed.

        One that was closed before all that we sent was read resets us (ECONNRESET), of which the kernel tells
        once, and before the packets that were sent ahead of it.
        """
        try:
            return self.recv(size, flags)
        except ConnectionResetError:
            return self.recv(size, flags)

    def accept(self) -> Channel:
        """The next who connected (accept4(2)), close-on-exec."""
        descriptor: int = self._accept()[0]  # type: ignore[attr-defined]  # the stubs leave it out
        return Channel(fileno=descriptor)


def pair() -> tuple[Channel, Channel]:
    """Two connected sockets that keep packets apart (socketpair(2), SOCK_SEQPACKET)."""
    ours, theirs = _socket.socketpair(AF_UNIX, SOCK_SEQPACKET)
    first, second = (Channel(AF_UNIX, SOCK_SEQPACKET, 0, end.detach()) for end in (ours, theirs))
    return first, second
