"""The data of a tar's members, written to files as it comes by in pieces of the stream."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod

from engine.errors import ArchiveError
from engine.layers.creation import write_all, write_sparsely
from engine.layers.paxrecords import Segments

CHUNK = 1 << 20
"""Bytes of the stream that are read at once."""


class MemberData(ABC):
    """A place in a stream of which one piece is at hand; who finds the members says where their data is."""

    def __init__(self) -> None:
        self._view = memoryview(b"")
        self._at = 0
        self._data = 0  # bytes of the current member that nobody took yet
        self._sparse: Segments | None = None
        self._size = 0

    def copy_to(self, descriptor: int) -> None:
        """Write the current member's data to a fresh, empty file: holes stay holes, long runs of zeros become
        holes.
        """
        if self._sparse is not None:
            for offset, length in self._sparse:
                os.lseek(descriptor, offset, os.SEEK_SET)
                self._copy(descriptor, length)
            os.ftruncate(descriptor, self._size)
        elif self._at + self._data <= len(self._view) and self._data <= CHUNK:
            piece = self._view[self._at : self._at + self._data]
            written = os.write(descriptor, piece)
            if written < self._data:
                write_all(descriptor, piece[written:])
            self._at += self._data
            self._data = 0
        else:
            self._copy(descriptor, self._data)

    def _copy(self, descriptor: int, length: int) -> None:
        ended_in_hole = False
        self._data -= length
        whole = length
        while length:
            piece = self._view[self._at : self._at + length]
            if not piece:
                self._need_more("a file's data")
                continue
            self._at += len(piece)
            length -= len(piece)
            ended_in_hole = (
                write_sparsely(descriptor, piece) if whole > CHUNK else write_all(descriptor, piece)
            )
        if ended_in_hole:
            os.ftruncate(descriptor, os.lseek(descriptor, 0, os.SEEK_CUR))

    def _need_more(self, what: str) -> None:
        if not self._read_more():
            raise ArchiveError(
                "the tar archive is truncated", f"it ends within {what}", "get a complete copy"
            )

    @abstractmethod
    def _read_more(self) -> bool:
        """Have the next piece of the stream at hand; False at its end."""
