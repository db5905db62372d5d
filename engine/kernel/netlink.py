"""Netlink: requests to the kernel and its answers (netlink(7), linux/netlink.h).

Messages are packed here. A library that has them all (pyroute2) takes 170 ms to import, however little of it
is used, which is twice what a whole launch on a bridge may take; the two dozen messages of a launch take one.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator, Sequence

from engine.kernel.channel import SOCK_CLOEXEC, Channel
from engine.record import Record

AF_NETLINK = 16
NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12
_SOCK_RAW = 3
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12

REQUEST = 0x1
MULTI = 0x2
ACK = 0x4
DUMP_INTERRUPTED = 0x10
DUMP = 0x300
REPLACE = 0x100
EXCLUSIVE = 0x200
CREATE = 0x400
_CAPPED = 0x100
_ACK_TLVS = 0x200

_ERROR = 2
_DONE = 3
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NESTED = 0x8000
_TYPE = 0x3FFF
_EXTACK_MESSAGE = 1
_BUFFER = 1 << 18
_TRIES = 8


class Message(Record):
    """One request; the socket gives it its number."""

    what: str
    """What it does, for ``cannot …``."""
    kind: int
    flags: int
    body: bytes


class Reply(Record):
    """One message of the kernel's."""

    kind: int
    flags: int
    body: bytes


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def number(kind: int, value: int) -> bytes:
    """An attribute that is a 32-bit number of this machine's order."""
    return _ATTRIBUTE.pack(8, kind) + struct.pack("=I", value)


def text(kind: int, value: str) -> bytes:
    """An attribute that is a string of C."""
    return attribute(kind, os.fsencode(value) + b"\0")


def nested(kind: int, *inner: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(inner))


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes in *data* from *offset* on, by kind; of several of one kind the last."""
    found: dict[int, bytes] = {}
    end = len(data)
    while offset + 4 <= end:
        size, kind = _ATTRIBUTE.unpack_from(data, offset)
        if size < 4:
            break
        found[kind & _TYPE] = data[offset + 4 : offset + size]
        offset += (size + 3) & ~3
    return found


class Netlink(Channel):
    """A socket to one family of the kernel, in the network namespace of the moment when it was opened."""

    def __init__(self, protocol: int = NETLINK_ROUTE) -> None:
        super().__init__(AF_NETLINK, _SOCK_RAW | SOCK_CLOEXEC, protocol)
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            self.setsockopt(_SOL_NETLINK, option, 1)
        self.bind((0, 0))
        self._number = 0

    def __enter__(self) -> Netlink:
        return self

    def change(self, *messages: Message) -> None:
        """Have *messages* carried out in order, sent at once.

        Raises the OSError of the first that failed, with the kernel's own word on it; those after it are
        tried all the same.
        """
        *others, last = messages
        self._settle(self._send((*others, last._replace(flags=last.flags | ACK))))

    def transact(self, begin: Message, messages: Sequence[Message], end: Message) -> None:
        """Have *messages* carried out all or none, between *begin* and *end*; raises as `change`."""
        *others, last = messages
        numbered = self._send((begin, *others, last._replace(flags=last.flags | ACK), end))
        first, final = min(numbered), max(numbered)
        self._settle({number: numbered[number] for number in numbered if number != final}, first)

    def _settle(self, numbered: dict[int, Message], begin: int = 0) -> None:
        """Wait for the answer to the last of *numbered*; only that one and failures have any.

        A failure of the one numbered *begin* is the only answer to all.
        """
        final = max(numbered)
        failure: OSError | None = None
        answered = False
        while not answered:
            for sequence, reply in self._receive():
                message = numbered.get(sequence)
                if message is None or reply.kind != _ERROR:
                    continue
                failure = failure or _error(message, reply)
                answered = answered or sequence in (final, begin)
        if failure is not None:
            raise failure

    def ask(self, message: Message) -> Reply | None:
        """The one object that *message* asks for; None when there is no such thing (ENODEV, ENOENT)."""
        self._send((message,))
        while True:
            for sequence, reply in self._receive():
                if sequence != self._number:
                    continue
                if reply.kind != _ERROR:
                    return reply
                error = _error(message, reply)
                if error is not None and error.errno in (errno.ENODEV, errno.ENOENT):
                    return None
                if error is not None:
                    raise error

    def dump(self, message: Message) -> list[Reply]:
        """All objects that *message* asks for; asked again when they changed meanwhile."""
        found: list[Reply] = []
        for _ in range(_TRIES):
            found, consistent = self._dump(message)
            if consistent:
                break
        return found

    def _dump(self, message: Message) -> tuple[list[Reply], bool]:
        self._send((message,), DUMP)
        found: list[Reply] = []
        consistent = True
        while True:
            for sequence, reply in self._receive():
                if sequence != self._number:
                    continue
                consistent = consistent and not reply.flags & DUMP_INTERRUPTED
                if reply.kind == _DONE:
                    return found, consistent
                if reply.kind == _ERROR:
                    error = _error(message, reply)
                    if error is not None:
                        raise error
                else:
                    found.append(reply)

    def _send(self, messages: Sequence[Message], flags: int = 0) -> dict[int, Message]:
        """Send *messages* as one; they by the numbers that they were given."""
        packed = []
        numbered: dict[int, Message] = {}
        for message in messages:
            self._number += 1
            numbered[self._number] = message
            size = _HEADER.size + len(message.body)
            header = _HEADER.pack(size, message.kind, message.flags | flags | REQUEST, self._number, 0)
            packed.append(header + message.body + b"\0" * (-size % 4))
        self.send(b"".join(packed))
        return numbered

    def _receive(self) -> Iterator[tuple[int, Reply]]:
        """What came in one datagram, with the numbers of the requests."""
        data = self.recv(_BUFFER)
        offset = 0
        while offset + _HEADER.size <= len(data):
            size, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
            if size < _HEADER.size:
                break
            yield sequence, Reply(kind, flags, data[offset + _HEADER.size : offset + size])
            offset += (size + 3) & ~3


def _error(message: Message, reply: Reply) -> OSError | None:
    """What an acknowledgement says; None when all went well."""
    code = -struct.unpack_from("=i", reply.body)[0]
    if not code:
        return None
    why = os.strerror(code)
    if reply.flags & _ACK_TLVS:
        # After the number comes the header of the request, and its body unless that was left out.
        given = struct.unpack_from("=I", reply.body, 4)[0]
        skipped = _HEADER.size if reply.flags & _CAPPED else (given + 3) & ~3
        said = attributes(reply.body, 4 + skipped).get(_EXTACK_MESSAGE)
        if said:
            word = said.rstrip(b"\0").decode(errors="replace")
            why = f"{why}: {word}"
    return OSError(code, f"cannot {message.what}: {why}")
