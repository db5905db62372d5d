"""A layer tar on its way between two processes: one reads, hashes and parses it, the other writes its files.

The stream goes through memory that both share, in slots of one chunk; what its members are goes through a
pipe. A message says what was found in the chunks before the one that it announces. So the receiver, once it
is done with all messages, holds but the last chunk of them, and the two never wait for each other.
"""

from __future__ import annotations

import os
import pickle
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from mmap import mmap
from typing import Any

from engine.layers.compression import Source
from engine.layers.creation import write_all
from engine.layers.tardata import CHUNK, MemberData
from engine.layers.tarmember import Member

_SLOTS = 8
_SIZE, _SPARSE = Member._fields.index("size"), Member._fields.index("sparse")
_Found = tuple[tuple[Any, ...], int, int]
"""The fields of a member; where in the stream its data begins; how many bytes of it are there."""


class Relay:
    """What the two processes share; made before the fork, after which each takes its side."""

    def __init__(self) -> None:
        self._memory = mmap(-1, _SLOTS * CHUNK)
        self._messages = os.pipe()
        self._freed = os.pipe()

    def sender(self, source: Source) -> Sender:
        """The side that reads *source*."""
        os.close(self._messages[0])
        os.close(self._freed[1])
        return Sender(source, self._memory, self._messages[1], self._freed[0])

    def receiver(self) -> Receiver:
        """The side that writes what comes."""
        os.close(self._messages[1])
        os.close(self._freed[0])
        return Receiver(self._memory, self._messages[0], self._freed[1])


class Sender:
    """A stream that passes on what is read from it; a context manager.

    Raises BrokenPipeError when the receiver has gone.
    """

    def __init__(self, source: Source, memory: mmap, messages: int, freed: int) -> None:
        self._source = source
        self._memory = memory
        self._messages = messages
        self._freed = freed
        self._free = _SLOTS
        self._sent = 0
        self._found: list[_Found] = []

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._messages)
        os.close(self._freed)
        self._memory.close()

    def read(self, size: int = -1, /) -> bytes:
        """The next chunk of the source, which goes to the receiver, too."""
        chunk = self._source.read(CHUNK if size < 0 else min(size, CHUNK))
        if chunk:
            while not self._free:
                self._free = len(os.read(self._freed, _SLOTS))
                if not self._free:
                    raise BrokenPipeError
            slot = self._sent % _SLOTS * CHUNK
            self._memory[slot : slot + len(chunk)] = chunk
            self._sent += 1
            self._free -= 1
            self._send(len(chunk))
        return chunk

    def found(self, member: Member, place: tuple[int, int]) -> None:
        """Tell of a member whose data begins in the chunk that was read last, or right behind it."""
        self._found.append((tuple(member), *place))

    def finish(self) -> None:
        """Tell that this was all."""
        self._send(0)

    def _send(self, length: int) -> None:
        write_all(self._messages, pickle.dumps((self._found, length), pickle.HIGHEST_PROTOCOL))
        self._found.clear()


class Receiver(MemberData):
    """Iterates over the members that the sender found; `copy_to` takes the data of the current one.

    Raises EOFError when the sender has gone before it was finished.
    """

    def __init__(self, memory: mmap, messages: int, freed: int) -> None:
        super().__init__()
        self._memory = memoryview(memory)
        self._messages = open(messages, "rb")  # noqa: SIM115 - open for as long as this process lives
        self._freed = freed
        self._taken = 0
        self._passed = 0  # bytes of the stream before the chunk at hand
        self._lengths: deque[int] = deque()  # of chunks that came and were not taken
        self._found: deque[_Found] = deque()
        self._ended = False

    def __iter__(self) -> Iterator[Member]:
        make, found = Member._make, self._found
        while True:
            while found:
                fields, begin, self._data = found.popleft()
                at = begin - self._passed
                while at > len(self._view):
                    self._need_more("a file's data")
                    at = begin - self._passed
                self._at = at
                self._size, self._sparse = fields[_SIZE], fields[_SPARSE]
                yield make(fields)
            while self._lengths:
                self._read_more()
            if self._ended:
                return
            self._receive()

    def _read_more(self) -> bool:
        while not self._lengths and not self._ended:
            self._receive()
        if not self._lengths:
            return False
        if self._taken:
            with suppress(BrokenPipeError):  # the sender may be done
                os.write(self._freed, b"\0")
        self._passed += len(self._view)
        slot = self._taken % _SLOTS * CHUNK
        self._view = self._memory[slot : slot + self._lengths.popleft()]
        self._taken += 1
        self._at = 0
        return True

    def _receive(self) -> None:
        found, length = pickle.load(self._messages)
        self._found += found
        if length:
            self._lengths.append(length)
        else:
            self._ended = True
